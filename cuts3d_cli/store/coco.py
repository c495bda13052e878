"""COCO's records: run-length masks, images and annotations, and what ours have beside COCO's keys.

Run-length masks at the image's own size, so holes and several parts survive. Beside COCO's keys an annotation of ours
has ``score`` and, where there is one, ``quality`` (`core.quality`), ``cut`` (the number of the cut it comes from, from
0: its place among the N instances of the stores) and ``confidence`` (`store.confidence.Confidence`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from cuts3d_cli.errors import Cuts3dError, StoreError
from cuts3d_cli.store.confidence import Confidence
from cuts3d_cli.store.manifest import ImageRecord

CATEGORIES = [{"id": 1, "name": "object"}]


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Run-length code of a mask (H, W) bool, as JSON takes it."""
    rle = mask_api.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_mask(rle: Mapping[str, Any]) -> np.ndarray:
    """Mask (H, W) bool of a run-length code."""
    return mask_api.decode(dict(rle)).astype(bool)


def polygon_mask(polygons: Sequence[Sequence[float]], size_hw: tuple[int, int]) -> np.ndarray:
    """Mask (H, W) bool of polygons, each x, y, x, y, ... in px, as COCO draws them; what lies outside is cut."""
    return decode_mask(run_lengths([list(polygon) for polygon in polygons], size_hw))


def run_lengths(mask: list | dict[str, Any], size_hw: tuple[int, int]) -> dict[str, Any]:
    """Run-length code of a COCO segmentation: polygons, a code that is not compressed, or one that is already."""
    if isinstance(mask, list):
        return mask_api.merge(mask_api.frPyObjects(mask, *size_hw))
    return mask_api.frPyObjects(mask, *size_hw) if isinstance(mask["counts"], list) else mask


def mask_of(entry: Mapping[str, Any], image: Mapping[str, Any], file: str) -> np.ndarray:
    """Mask (H, W) bool of an annotation, at the size of its image's record; ``file`` is named in errors.

    Raises:
        StoreError: there is none that can be decoded.
        Cuts3dError: it has another size.
    """
    name = f"{file}: annotation {entry.get('id', '')}".rstrip()
    try:
        runs = run_lengths(entry["segmentation"], (image["height"], image["width"]))
        check_size(runs, image, name)
        return decode_mask(runs)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise StoreError(f"{name}: no mask that can be decoded", found=repr(error)) from None


def check_size(mask: Mapping[str, Any], image: Mapping[str, Any], name: str) -> None:
    """Check that a run-length mask has the size of its image's record; ``name`` is the annotation's in the error.

    Raises:
        Cuts3dError: it has another.
    """
    if list(mask["size"]) != [image["height"], image["width"]]:
        raise Cuts3dError(
            f"{name}: mask differs in size from image {image['file_name']}",
            expected=f"size [{image['height']}, {image['width']}]",
            found=mask["size"],
        )


def image_entry(record: ImageRecord) -> dict[str, Any]:
    """COCO's image record."""
    return {"id": record.id, "file_name": record.file_name, "width": record.width, "height": record.height}


def annotation(
    image_id: int,
    mask: np.ndarray,
    score: float,
    *,
    quality: float | None = None,
    cut: int | None = None,
    confidence: Confidence | None = None,
) -> dict[str, Any]:
    """Annotation of a non-empty mask (H, W) bool; `store.masks.write_masks` numbers it."""
    rle = encode_mask(mask)
    entry = {
        "image_id": image_id,
        "category_id": 1,
        "segmentation": rle,
        "bbox": [float(value) for value in mask_api.toBbox(rle)],
        "area": int(mask_api.area(rle)),
        "iscrowd": 0,
        "score": round(float(score), 6),
    }
    if quality is not None:
        entry["quality"] = round(float(quality), 6)
    if cut is not None:
        entry["cut"] = int(cut)
    if confidence is not None:
        entry["confidence"] = confidence.encode()
    return entry


def score_of(entry: Mapping[str, Any]) -> float:
    """Score of an annotation; 1 where it has none."""
    return float(entry.get("score", 1.0))


def quality_of(entry: Mapping[str, Any]) -> float | None:
    """Quality of a pseudo-mask (`core.quality`); None where it has none."""
    found = entry.get("quality")  # others may call anything so
    return float(found) if isinstance(found, float | int) and math.isfinite(found) else None


def cut_of(entry: Mapping[str, Any]) -> int | None:
    """Number of the cut (from 0) that an annotation comes from; None where it has none."""
    return entry.get("cut")


def confidence_of(entry: Mapping[str, Any]) -> Confidence | None:
    """Confidence of an annotation; None where it has none of ours.

    Raises:
        StoreError: it is damaged.
    """
    if not isinstance(record := entry.get("confidence"), Mapping):  # others may call a number so
        return None
    try:
        return Confidence.decode(record)
    except ValueError as error:
        raise StoreError(f"annotation {entry.get('id', '')}".rstrip() + f": {error}") from None


def without_id(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An annotation without its number."""
    return {key: value for key, value in entry.items() if key != "id"}


def turned_images(
    images: Sequence[dict[str, Any]], annotations: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], int]:
    """Image records with exchanged width and height put right, and their number.

    Pseudo-masks published with CutLER have such records, while their masks and annotation records are right.
    A record is turned only where every annotation of the image that knows its size (run-length masks, or ``width`` and
    ``height`` of the annotation) says so.
    """
    sizes: dict[Any, set[tuple[int, int]]] = defaultdict(set)
    for record in annotations:
        size_hw = _annotated_size(record)
        if size_hw:
            sizes[record.get("image_id")].add(size_hw)
    found, n_turned = [], 0
    for record in images:
        height, width = record.get("height"), record.get("width")
        if height != width and sizes.get(record.get("id")) == {(width, height)}:
            record, n_turned = {**record, "height": width, "width": height}, n_turned + 1
        found.append(record)
    return found, n_turned


def _annotated_size(record: Mapping[str, Any]) -> tuple[int, int] | None:
    segmentation = record.get("segmentation")
    if isinstance(segmentation, dict) and len(segmentation.get("size", ())) == 2:
        return tuple(segmentation["size"])
    if record.get("height") and record.get("width"):
        return record["height"], record["width"]
    return None
