"""COCO JSON of masks: pseudo-masks, the labels of a self-training round, predictions.

Run-length masks at the image's own size, so holes and several parts survive. Beside COCO's keys an
annotation has ``score`` and, for Spatial Confidence, ``confidence``: the store (relative to the JSON) and
its fingerprint, row and instance where its map lies.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from cuts3d_cli import __version__
from cuts3d_cli.errors import Cuts3dError, StoreError
from cuts3d_cli.store.files import write_json
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
    """Run-length code of a COCO segmentation: polygons, a code that is not compressed, or one that is already."""
    if isinstance(mask, list):
        return mask_api.merge(mask_api.frPyObjects(mask, *size_hw))
    return mask_api.frPyObjects(mask, *size_hw) if isinstance(mask["counts"], list) else mask


def check_size(mask: Mapping[str, Any], image: Mapping[str, Any], name: str) -> None:
    """Check that a run-length mask has the size of its image's record; ``name`` is the annotation's in the error.

    Raises:
        Cuts3dError: it has another.
    """
    if list(mask["size"]) != [image["height"], image["width"]]:
        raise Cuts3dError(
            f"{name}: mask of another size than image {image['file_name']}",
            expected=f"size [{image['height']}, {image['width']}]",
            found=mask["size"],
        )


def image_entry(record: ImageRecord) -> dict[str, Any]:
    """COCO's image record."""
    return {"id": record.id, "file_name": record.file_name, "width": record.width, "height": record.height}


def annotation(
    image_id: int, mask: np.ndarray, score: float, confidence: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Annotation of a non-empty mask (H, W) bool; ``merge`` numbers it."""
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
    if confidence is not None:
        entry["confidence"] = dict(confidence)
    return entry


def write_masks(
    path: str | Path,
    *,
    kind: str,
    image_root: str | Path,
    images: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
    info: Mapping[str, Any] | None = None,
    categories: Sequence[Mapping[str, Any]] = CATEGORIES,
) -> None:
    """Write masks as COCO JSON, atomically; annotations are numbered from 1 in the order given."""
    document = {
        "info": {
            "kind": kind,
            "description": f"{kind} made by cuts3d {__version__}, no human annotation used",
            "version": __version__,
            "image_root": str(image_root),
            **(info or {}),
        },
        "categories": list(categories),
        "images": list(images),
        "annotations": [
            {"id": number, **entry} for number, entry in enumerate((without_id(a) for a in annotations), start=1)
        ],
    }
    write_json(path, document)


def without_id(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An annotation without its number."""
    return {key: value for key, value in entry.items() if key != "id"}


def read_masks(path: str | Path) -> dict[str, Any]:
    """Read COCO JSON.

    Raises:
        StoreError: it is missing, is not JSON, or lacks a section.
    """
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"no file {path}", hint="run the stage that writes it first") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"file {path}", expected="COCO JSON", found=str(error)) from None
    missing = [key for key in ("images", "annotations") if not isinstance(document, dict) or key not in document]
    if missing:
        raise StoreError(
            f"file {path}", expected="COCO JSON with images and annotations", found=f"no {' and no '.join(missing)}"
        )
    return document


def turned_images(document: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """Image records with exchanged width and height put right, and their number.

    Pseudo-masks published with CutLER have such records, while their masks and annotation records are right.
    A record is turned only where every annotation of the image that knows its size (run-length masks, or ``width`` and
    ``height`` of the annotation) says so.
    """
    sizes: dict[Any, set[tuple[int, int]]] = defaultdict(set)
    for record in document["annotations"]:
        size_hw = _annotated_size(record)
        if size_hw:
            sizes[record.get("image_id")].add(size_hw)
    images, n_turned = [], 0
    for record in document["images"]:
        height, width = record.get("height"), record.get("width")
        if height != width and sizes.get(record.get("id")) == {(width, height)}:
            record, n_turned = {**record, "height": width, "width": height}, n_turned + 1
        images.append(record)
    return images, n_turned


def _annotated_size(record: Mapping[str, Any]) -> tuple[int, int] | None:
    segmentation = record.get("segmentation")
    if isinstance(segmentation, dict) and len(segmentation.get("size", ())) == 2:
        return tuple(segmentation["size"])
    if record.get("height") and record.get("width"):
        return record["height"], record["width"]
    return None


def image_root(document: Mapping[str, Any], path: str | Path) -> Path:
    """Folder that the file names of a mask file are relative to."""
    return Path(path).parent / document.get("info", {}).get("image_root", "")


def moved_confidence(entry: Mapping[str, Any], source: str | Path, target: str | Path) -> dict[str, Any]:
    """An annotation of ``source`` with its confidence pointer rewritten to be relative to ``target``."""
    moved = dict(entry)
    if "confidence" in moved:
        store = Path(source).resolve().parent / moved["confidence"]["store"]
        moved["confidence"] = {
            **moved["confidence"],
            "store": Path(os.path.relpath(store, Path(target).resolve().parent)).as_posix(),
        }
    return moved
