"""Measures choices of settings: which pseudo-masks come out right.

    python benchmarks/choices.py --vary localcut.tau_knn=0.05,0.08,0.115 --vary localcut.k=10,40
    python benchmarks/choices.py --set photos --data ../coco --half choose --cache ../cache --crf --bootstrap 1000

Each ``--vary`` changes one setting and leaves the others as configured; ``--cross`` tries all combinations. Beside the
sections of the configuration there is ``scenes``: depth_blur (px), depth_noise, feature_noise and seed. Every row
scores one method on the same features and depth, made once, with the paper's three attempts per image: MaskCut
(CutLER's), LocalCut (the configuration without Spatial Importance) and CutS3D (the configuration itself). Masks are
those of the patch grid, before the CRF, unless ``--crf`` is given (then ``crf.enabled=false`` is a row without it).
Photographs and RGB-D images take the preset that fits images other than the sample's. Their features and depth take
seconds per image; with ``--cache`` later runs find them there. Columns, in percent but for the last:

\b
    AP50, AP   class-agnostic mask AP by pycocotools; masks are ranked by the attempt that found them
    AP75 ...   other scores of COCO; APs, APm and APl by COCO's sizes of objects
    R50        fraction of the objects that a mask matches at an IoU of 0.5
    small ...  R50 of the small, medium and large third of the set's objects, by area
    alone ...  R50 of objects alone of their class, beside one of their class at another depth (behind), and
               touching one of their class at the same depth
    prec       fraction of the masks that match an object at an IoU of 0.5
    flow       fraction of the cuts whose graph connects source and sink; elsewhere the cut is 0 whatever the capacity
    found      masks per image

With ``--bootstrap`` there follow, over images resampled with replacement, the 95 % intervals of AP and AP50, and of
their differences (dAP, dAP50) to the first row of the same method; those of a method's first row are to the first row
of the table. All rows have the same draws, so a difference whose interval leaves 0 out is more than the choice of
images.
"""

from __future__ import annotations

import itertools
import logging
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import click
import numpy as np
import yaml
from choices_score import (
    COCO_COLUMNS,
    COLUMNS,
    METHODS,
    RESAMPLED,
    Bootstrap,
    Truth,
    chosen_methods,
    interval,
    make_masks,
)
from choices_sets import DATA, HALVES, MONOCULAR, OWN_FEATURES, SETS, Scene, SceneOptions, load_scene, scene_names

from cuts3d_cli import config as settings
from cuts3d_cli.errors import ConfigError, Cuts3dError
from cuts3d_cli.evaluation.coco_eval import Judge
from cuts3d_cli.log import notices, progress, setup

Changes = dict[str, object]


@dataclass(frozen=True)
class Row:
    """What a row of the table is made with."""

    label: str
    config: settings.Config
    options: SceneOptions


def varied(varies: tuple[str, ...], cross: bool) -> Iterator[Changes]:
    """Each set of changes to try, by dotted key; the empty one (as configured) first.

    Raises:
        ConfigError: a text that is not SECTION.KEY=VALUE,...
    """
    axes = []
    for text in varies:
        key, equals, values = text.partition("=")
        if not equals or not values or key.count(".") != 1:
            raise ConfigError("--vary", expected="SECTION.KEY=VALUE,...", found=repr(text))
        axes.append([(key, yaml.safe_load(value)) for value in values.split(",")])
    yield {}
    if cross:
        yield from (dict(chosen) for chosen in itertools.product(*axes))
    else:
        yield from ({key: value} for axis in axes for key, value in axis)


def row_of(changes: Changes, base: dict, options: SceneOptions, may_vary: set[str]) -> Row:
    """The row of some changes.

    Raises:
        ConfigError: an unknown key, a value that does not fit, or a section that changes nothing in this set.
    """
    of_scenes = asdict(options)
    for dotted, value in changes.items():
        section, key = dotted.split(".")
        if section == "scenes":
            _check_scene_value(key, value)
            of_scenes[key] = value
            continue
        base = settings.merge_values(base, {section: {key: value}})
    label = ", ".join(f"{key.split('.')[1]} {_shown(value)}" for key, value in changes.items()) or "as configured"
    config = settings.resolve(base, source="--vary")
    for dotted in changes:
        if dotted.split(".")[0] not in may_vary:
            raise ConfigError(
                f"--vary: {dotted} changes no mask here", expected=f"a key of {', '.join(sorted(may_vary))}"
            )
    return Row(label, config, SceneOptions(**of_scenes))


def _check_scene_value(key: str, value: object) -> None:
    names = [f.name for f in fields(SceneOptions)]
    if key not in names:
        raise ConfigError(f"--vary: unknown key scenes.{key}", expected=f"one of {', '.join(names)}")
    whole = key == "seed"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or value < 0:
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"--vary: scenes.{key}", expected=f"{kind} from 0", found=repr(value))


