"""The sets of scenes that choices are measured on: what a pseudo-mask is made from, and the truth beside it.

Features and depth of images are made by the stages ``features`` and ``depth``, and kept in their cache.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import controlled
import cv2
import numpy as np

from cuts3d_cli import config as settings
from cuts3d_cli.core.image_sizes import working_image
from cuts3d_cli.errors import ConfigError, Cuts3dError
from cuts3d_cli.pipeline.cache import CACHE, run_image
from cuts3d_cli.store.coco import encode_mask
from cuts3d_cli.store.image_files import find_images
from cuts3d_cli.store.images import opened, read_image
from cuts3d_cli.store.json_files import read_json
from cuts3d_cli.store.zarr_store import open_store

SETS = {
    "sample": "images of data.images, their own features",
    "sample-classes": "masks and depth of data.annotations and data.depth_maps, features from the objects' classes",
    "drawn": "drawn scenes, features from the objects' classes",
    "photos": "photographs with COCO annotations (--data: images/ and annotations.json), their own features",
    "rgbd": "images with depth and label maps (--data: rgb/, depth_mm/ and labels/, where 0 is no object), their own "
    "features",
}
OWN_FEATURES = ("sample", "photos", "rgbd")
DATA = {
    "photos": {"images": "images", "annotations": "annotations.json"},
    "rgbd": {"images": "rgb", "depth_maps": "depth_mm", "annotations": "labels"},
}
"""What lies where in the folder of a set: keys of the section ``data``."""

HALVES = ("all", "choose", "report")
PHOTOS = Path(__file__).parents[1] / "sample" / "photos.json"
"""The list of photographs, with the half of each (``split``)."""

DRAWN_SCENES = 36
MONOCULAR = {"depth_blur": 4.0, "depth_noise": 0.01}
KINDS = ("alone", "behind", "touching")


@dataclass(frozen=True)
class SceneOptions:
    """How scenes are made: standard deviations of the blur over depth edges in pixels and of the error of depth as
    a fraction of its range, length of the noise on class embeddings (of length 1), and the seed of all of it."""

    depth_blur: float = 0.0
    depth_noise: float = 0.0
    feature_noise: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class Scene:
    """One image: ``features`` (C, h, w) float16 and ``depth`` (S, S) float32 as stored, ``masks`` (M, H, W) bool of its
    objects, their ``kinds`` and the annotations (COCO records, crowd regions among them) that the judge compares with.
    Depth and the CRF's working image (S, S, 3) uint8 are there only where they were asked for."""

    name: str
    features: np.ndarray
    depth: np.ndarray | None
    masks: np.ndarray
    kinds: tuple[str, ...]
    annotations: tuple[dict[str, Any], ...]
    image: np.ndarray | None = field(default=None, repr=False)


def scene_names(set_name: str, config: settings.Config, n: int = 0, half: str = "all") -> list[str]:
    """Names of the first ``n`` scenes of a set or of one of its halves; 0: all.

    Raises:
        Cuts3dError: annotations are missing, or no scene belongs to the half.
    """
    if set_name == "drawn":
        return [f"scene {number}" for number in range(n or DRAWN_SCENES)]
    names = _names_of(config.data, _truth_path(config))
    if half != "all":
        names = [name for name in names if half_of(name, set_name) == half]
        if not names:
            expected = f"images that {PHOTOS.name} lists" if set_name == "photos" else "names that end in a number"
            raise ConfigError(f"--half {half}", expected=expected, found=f"none in {config.data.annotations}")
    return names[: n or None]


def half_of(name: str, set_name: str) -> str | None:
    """The half an image belongs to: a photograph that is not listed is to report on; of others even numbers are to
    choose on."""
    if set_name == "photos":
        return _listed_halves().get(name, "report")
    number = re.search(r"(\d+)$", Path(name).stem)
    return HALVES[1 + int(number[1]) % 2] if number else None


@lru_cache(maxsize=1)
def _listed_halves() -> dict[str, str]:
    return {image["file_name"]: image["split"] for image in read_json(PHOTOS)["images"]}


def load_scene(
    name: str,
    set_name: str,
    config: settings.Config,
    options: SceneOptions,
    cache: Path = CACHE,
    with_depth: bool = True,
    with_image: bool = False,
) -> Scene:
    """Make a scene; the same arguments give the same scene, whatever else is loaded.

    Args:
        name: of `scene_names`.
        set_name: a key of SETS.
        config: data, depth and features are read.
        options: how it is made.
        cache: folder of what the stages made of images.
        with_depth: some methods need no depth.
        with_image: the CRF needs the image.

    Raises:
        Cuts3dError: annotations without classes for a set that needs them, or files that cannot be read.
    """
    number = scene_names(set_name, config).index(name) if set_name != "drawn" else int(name.split()[1])
    rng = np.random.default_rng([options.seed, number, 1])
    grid_px, image, depth, size = config.features.patch_size, None, None, config.features.image_size
    if set_name == "drawn":
        drawn = controlled.draw_scene(number, seed=options.seed, size=size)
        labels, depth, classes, kinds = drawn.labels, drawn.depth, drawn.classes, drawn.kinds
        masks = labels == np.arange(len(classes))[:, None, None]
        annotations = _records(masks)
    else:
        masks, groups, annotations = _objects(name, _truth_path(config))
        kinds = tuple("behind" if g is not None and groups.count(g) > 1 else "alone" for g in groups)
        if with_depth:
            depth = _stored("depth", name, config, cache).astype(np.float32)
        if with_image:
            image = working_image(read_image(Path(config.data.images) / name), config.crf.image_size)
    if set_name in OWN_FEATURES:
        features = _stored("features", name, config, cache)
    else:
        if set_name == "sample-classes":
            labels, classes = _labels(masks, groups, size, _truth_path(config))
        features = controlled.class_features(labels, classes, patch_size=grid_px, noise=options.feature_noise, rng=rng)
    if depth is not None:
        depth = controlled.degrade(depth, blur_px=options.depth_blur, noise=options.depth_noise, rng=rng)
        depth = depth.astype(np.float16).astype(np.float32)  # as stored
    return Scene(name, features.astype(np.float16), depth, masks, kinds, annotations, image)


