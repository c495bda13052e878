"""Compares rankings of pseudo-masks: the AP that each gives, and how well it agrees with the overlap.

    python benchmarks/ranking.py --set photos --data ../coco --cache ../cache --bootstrap 1000
    python benchmarks/ranking.py --set rgbd --data ../mosd --methods CutS3D --vary crf.outlines=refined

The same masks, made as the stages make them, in every order; photographs take the preset photo, RGB-D images the preset
rgbd. A ranking is chosen on one half of the images and reported on the rest. Rankings:

\b
    attempts    by the number of the attempt that found the mask, the first one highest; evaluate.pseudo_mask_rank takes
                the place among the masks that are left, which differs where an attempt before left none
    stability   the score: mean Spatial Confidence
    quality     contrast * agreement * (1 - border), see docs/formats.md
    contrast    the first factor of it alone: features inside and outside the mask
    agreement   the second: IoU of the mask before and after the CRF
    1 - border  the third: fraction of the image's border outside the mask
    IoU         by the overlap with the ground truth, the best order there is

Columns, for the half to choose on and the one to report on:

\b
    AP, AP50    class-agnostic mask AP by pycocotools, in percent
    rho         Spearman's rank correlation of the ranking with the IoU that a mask has with the object it fits best
    dAP         with --bootstrap: difference of AP to `attempts`, and its 95 % interval over resampled images
"""

from __future__ import annotations

import logging
import tempfile
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
from choices import data_of, row_of, sections_that_count, varied
from choices_score import METHODS, Bootstrap, Masks, Truth, chosen_methods, interval, method_settings
from choices_sets import HALVES, Scene, SceneOptions, half_of, load_scene, scene_names
from scipy.stats import spearmanr

from cuts3d_cli import config as settings
from cuts3d_cli.core.masks import mask_iou
from cuts3d_cli.core.quality import border_share
from cuts3d_cli.core.segment import segment
from cuts3d_cli.errors import ConfigError, Cuts3dError
from cuts3d_cli.log import notices, progress, setup
from cuts3d_cli.store.coco import encode_mask
from cuts3d_cli.tables import markdown_table

PRESETS = {"photos": "photo", "rgbd": "rgbd"}
RANKINGS = ("attempts", "stability", "quality", "contrast", "agreement", "1 - border", "IoU")


@dataclass(frozen=True)
class Ranked:
    """The masks of a scene, and the value of each (M,) by ranking."""

    masks: Masks
    values: dict[str, np.ndarray]


def ranked_masks(scene: Scene, config: settings.Config, method: str) -> Ranked:
    """Make the final masks of a scene and rank them in every way."""
    made = segment(scene.features, scene.depth, scene.image, scene.masks.shape[1:], method_settings(config, method))
    final, rows = made.instances, np.isin(made.candidates.slots, made.instances.slots)
    iou = mask_iou(scene.masks, final.masks)
    values = {
        "attempts": 1 / (1 + final.slots),
        "stability": final.scores,
        "quality": final.quality,
        "contrast": made.candidates.contrast[rows],
        "agreement": made.refined.agreement[rows],
        "1 - border": 1 - border_share(final.masks),
        "IoU": iou.max(axis=0, initial=0),
    }
    return Ranked(Masks([encode_mask(mask) for mask in final.masks], final.slots.tolist(), iou, []), values)


def table_of(ranked: list[Ranked], truth: Truth, halves: list[np.ndarray], draws: int) -> list[list[str]]:
    """The cells of every ranking, the halves being numbers of images.

    Args:
        ranked: of all scenes, in their order.
        truth: of the same.
        halves: numbers of the images to choose on, and of those to report on.
        draws: of the bootstrap; 0 leaves its columns out.
    """
    bootstraps = [Bootstrap(half, draws) for half in halves]
    first: list[tuple[float, np.ndarray]] = []
    lines = []
    for name in RANKINGS:
        judge = truth.judged([of_image.masks for of_image in ranked], [of_image.values[name] for of_image in ranked])
        cells, ends = [], []
        for number, (half, bootstrap) in enumerate(zip(halves, bootstraps, strict=True)):
            scores = judge.on_images(half)
            cells += [f"{100 * (scores[key] or 0):.2f}" for key in ("AP", "AP50")]
            cells.append(_correlation([ranked[image] for image in half], name))
            drawn = (scores["AP"] or 0.0), bootstrap.scores(judge)[:, 0] if draws else np.empty(0)
            if len(first) == number:  # the first ranking, which the others are compared with
                first.append(drawn)
                ends.append("")
            elif draws:
                low, high = 100 * interval(drawn[1] - first[number][1])
                ends.append(f"{100 * (drawn[0] - first[number][0]):+.2f} ({low:+.2f} to {high:+.2f})")
        lines.append([name, *cells, *(ends if draws else [])])
    return lines


