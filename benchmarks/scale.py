"""Time and peak memory against the patch grid and against the number of images, with fitted exponents.

    python benchmarks/scale.py --repeat 3 --picture docs/scale.png

A grid of g x g patches belongs to a working image of 8 g px. Every size runs in a fresh process, on the same image:
the N cuts of one image (affinity, eigenvectors, LocalCut with Spatial Confidence) and its CRF. An exponent e says that
a quantity grows as n^e, n the number of patches, fitted from a grid of 60 x 60 on, where fixed costs no longer show.
The number of images is that of a shard which ``cuts3d localcut``, ``confidence`` and ``crf`` work on as processes.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from measuring import (
    Stopwatch,
    configuration,
    cuts3d,
    image_names,
    in_child,
    median,
    picture_of,
    prepared_run,
)
from speed import MASK_STAGES, material_of, ours, ours_crf

from cuts3d_cli.config import Config
from cuts3d_cli.tables import markdown_table

PARTS = ("features", "affinity", "eigenvectors", "LocalCut, confidence", "CRF")
FITTED_FROM = 60
"""Smallest side of a grid that counts for an exponent."""


def with_grid(config: Config, side: int) -> Config:
    """The configuration with a grid of side x side patches; depth maps and the CRF have the working size."""
    size = side * config.features.patch_size
    sizes = {"features": {"image_size": size}, "depth": {"size": size}, "crf": {"image_size": size}}
    sections = {name: getattr(config, name).model_copy(update=update) for name, update in sizes.items()}
    return config.model_copy(update=sections)


def measure_grid(side: int, name: str, config: Config, cpu: bool = False) -> dict[str, tuple[float, float]]:
    """By part: seconds and peak GB; runs in a process of its own. "all" has the sum and the largest."""
    from cuts3d_cli.core import find_instances

    for config_now in (with_grid(config, min(side, 12)), with_grid(config, side)):  # the small one loads what it needs
        picture = picture_of(name, config_now)
        watch = Stopwatch(memory=True, cpu=cpu)
        with watch.part("features"):
            material = material_of(picture, config_now)
        with (
            watch.watching(
                (find_instances, "_Graphs", "affinity"),
                (find_instances._Graphs, "without", "affinity"),
                (find_instances, "second_eigenvectors", "eigenvectors"),
            ),
            watch.part("LocalCut, confidence"),
        ):
            found, _ = ours(material, config_now)
        with watch.part("CRF"):
            ours_crf(material, found.instance, config_now)  # an empty slot costs what an instance does
    return {part: (watch.seconds.get(part, 0.0), watch.peaks.get(part, 0.0)) for part in PARTS}


Row = dict[str, tuple[float, float]]
"""Seconds and peak GB by part."""


def measured_grids(
    sides: Sequence[int], name: str, config: Config, repeat: int, threads: int, cpu: bool
) -> dict[int, Row]:
    """By side: medians over repeats, and "all", the sum of seconds and the largest peak."""
    rows = {}
    for side in sides:
        runs = [in_child(measure_grid, side, name, config, cpu, threads=threads) for _ in range(repeat)]
        row = {part: tuple(median([run[part][i] for run in runs]) for i in (0, 1)) for part in PARTS}
        seconds, peaks = zip(*row.values(), strict=True)
        rows[side] = {**row, "all": (sum(seconds), max(peaks))}
    return rows


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of log y over log x; NaN for fewer than two points."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0]) if len(x) > 1 else float("nan")


def grid_table(rows: dict[int, Row]) -> str:
    """Seconds and peak memory of every grid, and the exponents of the number of patches."""
    columns = [*PARTS, "all"]
    body = [
        [f"{side} x {side}", side**2, *(f"{row[c][0]:.2f}" for c in columns), f"{row['all'][1]:.2f}", _largest(row)]
        for side, row in rows.items()
    ]
    fitted = {side: row for side, row in rows.items() if side >= FITTED_FROM}
    patches = [side**2 for side in fitted]
    slopes = [exponent(patches, [row[c][0] for row in fitted.values()]) for c in columns]
    memory = exponent(patches, [row["all"][1] for row in fitted.values()])
    body.append(["exponent", "", *(f"{slope:.2f}" for slope in slopes), f"{memory:.2f}", ""])
    return markdown_table(["grid", "patches", *(f"{c}, s" for c in columns), "peak, GB", "at"], body)


def _largest(row: Row) -> str:
    return max(PARTS, key=lambda part: row[part][1])


def measured_shards(
    sizes: Sequence[int], config: Config, config_file: Path | None, repeat: int, threads: int, cpu: bool
) -> dict[int, tuple[float, float]]:
    """By number of images: seconds of the three commands together, and the largest peak of one, in GB; medians."""
    words = ["--config", config_file] if config_file else []
    names = image_names(config, max(sizes))
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            chosen = list(itertools.islice(itertools.cycle(names), size))
            run = prepared_run(Path(folder) / str(size), chosen, config, n_shards=1)
            for stage in ("depth", "features", "spatial-importance"):
                maps = ["--depth-map", run / "depth-maps"] if stage == "depth" else []
                cuts3d(stage, "--run", run, *maps, *words, threads=threads)
            runs = [
                [cuts3d(stage, "--run", run, "--force", *words, threads=threads) for stage in MASK_STAGES]
                for _ in range(repeat)
            ]
            seconds = median([sum(e.cpu_seconds if cpu else e.seconds for e in commands) for commands in runs])
            result[size] = (seconds, median([max(ended.peak_gb for ended in commands) for commands in runs]))
    return result


def shard_table(rows: dict[int, tuple[float, float]]) -> str:
    """Seconds, seconds per image beyond the first size, and peak memory."""
    (first, (start, _)), *_ = rows.items()
    body = [
        [size, f"{s:.2f}", f"{(s - start) / (size - first):.2f}" if size > first else "-", f"{peak:.2f}"]
        for size, (s, peak) in rows.items()
    ]
    return markdown_table(["images", "seconds", f"seconds per image beyond {first}", "peak, GB"], body)


def draw(path: Path, grids: dict[int, Row], shards: dict[int, tuple[float, float]]) -> None:
    """Time and memory over patches, and over images."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from cuts3d_cli.report.figures import COLOURS, STYLE

    with rc_context(STYLE):
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        time, memory, images = figure.subplots(1, 3)
        patches = [side**2 for side in grids]
        for part, colour in zip(PARTS, COLOURS, strict=False):
            time.plot(patches, [row[part][0] for row in grids.values()], "o-", color=colour, label=part, markersize=3)
            memory.plot(patches, [row[part][1] for row in grids.values()], "o-", color=colour, markersize=3)
        time.set(xscale="log", yscale="log", xlabel="patches", ylabel="seconds, one image", title="time")
        time.legend(fontsize=7, frameon=False)
        memory.set(xlabel="patches", ylabel="GB", title="peak memory of the process", ylim=(0, None))
        images.plot(
            list(shards), [s for s, _ in shards.values()], "o-", color=COLOURS[0], label="seconds", markersize=3
        )
        images.set(
            xlabel="images of a shard", ylabel="seconds, three commands", title="number of images", ylim=(0, None)
        )
        beside = images.twinx()
        beside.plot(list(shards), [peak for _, peak in shards.values()], "s--", color=COLOURS[1], markersize=3)
        beside.set(ylabel="peak GB (dashed)", ylim=(0, 1.5))
        beside.grid(False)
        figure.savefig(path, dpi=90)


