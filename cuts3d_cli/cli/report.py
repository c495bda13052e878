"""``cuts3d report``."""

from pathlib import Path

import click

from cuts3d_cli.cli.options import build_config, config_options, section_options


@click.command("report")
@click.option("--run", "run_dir", required=True, type=click.Path(path_type=Path), help="The run.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="HTML file; RUN/report.html when left out."
)
@click.option("--settings", help="JSON of the workflow's configuration, instead of --config.")
@config_options
@section_options("report")
def command(run_dir, out, settings, **options):
    """Write report.html (one file, no network), results.json and results.txt of a run.

    \b
    Examples:
      cuts3d report --run runs/sample
      cuts3d report --config config.yaml --run runs/sample --n-images 24 --out report.html
    """
    import json

    from cuts3d_cli.config import resolve
    from cuts3d_cli.stages import report

    config = resolve(json.loads(settings)) if settings else build_config(options, "report")
    click.echo(report.run(run_dir, out or run_dir / "report.html", config=config))