def sections_that_count(set_name: str, crf: bool) -> set[str]:
    """Sections whose settings can change the masks of a set."""
    own = {"features", "depth"} if set_name in OWN_FEATURES else {"depth"} if set_name == "sample-classes" else set()
    return {"localcut", "spatial_importance", "baseline", "scenes", *own, *(["crf"] if crf else [])}


def table_line(label: str, method: str, cells: list[str], intervals: list[str]) -> str:
    """A line of a Markdown table with padded columns."""
    padded = [f"{cell:>6}" for cell in cells] + [f"{cell:>24}" for cell in intervals]
    return f"| {label:<30} | {method:<8} | " + " | ".join(padded) + " |"


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cells(scores: dict[str, float | None], columns: tuple[str, ...], digits: int) -> list[str]:
    cells = []
    for name in columns:
        value = scores[name]
        cells.append("-" if value is None else f"{value:.2f}" if name == "found" else f"{100 * value:.{digits}f}")
    return cells


class Intervals:
    """The columns of ``--bootstrap``, row after row.

    Args:
        n_images: of the set.
        draws: how often all of them are drawn.
    """

    columns = (*(f"{name} 95 %" for name in RESAMPLED), *(f"d{name}" for name in RESAMPLED))

    def __init__(self, n_images: int, draws: int):
        self._bootstrap = Bootstrap(np.arange(n_images), draws)
        self._first: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def cells(self, method: str, scores: dict[str, float | None], judge: Judge) -> list[str]:
        """Cells of the next row: the intervals, and the differences to the row that the help text names."""
        row = np.array([scores[name] for name in RESAMPLED], float), self._bootstrap.scores(judge)
        before = self._first.get(method) or next(iter(self._first.values()), None)
        self._first.setdefault(method, row)
        cells = [f"{a:.2f} to {b:.2f}" for a, b in 100 * interval(row[1])]
        if before is None:
            return cells + ["-"] * len(RESAMPLED)
        ends = zip(100 * (row[0] - before[0]), 100 * interval(row[1] - before[1]), strict=True)
        return cells + [f"{d:+.2f} ({a:+.2f} to {b:+.2f})" for d, (a, b) in ends]


def _title(set_name: str, half: str, scenes: list[Scene], truth: Truth, row: Row, crf: bool) -> str:
    low, high = truth.thirds
    objects, features = len(truth.areas), row.config.features
    made = [f"{name} {value:g}" for name, value in asdict(row.options).items()]
    if set_name in DATA:
        made = made if row.options.depth_blur or row.options.depth_noise else []
        facet = f" {features.facet}" if features.facet else ""
        made = [
            f"{features.backend}{facet} on {features.grid} x {features.grid}",
            f"depth {row.config.depth.backend}",
            *made,
        ]
    return (
        f"{set_name}{'' if half == 'all' else f', half {half}'}: {len(scenes)} images, {objects} objects "
        f"({objects / len(scenes):.2f} an image), thirds at {low:.0f} and {high:.0f} px; {', '.join(made)}; "
        f"{'after' if crf else 'before'} the CRF"
    )


@click.command(help=__doc__)
@click.option("--set", "set_name", type=click.Choice(list(SETS)), default="sample", show_default=True,
              help="; ".join(f"{name}: {about}" for name, about in SETS.items()) + ".")  # fmt: skip