def _stored(stage: str, name: str, config: settings.Config, cache: Path) -> np.ndarray:
    """What a stage makes of an image, from the cache where it is there."""
    maps = config.data.depth_maps
    result = run_image(
        stage,
        Path(config.data.images) / name,
        config,
        depth_map=None if maps is None else (Path(maps) / name).parent,
        cache=cache,
    )
    return open_store(result.paths[stage], stage).array(stage)[0]


def _truth_path(config: settings.Config) -> str:
    if not config.data.annotations:
        raise Cuts3dError("config key data.annotations", expected="ground truth of the images", found="none")
    return config.data.annotations


@dataclass(frozen=True)
class _Truth:
    """An image in a COCO file: its size, its objects' masks as run lengths and their groups (None where the file has
    none), and its records, crowd regions among them."""

    size_hw: tuple[int, int]
    runs: list[dict]
    groups: list[int | None]
    annotations: list[dict]


@lru_cache(maxsize=2)
def _coco(path: str) -> dict[str, _Truth]:
    """The images of a COCO file by name."""
    from cuts3d_cli.evaluation.readers.common import masks_by_name
    from cuts3d_cli.store.coco import normal_name
    from cuts3d_cli.store.coco_document import read_coco

    coco = read_coco(path)
    names = {image["id"]: normal_name(image["file_name"]) for image in coco.images}
    found = masks_by_name(coco, set(names.values()))
    truth = {
        names[image["id"]]: _Truth((image["height"], image["width"]), found[names[image["id"]]], [], [])
        for image in coco.images
    }
    for record in coco.annotations:
        of_image = truth[names[record["image_id"]]]
        of_image.annotations.append(record)
        if not record.get("iscrowd") and "segmentation" in record:
            of_image.groups.append(record.get("group"))
    return truth


def _names_of(data: settings.DataConfig, truth: str) -> list[str]:
    """The images that a COCO file lists, or that a folder of label maps has one for."""
    if not Path(truth).is_dir():
        return sorted(_coco(truth))
    root = Path(data.images)
    names = [path.relative_to(root).as_posix() for path in find_images(root)]
    names = [name for name in names if _label_map(name, truth).is_file()]
    if not names:
        raise Cuts3dError(f"label maps {truth}", expected=f"a PNG for each image of {root}", found="none")
    return names


def _label_map(name: str, truth: str) -> Path:
    return (Path(truth) / name).with_suffix(".png")


def _objects(name: str, truth: str) -> tuple[np.ndarray, list[int | None], tuple[dict[str, Any], ...]]:
    """Masks (M, H, W) bool of an image's objects, their groups, and its annotations for the judge."""
    from pycocotools import mask as rle

    if Path(truth).is_dir():
        with opened(_label_map(name, truth), "label map") as picture:
            labels = np.array(picture)
        masks = labels == np.unique(labels[labels > 0])[:, None, None]
        return masks, [None] * len(masks), _records(masks)
    found = _coco(truth)[name]
    masks = rle.decode(found.runs).transpose(2, 0, 1) if found.runs else np.zeros((0, *found.size_hw))
    return masks.astype(bool), found.groups, tuple(found.annotations)


def _records(masks: np.ndarray) -> tuple[dict[str, Any], ...]:
    return tuple({"segmentation": encode_mask(mask), "iscrowd": 0} for mask in masks)


def _labels(masks: np.ndarray, groups: list[int | None], size: int, path: str) -> tuple[np.ndarray, tuple[int, ...]]:
    """Object of each pixel of the working image, -1 for none, and the class of each object."""
    if None in groups:
        raise Cuts3dError(
            f"annotations {path} have no classes", expected="a field group (objects of one class share it)"
        )
    order = sorted(set(groups))
    labels = np.full(masks.shape[1:], -1, np.int16)
    for index, mask in enumerate(masks):
        labels[mask] = index
    if labels.shape != (size, size):
        labels = cv2.resize(labels, (size, size), interpolation=cv2.INTER_NEAREST)
    return labels.astype(int), tuple(order.index(g) + 1 for g in groups)
