"""The sets of scenes that choices are measured on: what a pseudo-mask is made from, and the truth beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import controlled
import cv2
import numpy as np

from cuts3d_cli import config as settings
from cuts3d_cli.backends.base import feature_backend
from cuts3d_cli.backends.depth_files import depth_of_image
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.evaluation.coco_files import read_json
from cuts3d_cli.store.images import read_image, working_image

SETS = {
    "sample": "images of data.images, their own features",
    "sample-classes": "masks and depth of data.annotations and data.depth_maps, features from the objects' classes",
    "drawn": "drawn scenes, features from the objects' classes",
}
DRAWN_SCENES = 36
MONOCULAR = {"depth_blur": 4.0, "depth_noise": 0.01}
KINDS = ("alone", "behind", "touching")


@dataclass(frozen=True)
class SceneOptions:
    """How scenes are made: deviation of the blur over depth edges in pixels, standard deviation of the error of depth
    as share of its range, length of the noise on class embeddings (of length 1), and the seed of all of it."""

    depth_blur: float = 0.0
    depth_noise: float = 0.0
    feature_noise: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class Scene:
    """One image: ``features`` (C, h, w) float16 and ``depth`` (S, S) float32 as stored, ``masks`` (M, H, W) bool of its
    objects and their ``kinds``, and the working image (S, S, 3) uint8 where there is one and it was asked for."""

    name: str
    features: np.ndarray
    depth: np.ndarray
    masks: np.ndarray
    kinds: tuple[str, ...]
    image: np.ndarray | None = field(default=None, repr=False)


def scene_names(set_name: str, config: settings.Config, n: int = 0) -> list[str]:
    """Names of the first ``n`` scenes of a set; 0: all."""
    if set_name == "drawn":
        return [f"scene {number}" for number in range(n or DRAWN_SCENES)]
    return sorted(_annotations(_truth_path(config)))[: n or None]


def load_scene(
    name: str, set_name: str, config: settings.Config, options: SceneOptions, with_image: bool = False
) -> Scene:
    """Make a scene; the same arguments give the same scene, whatever else is loaded.

    Raises:
        Cuts3dError: annotations without classes for a set that needs them, or files that cannot be read.
    """
    number = scene_names(set_name, config).index(name) if set_name != "drawn" else int(name.split()[1])
    rng = np.random.default_rng([options.seed, number, 1])
    grid_px, image, size = config.features.patch_size, None, config.features.image_size
    if set_name == "drawn":
        drawn = controlled.draw_scene(number, seed=options.seed, size=size)
        labels, depth, classes, kinds = drawn.labels, drawn.depth, drawn.classes, drawn.kinds
        masks = labels == np.arange(len(classes))[:, None, None]
    else:
        depth = depth_of_image(name, config.data.images, config.data.depth_maps, config.depth).depth
        masks, groups = _annotations(_truth_path(config))[name]
        kinds = tuple("behind" if g is not None and groups.count(g) > 1 else "alone" for g in groups)
        if set_name == "sample" or with_image:
            image = working_image(read_image(Path(config.data.images) / name), size)
    if set_name == "sample":
        features = feature_backend(config.features).extract(image)
    else:
        if set_name == "sample-classes":
            labels, classes = _labels(masks, groups, size, _truth_path(config))
        features = controlled.class_features(labels, classes, patch_size=grid_px, noise=options.feature_noise, rng=rng)
    depth = controlled.degrade(depth, blur_px=options.depth_blur, noise=options.depth_noise, rng=rng)
    depth = depth.astype(np.float16).astype(np.float32)  # as stored
    return Scene(name, features.astype(np.float16), depth, masks, kinds, image if with_image else None)


def _truth_path(config: settings.Config) -> str:
    if not config.data.annotations:
        raise Cuts3dError("config key data.annotations", expected="COCO ground truth of the images", found="none")
    return config.data.annotations


@lru_cache(maxsize=2)
def _annotations(path: str) -> dict[str, tuple[np.ndarray, list[int | None]]]:
    """Masks (M, H, W) bool and groups (None where the file has none) of each image of a COCO file."""
    from pycocotools import mask as rle

    from cuts3d_cli.evaluation.coco_files import masks_by_name, normal_name

    coco = read_json(path)
    names = {image["id"]: normal_name(image["file_name"]) for image in coco["images"]}
    groups: dict[str, list[int | None]] = {name: [] for name in names.values()}
    for record in coco["annotations"]:
        if not record.get("iscrowd", 0) and record.get("segmentation"):
            groups[names[record["image_id"]]].append(record.get("group"))
    found = masks_by_name(coco, set(names.values()))
    result = {}
    for image in coco["images"]:
        name = names[image["id"]]
        runs = found[name]
        masks = rle.decode(runs).transpose(2, 0, 1) if runs else np.zeros((0, image["height"], image["width"]))
        result[name] = masks.astype(bool), groups[name]
    return result


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