@click.option("--data", "data_folder", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Folder of photos or rgbd; else what the section data of --config names.")  # fmt: skip
@click.option("--half", type=click.Choice(HALVES), default="all", show_default=True,
              help="Images to choose settings on, or to report on: of photos those to choose on in sample/photos.json, "
              "and the rest; of others the even and the odd numbers.")  # fmt: skip
@click.option("--cache", type=click.Path(path_type=Path, file_okay=False), help="Folder that keeps features and depth.")
@click.option("--depth", "depth_kind", type=click.Choice(["clean", "monocular"]), default="clean", show_default=True,
              help=f"Depth as it is, or smoothed and noisy as a monocular model's: {MONOCULAR}.")  # fmt: skip
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML configuration; else the defaults.")
@click.option("--vary", "varies", multiple=True, metavar="SECTION.KEY=V,V,...", help="Values to try for a setting.")
@click.option("--cross", is_flag=True, help="Try all combinations of the --vary options.")
@click.option("--methods", default=",".join(METHODS), show_default=True,
              help="Which methods, with commas; MaskCut alone needs no depth.")  # fmt: skip
@click.option("--n", "n_images", default=0, help="Only the first N images (0: all of a set; 36 drawn ones).")
@click.option("--attempts", type=click.IntRange(1), default=3, show_default=True,
              help="Attempts per image, unless --config or --vary says otherwise; the paper's is 3.")  # fmt: skip
@click.option("--crf", is_flag=True, help="Refine the masks by the CRF first; needs images.")
@click.option("--bootstrap", "draws", type=click.IntRange(0), default=0, metavar="N",
              help="Resample the images N times (1000 is enough), for intervals.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
def main(set_name: str, data_folder: Path | None, half: str, cache: Path | None, depth_kind: str,
         config_file: Path | None, varies: tuple[str, ...], cross: bool, methods: str, n_images: int, attempts: int,
         crf: bool, draws: int, workers: int) -> None:  # fmt: skip
    try:
        options = SceneOptions(**MONOCULAR) if depth_kind == "monocular" else SceneOptions()
        base = settings.read_values(config_file) if config_file else {}
        base = settings.merge_values({"localcut": {"n_instances": attempts}}, base)
        if data_folder is not None:
            base["data"] = data_of(set_name, data_folder)
        may_vary = sections_that_count(set_name, crf)
        rows = [row_of(changes, base, options, may_vary) for changes in varied(varies, cross)]
        chosen = chosen_methods(methods)
        _check(set_name, data_folder or config_file, half, crf, rows)
        setup(0 if set_name in DATA else -1)  # what takes minutes says how far it is,
        notices.setLevel(logging.WARNING)  # but not of each image where its depth is from
        with tempfile.TemporaryDirectory() as folder:
            print_table(rows, chosen, set_name, half, n_images, crf, draws, cache or Path(folder), workers)
    except Cuts3dError as error:
        raise click.ClickException(str(error)) from None


def data_of(set_name: str, folder: Path) -> dict[str, str]:
    """The section ``data`` for a folder of a set.

    Raises:
        ConfigError: the set takes none, or it lacks something.
    """
    if set_name not in DATA:
        raise ConfigError("--data", expected=f"--set {' or '.join(DATA)}", found=f"--set {set_name}")
    places = {key: folder / place for key, place in DATA[set_name].items()}
    for place in places.values():
        if not place.exists():
            raise ConfigError(
                f"--data {folder}", expected=f"{', '.join(DATA[set_name].values())} in it", found=f"no {place.name}"
            )
    return {key: str(place) for key, place in places.items()}


def _check(set_name: str, named: Path | None, half: str, crf: bool, rows: list[Row]) -> None:
    if set_name in DATA and named is None:
        raise ConfigError(f"--set {set_name}", expected="--data DIR, or data.images in --config", found="neither")
    if set_name == "drawn":
        for option, given in (("--crf", crf), ("--half", half != "all")):
            if given:
                raise ConfigError(option, expected="a set with images", found="--set drawn, which has none")
    if crf and any(row.config.crf.unary == "confidence" for row in rows):
        raise ConfigError("crf.unary", expected="softmax or hard here", found="confidence, which is not computed")


def print_table(
    rows: list[Row],
    methods: list[str],
    set_name: str,
    half: str,
    n_images: int,
    crf: bool,
    draws: int,
    cache: Path,
    workers: int,
) -> None:
    """Score every row with every method; scenes are recomputed only where a row needs others than the previous one."""
    made, scenes, truth, intervals = None, [], None, None
    columns, digits = (COCO_COLUMNS, 2) if set_name in DATA else (COLUMNS, 1)
    with ProcessPoolExecutor(workers) as pool:
        for row in rows:
            names = scene_names(set_name, row.config, n_images, half)
            wanted = (row.config.data, row.config.depth, row.config.features, row.config.crf.image_size, row.options)
            if wanted != made:
                load = partial(
                    load_scene,
                    set_name=set_name,
                    config=row.config,
                    options=row.options,
                    cache=cache,
                    with_depth=methods != ["MaskCut"],
                    with_image=crf,
                )
                scenes, made = list(progress(pool.map(load, names), "features and depth", len(names))), wanted
                if truth is None:
                    truth = Truth(scenes)
                    intervals = Intervals(len(scenes), draws) if draws else None
                    click.echo(_title(set_name, half, scenes, truth, row, crf) + "\n")
                    more = list(Intervals.columns) if draws else []
                    click.echo(table_line("", "method", list(columns), more))
                    click.echo("| --- " * 2 + "| --: " * (len(columns) + len(more)) + "|")
                truth = Truth(scenes)
            for method in methods:
                masks = list(pool.map(partial(make_masks, config=row.config, method=method, crf=crf), scenes))
                judge = truth.judged(masks)
                scores = truth.score(masks, judge)
                more = intervals.cells(method, scores, judge) if intervals else []
                click.echo(table_line(row.label, method, _cells(scores, columns, digits), more))


if __name__ == "__main__":
    main()