def _correlation(ranked: list[Ranked], name: str) -> str:
    """Spearman's correlation of a ranking with the IoU; a dash where either is the same for all masks."""
    values, iou = (np.concatenate([of_image.values[key] for of_image in ranked]) for key in (name, "IoU"))
    if len(values) < 2 or not np.ptp(values) or not np.ptp(iou):
        return "-"
    return f"{spearmanr(values, iou).statistic:+.2f}"


@click.command(help=__doc__)
@click.option("--set", "set_name", type=click.Choice(list(PRESETS)), required=True, help="Kind of the images.")
@click.option("--data", "data_folder", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True,
              help="Photographs: images/ and annotations.json; RGB-D: rgb/, depth_mm/ and labels/.")  # fmt: skip
@click.option("--cache", type=click.Path(path_type=Path, file_okay=False), help="Folder that keeps features and depth.")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="YAML configuration instead of the preset."
)
@click.option("--vary", "varies", multiple=True, metavar="SECTION.KEY=V,V,...", help="Values to try for a setting.")
@click.option("--methods", default="MaskCut,CutS3D", show_default=True, help=f"Of {', '.join(METHODS)}, with commas.")
@click.option("--n", "n_images", default=0, help="Only the first N images; 0: all.")
@click.option("--bootstrap", "draws", type=click.IntRange(0), default=0, metavar="N",
              help="Resample the images N times (1000 is enough), for intervals.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
def main(set_name: str, data_folder: Path, cache: Path | None, config_file: Path | None, varies: tuple[str, ...],
         methods: str, n_images: int, draws: int, workers: int) -> None:  # fmt: skip
    try:
        base = settings.read_values(config_file) if config_file else {"preset": PRESETS[set_name]}
        base["data"] = data_of(set_name, data_folder)
        may_vary = sections_that_count(set_name, crf=True) | {"confidence"}
        rows = [row_of(changes, base, SceneOptions(), may_vary) for changes in varied(varies, cross=False)]
        chosen = chosen_methods(methods)
        setup(0)
        notices.setLevel(logging.WARNING)
        names = scene_names(set_name, rows[0].config, n_images)
        halves = _halves(names, set_name)
        with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(workers) as pool:
            for row in rows:
                scenes = _scenes(pool, names, set_name, row.config, cache or Path(folder))
                truth = Truth(scenes)
                if row is rows[0]:
                    click.echo(_title(set_name, truth, halves))
                for method in chosen:
                    made = list(pool.map(partial(ranked_masks, config=row.config, method=method), scenes))
                    n = [sum(len(made[image].masks.runs) for image in half) for half in halves]
                    click.echo(f"\n{method}, {row.label}: {n[0]} masks to choose on, {n[1]} to report on\n")
                    click.echo(markdown_table(_header(draws), table_of(made, truth, halves, draws)))
    except Cuts3dError as error:
        raise click.ClickException(str(error)) from None


def _header(draws: int) -> list[str]:
    ends = [f"dAP, {half}" for half in HALVES[1:]] if draws else []
    return ["ranking", *(f"{name}, {half}" for half in HALVES[1:] for name in ("AP", "AP50", "rho")), *ends]


def _title(set_name: str, truth: Truth, halves: list[np.ndarray]) -> str:
    return (
        f"{set_name}: {len(truth.images)} images, {len(halves[0])} to choose on and {len(halves[1])} to report on, "
        f"{len(truth.areas)} objects"
    )


def _scenes(pool: Executor, names: list[str], set_name: str, config: settings.Config, cache: Path) -> list[Scene]:
    load = partial(load_scene, set_name=set_name, config=config, options=SceneOptions(), cache=cache, with_image=True)
    return list(progress(pool.map(load, names), "features and depth", len(names)))


def _halves(names: list[str], set_name: str) -> list[np.ndarray]:
    """Numbers of the images of each half.

    Raises:
        ConfigError: a half has none.
    """
    found = [np.flatnonzero([half_of(name, set_name) == half for name in names]) for half in HALVES[1:]]
    for half, numbers in zip(HALVES[1:], found, strict=True):
        if not len(numbers):
            raise ConfigError(f"images to {half} on", expected="at least one", found="none")
    return found


if __name__ == "__main__":
    main()
