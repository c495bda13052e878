"""Human labels: a COCO JSON with classes, checked, and a seeded fraction of its images to train on.

The subsets of one seed are nested: the images of a smaller fraction are among those of every larger one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.store.coco import check_size
from cuts3d_cli.store.files import fingerprint
from cuts3d_cli.store.masks import MaskFile, read_masks

Record = dict[str, Any]


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

    Crowd regions, objects flagged ``ignore`` and masks without area are omitted, and so are images
    without any other object; the fraction is of the images that remain, at least one.

    Args:
        path: COCO JSON with ``images``, ``annotations`` (polygons or run-length masks) and ``categories``.
        root: folder of the images; by default ``info.image_root``, relative to the JSON, which may lack it.
        fraction: fraction of the images, in (0, 1].
        seed: decides which.

    Raises:
        Cuts3dError: the file is malformed, a mask is missing or of another size than its image, an id is not
            listed, there is nothing to learn from, or a chosen image does not exist.
    """
    path = Path(path)
    if not 0 < fraction <= 1:
        raise Cuts3dError("config key train.fraction", expected="above 0 and at most 1", found=fraction)
    masks = read_masks(path)
    categories = _categories(masks, path)
    images = _by_id(masks.images, f"{path}: images", ("id", "file_name", "height", "width"))
    instances, n_left_out = _instances(masks.annotations, images, categories, path)
    usable = sorted((image for key, image in images.items() if instances[key]), key=lambda image: image["file_name"])
    if not usable:
        raise Cuts3dError(
            f"file {path} has no object to train on",
            expected="annotations with masks that are neither crowd nor ignored",
            found=f"{len(images)} images, {n_left_out} annotations skipped",
        )
    chosen = [usable[index] for index in draw(len(usable), fraction, seed)]
    folder = Path(root) if root is not None else masks.image_root
    _check_files(chosen, folder, path)
    entries = [
        {
            "img_id": image["id"],
            "img_path": str(folder / image["file_name"]),
            "height": image["height"],
            "width": image["width"],
            "instances": instances[image["id"]],
        }
        for image in chosen
    ]
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


def _categories(masks: MaskFile, path: Path) -> list[Record]:
    found = masks.categories
    if not isinstance(found, list) or not found:
        raise Cuts3dError(
            f"file {path} has no categories",
            expected='COCO\'s list of classes, such as [{"id": 1, "name": "cat"}]',
            hint="pass masks without classes as --annotations",
        )
    named = _by_id(found, f"{path}: categories", ("id", "name"))
    return [{"id": key, "name": str(named[key]["name"])} for key in sorted(named)]


def _by_id(records: Any, name: str, keys: tuple[str, ...]) -> dict[Any, Record]:
    if not isinstance(records, list):
        raise Cuts3dError(name, expected="a list", found=type(records).__name__)
    found: dict[Any, Record] = {}
    for record in records:
        missing = [key for key in keys if not isinstance(record, dict) or key not in record]
        if missing:
            raise Cuts3dError(f"{name}: a record lacks {missing[0]}", found=str(record)[:100])
        if record["id"] in found:
            raise Cuts3dError(f"{name}: id {record['id']} occurs twice")
        found[record["id"]] = record
    return found


def _instances(
    annotations: list[Record], images: Mapping[Any, Record], categories: list[Record], path: Path
) -> tuple[dict[Any, list[Record]], int]:
    """Objects to learn from by image id, and how many annotations were omitted."""
    labels = {category["id"]: label for label, category in enumerate(categories)}
    found: dict[Any, list[Record]] = defaultdict(list)
    n_left_out = 0
    for entry in annotations:
        if not isinstance(entry, dict):
            raise Cuts3dError(f"{path}: annotations", expected="a list of objects", found=str(entry)[:60])
        name = f"{path}: annotation {entry.get('id', '')}".rstrip()
        if entry.get("category_id") not in labels:
            raise Cuts3dError(
                f"{name} is of category {entry.get('category_id')}, which is not listed",
                expected=f"one of {len(labels)} ids, {categories[0]['id']} to {categories[-1]['id']}",
            )
        if (image := images.get(entry.get("image_id"))) is None:
            raise Cuts3dError(f"{name} is on image {entry.get('image_id')}, which is not listed")
        if entry.get("iscrowd") or entry.get("ignore"):
            n_left_out += 1
            continue
        mask = _mask(entry, image, name)
        if mask is None:
            n_left_out += 1
            continue
        found[image["id"]].append(
            {
                "bbox": [0, 0, image["width"], image["height"]],  # the training takes boxes from the masks
                "bbox_label": labels[entry["category_id"]],
                "mask": mask,
                "ignore_flag": 0,
                "score": 1.0,
                "confidence": None,
            }
        )
    return found, n_left_out


def _mask(entry: Record, image: Record, name: str) -> list[list[float]] | Record | None:
    """Polygons or run-length code of an annotation; None where it has no area.

    Raises:
        Cuts3dError: it has no mask, or one of another size than the image.
    """
    mask = entry.get("segmentation")
    if isinstance(mask, list) and all(isinstance(part, list) for part in mask):
        polygons = [part for part in mask if len(part) >= 6 and len(part) % 2 == 0]
        return polygons or None
    if not isinstance(mask, dict) or "counts" not in mask or "size" not in mask:
        raise Cuts3dError(f"{name} has no mask", expected="a segmentation (polygons or RLE)", found=str(mask)[:60])
    check_size(mask, image, name)
    return mask if entry.get("area", 1) else None


def _check_files(images: list[Record], folder: Path, path: Path) -> None:
    missing = [image["file_name"] for image in images if not (folder / image["file_name"]).is_file()]
    if missing:
        raise Cuts3dError(
            f"{len(missing)} of {len(images)} images of {path} are not in {folder}",
            found=f"no {missing[0]}",
            hint="give their folder: --image-root DIR",
        )
