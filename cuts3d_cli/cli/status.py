"""``cuts3d status``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cuts3d_cli.cli.options import build_config, config_options, made_with, run_images
from cuts3d_cli.cli.typed import shown
from cuts3d_cli.config import Config, check_thresholds
from cuts3d_cli.pipeline.methods import METHODS

if TYPE_CHECKING:
    from cuts3d_cli.report.status_rows import Row

MAX_FAILED_IMAGES = 5
"""Failed images that are named."""


@click.command("status")
@click.option("--run", "run_dir", type=click.Path(path_type=Path), help="The run. Default: that of --config.")
@click.option(
    "--method",
    "methods",
    type=click.Choice(list(METHODS)),
    multiple=True,
    help="Show the masks of this method alone, and no predictions, scores and report; repeatable. Default: the methods "
    "of the run.",
)
@click.option(
    "--depth-map", type=click.Path(path_type=Path), help="Folder of depth maps. Default: that of the configuration."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@click.option("--verify", is_flag=True, help="Instead, read every file of the run and list what is damaged.")
@config_options
def command(run_dir, methods, depth_map, as_json, verify, **options):
    """Show for each step what a run contains, what is stale, and why; the images that failed, and why.

    What is stale is what the workflow would make again. Without --config or --preset, the settings are those that the
    run was made with.

    \b
    Examples:
      cuts3d status --config config.yaml
      cuts3d status --run runs/sample
      cuts3d status --config config.yaml --set localcut.tau_knn=0.1
      cuts3d status --run runs/sample --method maskcut
      cuts3d status --verify --run runs/sample
    """
    if run_dir is None:
        if options["config_file"] is None:
            raise click.UsageError("give --run DIR or --config FILE")
        run_dir = Path(build_config(dict(options)).run)
    if verify:
        _verify(run_dir, as_json)
        return
    from cuts3d_cli.report import status

    config = _config(run_dir, options)
    rows = status.run(run_dir, config, methods=methods, depth_maps=depth_map)
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=1))
        return
    _print(run_dir, config, rows)


def _config(run_dir: Path, options: dict[str, Any]) -> Config:
    """The configuration that was given, or else the one that the run was made with, as one line on standard error."""
    from cuts3d_cli.store.settings import last_settings

    below: dict[str, Any] = {}
    if not options["config_file"] and not options["preset"]:
        if (settings := last_settings(run_dir)) is not None:
            options["config_file"], of = settings, f"of the last workflow, {settings}"
        else:
            below = made_with(run_dir)
            of = "that the results were made with" if below else "of the default preset, as there are no results"
        click.echo(f"settings: those {of}", err=True)
    config = build_config(options, images=run_images(run_dir), below=below)
    if config.localcut.local_cut:  # else a run with it would be refused
        check_thresholds(config.confidence.tau_knn_min, config.localcut.tau_knn)
    return config


def _print(run_dir: Path, config: Config, rows: Sequence[Row]) -> None:
    """Print the table, what to do, and the images that failed."""
    from cuts3d_cli.report import preview
    from cuts3d_cli.report.run_summary import failure_lines

    cells = [
        {
            "images": row.images,
            "method": row.method,
            "stage": row.stage,
            "present": f"{row.present}/{row.total}",
            "current": f"{row.current}/{row.total}",
            "outcome": row.counts,
            "stale because": row.why,
        }
        for row in rows
    ]
    empty = [key for key in ("images", "method") if not any(cell[key] for cell in cells)]
    click.echo(preview.table([{key: text for key, text in cell.items() if key not in empty} for cell in cells]))
    if any(re.search(r"\b[1-9]\d* failed", row.counts) for row in rows):  # else all is read for nothing
        for line in failure_lines(run_dir, config, most=MAX_FAILED_IMAGES):
            click.echo(shown(line))


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
