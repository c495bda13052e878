"""``cuts3d report``."""

from pathlib import Path

import click

from cuts3d_cli.cli.options import build_config, config_options, section_options


@click.command("report")
@click.option("--run", "run_dir", required=True, type=click.Path(path_type=Path), help="The run.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="HTML file. Default: RUN/report.html.")
@click.option(
    "--evaluation",
    "evaluations",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Result of `cuts3d evaluate`; repeatable. Default: all of the run.",
)
@config_options
@section_options("report")
def command(run_dir, out, evaluations, **options):
    """Write report.html (one self-contained file), results.json and results.txt for a run.

    \b
    Examples:
      cuts3d report --run runs/sample
      cuts3d report --config config.yaml --run runs/sample --n-images 24 --out report.html
    """
    from cuts3d_cli.report import page as report

    config = build_config(options, "report")
    chosen = {path.stem: path for path in evaluations} or None
    click.echo(report.run(run_dir, out or run_dir / "report.html", config=config, evaluations=chosen))
