"""``cuts3d compare``."""

from pathlib import Path

import click

from cuts3d_cli.cli.options import build_config, config_options, section_options


@click.command("compare")
@click.option("--run", "run_dir", required=True, type=click.Path(path_type=Path), help="The run.")
@click.option(
    "--table",
    "name",
    type=click.Choice(["table4", "table5", "table6", "results"]),
    default="results",
    show_default=True,
    help="Table of the paper; results: all of them.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Markdown file, with a JSON beside it; default: RUN/experiments/TABLE.md.",
)
@config_options
@section_options("experiments")
def command(run_dir, name, out, **options):
    """Print the paper's ablation tables for a run's experiments: mean and spread over seeds.

    Reads the scores written by `snakemake results` (or table4, table5, table6); trains and evaluates nothing itself.

    \b
    Examples:
      cuts3d compare --config config.yaml --run runs/sample
      cuts3d compare --config config.yaml --run runs/sample --table table6 --out table6.md
    """
    from cuts3d_cli.experiments import compare
    from cuts3d_cli.experiments.ablations import FOLDER

    config = build_config(options, "experiments")
    click.echo(compare.run(run_dir, out or run_dir / FOLDER / f"{name}.md", config=config, name=name))
