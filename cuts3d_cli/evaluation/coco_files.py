"""COCO JSON of others: reading it, and checking its records one by one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

from pycocotools import mask as rle

from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.store.coco import run_lengths

Record = dict[str, Any]

ONE_CATEGORY = [{"id": 1, "name": "object"}]


class CocoError(Cuts3dError):
    """A prediction or ground-truth file that cannot be evaluated."""


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        CocoError: there is none, or it is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise CocoError(f"file {path}", expected="COCO JSON", found="no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CocoError(f"file {path}", expected="COCO JSON", found=f"something else ({error})") from None


def masks_by_name(truth: Any, names: Collection[str], *, name: str = "ground truth") -> dict[str, list[Record]]:
    """Run-length masks of the objects of some images, by normal file name; crowd regions are omitted.

    Args:
        truth: COCO JSON.
        names: normal file names (:func:`normal_name`) of the images wanted.
        name: what errors call the file.

    Raises:
        CocoError: a wrong structure.
    """
    images = {key: record for key, record in truth_images(truth, name).items()
              if normal_name(record["file_name"]) in names}  # fmt: skip
    masks: dict[str, list[Record]] = {normal_name(record["file_name"]): [] for record in images.values()}
    for record in truth["annotations"]:
        image = images.get(field_of(record, "image_id", name))
        if image is not None and not record.get("iscrowd", 0) and record.get("segmentation"):
            masks[normal_name(image["file_name"])].append(segmentation_of(record, image, name, name))
    return masks


def normal_name(file_name: str) -> str:
    """A file name as POSIX path without ``./``; names that differ in spelling only become equal."""
    return str(PurePosixPath(str(file_name).replace("\\", "/")))


def kind_of(value: Any) -> str:
    if not isinstance(value, dict):
        return type(value).__name__
    return f"an object with keys {', '.join(map(str, value)) or 'none'}"


def field_of(record: Any, key: str, name: str) -> Any:
    if not isinstance(record, dict) or key not in record:
        raise CocoError(f"{name}: a record lacks {key}", found=str(record)[:120])
    return record[key]


def images_by_id(coco: Record, name: str) -> dict[Any, Record]:
    records = coco.get("images")
    if not isinstance(records, list):
        raise CocoError(name, expected="COCO JSON with a list of images", found=kind_of(coco))
    images = {field_of(record, "id", name): record for record in records}
    if len(images) != len(records):
        twice = Counter(record["id"] for record in records).most_common(1)[0][0]
        raise CocoError(f"{name}: image id {twice} occurs twice")
    names = Counter(normal_name(field_of(record, "file_name", name)) for record in records)
    if names and max(names.values()) > 1:
        raise CocoError(f"{name}: file name {names.most_common(1)[0][0]} occurs twice")
    return images


def check_references(annotations: list[Record], images: dict[Any, Record], name: str) -> None:
    for record in annotations:
        if field_of(record, "image_id", name) not in images:
            raise CocoError(f"{name}: an annotation refers to image id {record['image_id']}, which is not listed")


def truth_images(truth: Any, name: str) -> dict[Any, Record]:
    if not isinstance(truth, dict) or not isinstance(truth.get("annotations"), list):
        raise CocoError(name, expected="COCO JSON with images and annotations", found=kind_of(truth))
    images = images_by_id(truth, name)
    for record in images.values():
        field_of(record, "width", name)
        field_of(record, "height", name)
    return images


def categories_of(truth: Record, name: str) -> list[Record]:
    records = truth.get("categories")
    if not isinstance(records, list) or not records:
        raise CocoError(
            f"{name}: no categories",
            expected="COCO JSON with categories",
            found=kind_of(truth),
            hint="evaluate.class_agnostic evaluates all objects as one category",
        )
    categories = [
        {"id": field_of(record, "id", name), "name": str(field_of(record, "name", name))} for record in records
    ]
    for key in ("id", "name"):
        twice = [value for value, n in Counter(record[key] for record in categories).items() if n > 1]
        if twice:
            raise CocoError(f"{name}: category {key} {twice[0]} occurs twice")
    return categories


def size_error(what: str, found_hw: tuple, right_hw: tuple, truth_name: str) -> CocoError:
    return CocoError(
        what,
        expected=f"height x width {right_hw[0]} x {right_hw[1]} as in {truth_name}",
        found=f"{found_hw[0]} x {found_hw[1]}",
        hint="predict on the images that were annotated",
    )


def segmentation_of(record: Record, image: Record, name: str, truth_name: str) -> Record | None:
    """Compressed RLE of an annotation at its image's size, or None where it has no mask."""
    segmentation = record.get("segmentation")
    if not segmentation:
        return None
    size_hw = (int(image["height"]), int(image["width"]))
    try:
        if not isinstance(segmentation, list) and tuple(segmentation["size"]) != size_hw:
            raise size_error(f"{name}: a mask of image {image['file_name']}", segmentation["size"], size_hw, truth_name)
        return run_lengths(segmentation, size_hw)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        what = f"{name}: a segmentation of image {image['file_name']}"
        raise CocoError(what, expected="polygons or RLE", found=repr(error)) from None


def box_of(record: Record, segmentation: Record | None, name: str) -> list[float]:
    box = record.get("bbox")
    if not box and segmentation is None:
        raise CocoError(f"{name}: an annotation with neither bbox nor segmentation", found=str(record)[:120])
    box = [float(v) for v in (box or rle.toBbox(segmentation))]
    if len(box) != 4:
        raise CocoError(f"{name}: a bbox", expected="x, y, width, height", found=box)
    return box


def area_of(record: Record, segmentation: Record | None) -> float:
    return float(rle.area(segmentation)) if segmentation else float(record["bbox"][2] * record["bbox"][3])
