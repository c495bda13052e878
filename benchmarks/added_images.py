"""Measures what images that are added to a run cost, beside what the run cost at first.

Every stage from the image list to the merged masks runs as a command of its own, as the workflow calls them. All images
are of the configuration, and none is there twice, which would be computed once.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click
from measuring import configuration, cuts3d, image_names, prepared_run

from cuts3d_cli.pipeline.declarations import LAST, upstream_of
from cuts3d_cli.tables import markdown_table

COUNTS = (0, 1, 10)
"""How many images are added, one measurement each."""


def measured(n_images: int, config_file: Path | None, threads: int) -> list[list[str]]:
    """Rows of the table: the first run, then the same again after images were added."""
    config = configuration(config_file)
    stages = [*upstream_of(LAST, config), LAST]
    names = image_names(config, n_images + sum(COUNTS))
    if len(names) < n_images + sum(COUNTS):
        raise click.UsageError(f"{config.data.images} has {len(names)} images; expected {n_images + sum(COUNTS)}")
    with tempfile.TemporaryDirectory() as folder:
        run = prepared_run(Path(folder) / "run", names, config, n_shards=1)
        waiting = Path(folder) / "waiting"
        _move(run, waiting, sorted(path.name for path in (run / "images").iterdir())[n_images:])
        first = _seconds(run, stages, config_file, threads)
        rows = [[f"{n_images} images, from nothing", f"{first:.1f}", "1"]]
        for count in COUNTS:
            _move(waiting, run, sorted(path.name for path in (waiting / "images").iterdir())[:count])
            again = _seconds(run, stages, config_file, threads)
            rows.append([f"{count} added", f"{again:.1f}", f"{again / first:.3f}"])
    return rows


def _move(source: Path, target: Path, names: list[str]) -> None:
    """Move images, and their depth maps where there are."""
    for name in names:
        for sub in ("images", "depth-maps"):
            (target / sub).mkdir(parents=True, exist_ok=True)
            for path in (source / sub).glob(f"{Path(name).stem}.*"):
                shutil.move(path, target / sub)


def _seconds(run: Path, stages: list[str], config_file: Path | None, threads: int) -> float:
    words = ["--config", config_file] if config_file else []
    ended = [cuts3d("prepare", run / "images", "--run", run, threads=threads)]
    for stage in stages:
        maps = ["--depth-map", run / "depth-maps"] if stage == "depth" and (run / "depth-maps").exists() else []
        ended.append(cuts3d(stage, "--run", run, *maps, *words, threads=threads))
    ended.append(cuts3d("merge", "--run", run, *words, threads=threads))
    return sum(each.seconds for each in ended)


@click.command(help=__doc__)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="A YAML file; default: the sample.")
@click.option("--images", "n_images", default=60, show_default=True, help="Images of the run, in one shard.")
@click.option("--threads", default=1, show_default=True)
def main(config_file: Path | None, n_images: int, threads: int) -> None:
    click.echo(markdown_table(["run", "seconds", "ratio"], measured(n_images, config_file, threads)))


if __name__ == "__main__":
    main()
