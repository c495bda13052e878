"""``cuts3d status``."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from cuts3d_cli.cli.options import build_config, config_options, run_images
from cuts3d_cli.pipeline.methods import METHODS


@click.command("status")
@click.option("--run", "run_dir", required=True, type=click.Path(path_type=Path), help="The run.")
@click.option(
    "--method",
    "methods",
    type=click.Choice(list(METHODS)),
    multiple=True,
    help="Method to show; repeatable. Default: those that the run makes and those that have results.",
)
@click.option(
    "--depth-map", type=click.Path(path_type=Path), help="Folder of depth maps. Default: that of the configuration."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@click.option("--verify", is_flag=True, help="Instead, read every file of the run and list what is damaged.")
@config_options
def command(run_dir, methods, depth_map, as_json, verify, **options):
    """Show for each stage what a run contains, what is stale under a configuration, and why.

    \b
    Examples:
      cuts3d status --config config.yaml --run runs/sample
      cuts3d status --config config.yaml --set localcut.tau_knn=0.1 --run runs/sample
      cuts3d status --config config.yaml --method maskcut --run runs/sample
      cuts3d status --verify --run runs/sample
    """
    if verify:
        _verify(run_dir, as_json)
        return
    from cuts3d_cli.report import preview, status

    config = build_config(options, images=run_images(run_dir))
    rows = status.run(run_dir, config, methods=methods, depth_maps=depth_map)
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=1))
        return
    cells = [
        {
            "method": row.method,
            "stage": row.stage,
            "present": f"{row.present}/{row.total}",
            "current": f"{row.current}/{row.total}",
            "images": row.counts,
            "stale because": row.why,
        }
        for row in rows
    ]
    click.echo(preview.table(cells))


def _verify(run_dir: Path, as_json: bool) -> None:
    """List what is damaged in a run; an error if anything is."""
    from cuts3d_cli.errors import Cuts3dError
    from cuts3d_cli.report.verification import verify
    from cuts3d_cli.store.image_files import counted

    counts, damaged = verify(run_dir)
    if as_json:
        click.echo(json.dumps([asdict(each) for each in damaged], indent=1))
    else:
        for each in damaged:
            click.echo(each.problem)
    kinds = ", ".join(counted(number, kind) for kind, number in counts.items())
    if damaged:
        raise Cuts3dError(f"{len(damaged)} of {kinds} in {run_dir} {'are' if len(damaged) > 1 else 'is'} damaged")
    click.echo(f"{kinds} in {run_dir} read, none damaged", err=as_json)
