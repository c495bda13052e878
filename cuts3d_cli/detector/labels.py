"""Human labels: a COCO JSON with classes, checked, and a seeded fraction of its images to train on.

The subsets of one seed are nested: the images of a smaller fraction are among those of every larger one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.store.coco_document import Record, check_categories
from cuts3d_cli.store.files import fingerprint
from cuts3d_cli.store.masks import MaskFile, read_masks, to_learn


@dataclass(frozen=True)
class Labels:
    """Labelled images to train on.

    Attributes:
        categories: ``id`` and ``name`` of the classes; the place in the list is the label (sorted by id).
        entries: the chosen images, by file name, as MMDetection's datasets list them: ``img_id``, ``img_path``,
            ``height``, ``width`` and ``instances`` (``bbox``, ``bbox_label``, ``mask``, ``ignore_flag``, ``score``,
            ``confidence``).
        record: what was chosen, JSON-able: ``images``, ``of``, ``objects``, ``left_out``, ``fraction``, ``seed`` and
            ``digest`` of the file names.
    """

    categories: list[Record]
    entries: list[Record]
    record: Record


def read_labels(path: str | Path, *, root: str | Path | None = None, fraction: float = 1.0, seed: int = 0) -> Labels:
    """Read a COCO JSON with classes and choose a fraction of its images.

    Images without an object to learn from (`to_learn`) are omitted; the fraction is of those that remain, at least one.

    Args:
        path: COCO JSON with ``images``, ``annotations`` (polygons or run-length masks) and ``categories``.
        root: folder of the images; by default ``info.image_root``, relative to the JSON, which may lack it.
        fraction: fraction of the images, in (0, 1].
        seed: decides which.

    Raises:
        Cuts3dError: the file is malformed, a mask is missing, a category is not listed, there is nothing to learn from,
            or a chosen image does not exist.
    """
    path = Path(path)
    if not 0 < fraction <= 1:
        raise Cuts3dError("config key train.fraction", expected="above 0 and at most 1", found=fraction)
    masks = read_masks(path)
    masks = replace(masks, image_root=Path(root)) if root is not None else masks
    labels = _labels_by_category(masks, path)
    annotations, n_left_out = to_learn(masks, path)
    instances = {key: [_instance(entry, labels) for entry in of_image] for key, of_image in annotations.items()}
    usable = sorted((image for image in masks.images if image["id"] in instances), key=lambda each: each["file_name"])
    if not usable:
        raise Cuts3dError(
            f"file {path} has no object to train on",
            expected="annotations with masks that are neither crowd nor ignored",
            found=f"{len(masks.images)} images, {n_left_out} annotations skipped",
        )
    chosen = [usable[index] for index in draw(len(usable), fraction, seed)]
    _check_files(chosen, masks.image_root, path)
    entries = [dataset_entry(image, masks.image_root, instances[image["id"]]) for image in chosen]
    categories = [{"id": each["id"], "name": each["name"]} for each in sorted(masks.categories, key=itemgetter("id"))]
    record = {
        "fraction": fraction,
        "seed": seed,
        "images": len(entries),
        "of": len(usable),
        "objects": sum(len(entry["instances"]) for entry in entries),
        "left_out": n_left_out,
        "digest": fingerprint([image["file_name"] for image in chosen]),
    }
    return Labels(categories, entries, record)


def draw(n: int, fraction: float, seed: int) -> list[int]:
    """Sorted indices of a fraction of n images, at least one; nested for smaller fractions of the same seed."""
    count = max(1, int(fraction * n + 0.5))
    return sorted(np.random.default_rng(seed).permutation(n)[:count].tolist())


def dataset_entry(image: Record, root: Path, instances: list[Record]) -> Record:
    """An image with its instances as MMDetection's datasets list them."""
    return {
        "img_id": image["id"],
        "img_path": str(root / image["file_name"]),
        "height": image["height"],
        "width": image["width"],
        "instances": instances,
    }


def _labels_by_category(masks: MaskFile, path: Path) -> dict[Any, int]:
    """Label, from 0, of each category by its id."""
    if not masks.categories:
        raise Cuts3dError(
            f"file {path} has no categories",
            expected='COCO\'s list of classes, such as [{"id": 1, "name": "cat"}]',
            hint="pass masks without classes as --annotations",
        )
    check_categories(masks.annotations, masks.categories, f"file {path}")
    return {key: label for label, key in enumerate(sorted(category["id"] for category in masks.categories))}


def _instance(entry: Record, labels: dict[Any, int]) -> Record:
    return {
        "bbox": [0, 0, 1, 1],  # the training takes boxes from the masks
        "bbox_label": labels[entry["category_id"]],
        "mask": entry["segmentation"],
        "ignore_flag": 0,
        "score": 1.0,
        "confidence": None,
    }


def _check_files(images: list[Record], folder: Path, path: Path) -> None:
    missing = [image["file_name"] for image in images if not os.path.isfile(folder / image["file_name"])]
    if missing:
        raise Cuts3dError(
            f"{len(missing)} of {len(images)} images of {path} are not in {folder}",
            found=f"no {missing[0]}",
            hint="give their folder: --image-root DIR",
        )
