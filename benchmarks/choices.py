"""Measures choices of settings: which pseudo-masks come out right.

    python benchmarks/choices.py --vary localcut.tau_knn=0.05,0.08,0.115 --vary localcut.k=10,40

Each ``--vary`` changes one setting and leaves the others as configured; ``--cross`` tries all combinations. Beside the
sections of the configuration there is ``scenes``: depth_blur (px), depth_noise, feature_noise and seed. Every row
scores one method on the same features and depth, which are made once, with the paper's three tries an image: MaskCut
(CutLER's), LocalCut (the configuration without Spatial Importance) and CutS3D (the configuration itself). Masks are
those of the patch grid, before the CRF, unless ``--crf`` is given. Columns, in percent but for the last:

\b
    AP50, AP   class-agnostic mask AP by pycocotools; masks are ranked by the try that found them
    R50        share of the objects that a mask meets at an IoU of 0.5
    small ...  R50 of the small, medium and large third of the set's objects, by area
    alone ...  R50 of objects alone of their class, beside one of their class at another depth (behind), and
               touching one of their class at the same depth
    prec       share of the masks that meet an object at an IoU of 0.5
    flow       share of the cuts whose graph joins source and sink; elsewhere the cut is 0 and no capacity counts
    found      masks an image
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import click
import yaml
from choices_score import COLUMNS, METHODS, Truth, make_masks
from choices_sets import MONOCULAR, SETS, Scene, SceneOptions, load_scene, scene_names

from cuts3d_cli import config as settings
from cuts3d_cli.errors import ConfigError, Cuts3dError

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
    own = {"sample": {"features", "depth"}, "sample-classes": {"depth"}, "drawn": set()}[set_name]
    return {"localcut", "spatial_importance", "baseline", "scenes", *own, *(["crf"] if crf else [])}


def table_line(label: str, method: str, cells: list[str]) -> str:
    """A line of a Markdown table with padded columns."""
    return f"| {label:<30} | {method:<8} | " + " | ".join(f"{cell:>6}" for cell in cells) + " |"


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cells(scores: dict[str, float | None]) -> list[str]:
    cells = []
    for name in COLUMNS:
        value = scores[name]
        cells.append("-" if value is None else f"{value:.2f}" if name == "found" else f"{100 * value:.1f}")
    return cells


def _title(set_name: str, scenes: list[Scene], truth: Truth, options: SceneOptions, crf: bool) -> str:
    low, high = truth.thirds
    objects = len(truth.areas)
    return (
        f"{set_name}: {len(scenes)} images, {objects} objects ({objects / len(scenes):.2f} an image), thirds at "
        f"{low:.0f} and {high:.0f} px; {', '.join(f'{k} {v:g}' for k, v in asdict(options).items())}; "
        f"{'after' if crf else 'before'} the CRF"
    )


@click.command(help=__doc__)
@click.option("--set", "set_name", type=click.Choice(list(SETS)), default="sample", show_default=True,
              help="; ".join(f"{name}: {about}" for name, about in SETS.items()) + ".")  # fmt: skip
@click.option("--depth", "depth_kind", type=click.Choice(["clean", "monocular"]), default="clean", show_default=True,
              help=f"Depth as it is, or smoothed and noisy as a monocular model's: {MONOCULAR}.")  # fmt: skip
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML configuration; else the defaults.")
@click.option("--vary", "varies", multiple=True, metavar="SECTION.KEY=V,V,...", help="Values to try for a setting.")
@click.option("--cross", is_flag=True, help="Try all combinations of the --vary options.")
@click.option("--methods", default=",".join(METHODS), show_default=True, help="Which methods, with commas.")
@click.option("--n", "n_images", default=0, help="Only the first N images (0: all of a set; 36 drawn ones).")
@click.option("--tries", type=click.IntRange(1), default=3, show_default=True,
              help="Instances tried per image, unless --config or --vary says; 3 is the paper's.")  # fmt: skip
@click.option("--crf", is_flag=True, help="Refine the masks by the CRF first; needs images.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
def main(set_name: str, depth_kind: str, config_file: Path | None, varies: tuple[str, ...], cross: bool, methods: str,
         n_images: int, tries: int, crf: bool, workers: int) -> None:  # fmt: skip
    try:
        options = SceneOptions(**MONOCULAR) if depth_kind == "monocular" else SceneOptions()
        base = settings.read_values(config_file) if config_file else {}
        base = settings.merge_values({"localcut": {"n_instances": tries}}, base)
        may_vary = sections_that_count(set_name, crf)
        rows = [row_of(changes, base, options, may_vary) for changes in varied(varies, cross)]
        chosen = _chosen_methods(methods)
        if crf and set_name == "drawn":
            raise ConfigError("--crf", expected="a set with images", found="--set drawn, which has none")
        print_table(rows, chosen, set_name, n_images, crf, workers)
    except Cuts3dError as error:
        raise click.ClickException(str(error)) from None


def _chosen_methods(methods: str) -> list[str]:
    chosen = methods.split(",")
    for method in chosen:
        if method not in METHODS:
            raise ConfigError("--methods", expected=f"of {', '.join(METHODS)}", found=repr(method))
    return chosen


def print_table(rows: list[Row], methods: list[str], set_name: str, n_images: int, crf: bool, workers: int) -> None:
    """Score every row with every method; scenes are made anew only where a row asks for others than the row before."""
    made, scenes, truth = None, [], None
    with ProcessPoolExecutor(workers) as pool:
        for row in rows:
            names = scene_names(set_name, row.config, n_images)
            wanted = (row.config.data, row.config.depth, row.config.features, row.options)
            if wanted != made:
                load = partial(load_scene, set_name=set_name, config=row.config, options=row.options, with_image=crf)
                scenes, made = list(pool.map(load, names)), wanted
                if truth is None:
                    click.echo(_title(set_name, scenes, Truth(scenes), row.options, crf) + "\n")
                    click.echo(table_line("", "method", list(COLUMNS)))
                    click.echo("| --- " * 2 + "| --: " * len(COLUMNS) + "|")
                truth = Truth(scenes)
            for method in methods:
                masks = list(pool.map(partial(make_masks, config=row.config, method=method, crf=crf), scenes))
                click.echo(table_line(row.label, method, _cells(truth.score(masks))))


if __name__ == "__main__":
    main()