def _numbers(ctx: click.Context, param: click.Parameter, text: str) -> list[int]:
    try:
        return sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise click.BadParameter(f"expected numbers with commas between, found {text!r}") from None


@click.command(help=__doc__)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML configuration; else the defaults.")
@click.option("--grids", default="30,45,60,75,90,105,120", show_default=True, callback=_numbers, help="Sides.")
@click.option("--shards", default="1,2,4,8,16", show_default=True, callback=_numbers, help="Numbers of images.")
@click.option("--repeat", default=3, show_default=True, help="Repetitions; medians are shown.")
@click.option("--threads", default=1, show_default=True, help="Threads of BLAS.")
@click.option("--cpu", is_flag=True, help="Seconds of the processor, which other work on the machine disturbs less.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the tables into this file.")
def main(
    config_file: Path | None,
    grids: list[int],
    shards: list[int],
    repeat: int,
    threads: int,
    cpu: bool,
    picture: Path | None,
) -> None:
    config = configuration(config_file)
    name = image_names(config, 1)[0]
    by_grid = measured_grids(grids, name, config, repeat, threads, cpu)
    click.echo(f"image {name}, {repeat} repeats, {threads} thread(s){', seconds of the processor' if cpu else ''}")
    click.echo(grid_table(by_grid))
    by_shard = measured_shards(shards, config, config_file, repeat, threads, cpu)
    click.echo(f"\nlocalcut, confidence and crf of a shard, grid {config.features.grid} x {config.features.grid}")
    click.echo(shard_table(by_shard))
    if picture:
        draw(picture, by_grid, by_shard)


if __name__ == "__main__":
    main()
