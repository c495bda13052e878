"""Measures choices of settings on images with depth and ground truth: which masks come out right.

    python benchmarks/choices.py --vary localcut.tau_knn=0.05,0.08,0.115 --vary features.kernel_width=4,6,8

Each ``--vary`` changes one setting and leaves the others as configured (``--cross`` tries all
combinations instead). Every row is scored for three methods on the same features: MaskCut, LocalCut
without sharpening, and CutS3D (both). Masks are those of the patch grid, before the CRF. Columns:

    recall     share of the objects that some mask meets with IoU > 0.5
    precision  share of the masks that meet some object with IoU > 0.5
    iou        mean over the objects of the best mask's IoU
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path

import click
import numpy as np
import yaml

from cuts3d_cli import config as settings
from cuts3d_cli.backends.base import feature_backend
from cuts3d_cli.backends.depth_files import depth_of_image
from cuts3d_cli.core.discover import discover
from cuts3d_cli.core.masks import enlarge, mask_iou
from cuts3d_cli.core.spatial_importance import spatial_importance
from cuts3d_cli.store.images import read_image, working_image

METHODS = {
    "MaskCut": {"local_cut": False, "sharpen": False, "exclude": "features", "stop_at_rest": False},
    "LocalCut": {"local_cut": True, "sharpen": False},
    "CutS3D": {"local_cut": True, "sharpen": True},
}


def varied(varies: tuple[str, ...], cross: bool) -> Iterator[dict[str, object]]:
    """Each set of changes to try, by dotted key; the empty one (as configured) first."""
    axes = []
    for text in varies:
        key, _, values = text.partition("=")
        axes.append([(key, yaml.safe_load(value)) for value in values.split(",")])
    yield {}
    if cross:
        yield from (dict(chosen) for chosen in itertools.product(*axes))
    else:
        yield from ({key: value} for axis in axes for key, value in axis)


def resolved(base: dict, changes: dict[str, object]) -> settings.Config:
    """The configuration with the changes applied."""
    for dotted, value in changes.items():
        section, key = dotted.split(".")
        base = settings.merge_values(base, {section: {key: value}})
    return settings.resolve(base)


@lru_cache(maxsize=4)
def truth_by_name(path: str) -> dict[str, list[np.ndarray]]:
    """Ground-truth masks (H, W) bool of each image of a COCO file."""
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress there
        coco = COCO(path)
    return {
        image["file_name"]: [coco.annToMask(a).astype(bool) for a in coco.loadAnns(coco.getAnnIds(image["id"]))]
        for image in coco.dataset["images"]
    }


def score_image(name: str, config: settings.Config) -> dict[str, tuple[list[float], list[float]]]:
    """By method: the best IoU of each object, and of each mask."""
    image_root = Path(config.data.images)
    rgb = read_image(image_root / name)
    features = feature_backend(config.features).extract(working_image(rgb, config.features.image_size))
    features = features.astype(np.float16).astype(np.float32)  # as stored
    depth = depth_of_image(name, image_root, config.data.depth_maps, config.depth)
    importance = spatial_importance(depth, features.shape[1:], **config.spatial_importance.model_dump())
    truth = np.array(truth_by_name(config.data.annotations)[name]).reshape(-1, *rgb.shape[:2])
    scores = {}
    for method, changes in METHODS.items():
        keywords = config.localcut.model_dump() | changes
        if method == "MaskCut":
            keywords["tau_ncut"] = config.baseline.tau_ncut
        instances = discover(features, depth, importance, **keywords).instance
        masks = [enlarge(mask, rgb.shape[:2]) for mask in instances if mask.any()]
        iou = mask_iou(truth, np.stack(masks)) if masks else np.zeros((len(truth), 0))
        scores[method] = (iou.max(axis=1, initial=0).tolist(), iou.max(axis=0, initial=0).tolist())
    return scores


def table_row(label: str, scores: list[dict]) -> str:
    """A row of the table: recall, precision and mean IoU of every method."""
    cells = [f"{label:<44}"]
    for method in METHODS:
        objects = np.concatenate([score[method][0] for score in scores])
        masks = np.concatenate([score[method][1] for score in scores])
        precision = (masks > 0.5).mean() if len(masks) else 0.0
        cells.append(f"{(objects > 0.5).mean():6.3f} {precision:9.3f} {objects.mean():6.3f}")
    return " | ".join(cells)


@click.command(help=__doc__)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML configuration; else the defaults.")
@click.option("--vary", "varies", multiple=True, metavar="SECTION.KEY=V,V,...", help="Values to try for a setting.")
@click.option("--cross", is_flag=True, help="Try all combinations of the --vary options.")
@click.option("--n", "n_images", default=0, help="Only the first N images (0: all).")
@click.option("--workers", default=1, show_default=True, help="Processes.")
def main(config_file: Path | None, varies: tuple[str, ...], cross: bool, n_images: int, workers: int) -> None:
    base = yaml.safe_load(config_file.read_text()) if config_file else {}
    names = sorted(truth_by_name(resolved(base, {}).data.annotations))[: n_images or None]
    click.echo(f"{len(names)} images of {resolved(base, {}).data.images}; recall, precision and IoU of each method")
    click.echo(" | ".join([f"{'':<44}", *(f"{method:^23}" for method in METHODS)]))
    with ProcessPoolExecutor(workers) as pool:
        for changes in varied(varies, cross):
            scores = list(pool.map(partial(score_image, config=resolved(base, changes)), names))
            label = " ".join(f"{key}={value}" for key, value in changes.items()) or "as configured"
            click.echo(table_row(label, scores))


if __name__ == "__main__":
    main()
