"""COCO's records: run-length masks, images and annotations, and what ours have beside COCO's keys.

Run-length masks at the image's own size, so holes and several parts survive. Beside COCO's keys an annotation of ours
has ``score`` and, where there is one, ``quality`` (`core.quality`), ``cut`` (the number of the cut it comes from, from
0: its place among the N instances of the stores) and ``confidence`` (`store.confidence.Confidence`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from cuts3d_cli.errors import StoreError
from cuts3d_cli.store.confidence import Confidence
from cuts3d_cli.store.json_files import is_number, whole
from cuts3d_cli.store.manifest import ImageRecord

CATEGORIES = [{"id": 1, "name": "object"}]


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Run-length code of a mask (H, W) bool, as JSON takes it."""
    rle = mask_api.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_mask(rle: Mapping[str, Any]) -> np.ndarray:
    """Mask (H, W) bool of a run-length code."""
    return mask_api.decode(dict(rle)).astype(bool)


def run_lengths(mask: list | dict[str, Any], size_hw: tuple[int, int]) -> dict[str, Any]:
    """Compressed run-length code of a checked COCO segmentation: polygons, or a code of either kind."""
    if isinstance(mask, list):
        return mask_api.merge(mask_api.frPyObjects(mask, *size_hw))
    return mask_api.frPyObjects(mask, *size_hw) if isinstance(mask["counts"], list) else mask


def mask_of(entry: Mapping[str, Any], image: Mapping[str, Any]) -> np.ndarray:
    """Mask (H, W) bool of a checked annotation, at the size of its image's record."""
    return decode_mask(run_lengths(entry["segmentation"], (image["height"], image["width"])))


def normal_name(file_name: str) -> str:
    """A file name as POSIX path without ``./``; names that differ in spelling only become equal."""
    return str(PurePosixPath(str(file_name).replace("\\", "/")))


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
    return float(found) if is_number(found) else None


def cut_of(entry: Mapping[str, Any]) -> int | None:
    """Number of the cut (from 0) that an annotation comes from; None where it has none."""
    return whole(entry.get("cut"))


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
