"""What the readers share: the result type, numbering, boxes and the images of annotation files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pycocotools import mask as mask_api

from cuts3d_cli.errors import CocoError
from cuts3d_cli.store.coco import CATEGORIES, normal_name, run_lengths
from cuts3d_cli.store.coco_document import CocoDocument, Record

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPEG", ".JPG", ".PNG")


class Remark(str):
    """A note on what is usual, such as which value of label maps is background: told, but not as a warning."""


@dataclass(frozen=True)
class GroundTruth:
    """Ground truth of one dataset as a COCO document.

    Attributes:
        document: an annotation has ``iscrowd`` 1 for a region that takes in any number of detections, and ``ignore``
            1 for an object that may be missed or found; without notes, which stand here.
        format: name of the format it was read from.
        notes: what a reader of the numbers has to know, one line each.
    """

    document: CocoDocument
    format: str
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Object:
    """One annotated object.

    Attributes:
        category: its name.
        box_xywh: x and y of the upper left corner, width and height, px, in continuous coordinates from 0; None for
            an object with a mask, whose box is the mask's.
        crowd: whether it is a region rather than an object.
        ignore: whether detections of it count neither way.
        mask: run-length code at the image's size (:func:`cuts3d_cli.store.coco.encode_mask`), or None.
    """

    category: str
    box_xywh: tuple[float, float, float, float] | None
    crowd: bool = False
    ignore: bool = False
    mask: Record | None = None


@dataclass(frozen=True)
class BoxedImage:
    """An image with its annotated objects; ``size_hw`` in px."""

    file_name: str
    size_hw: tuple[int, int]
    objects: Sequence[Object]


FAR_OUTSIDE = 0.1
"""Fraction of an image's side that a box may reach beyond it without a note."""


def document(images: Iterable[BoxedImage]) -> tuple[CocoDocument, int, int]:
    """COCO document of images with boxes or masks; ids from 1 in the order given, categories by name.

    Boxes are cut to their image; what has no area then is omitted.

    Returns:
        The document, how many objects were skipped, and how many boxes reach far beyond their image.
    """
    images = list(images)
    names = sorted({item.category for image in images for item in image.objects})
    category_ids = {name: number for number, name in enumerate(names, start=1)}
    records, annotations, n_empty, n_outside = [], [], 0, 0
    for image_id, image in enumerate(images, start=1):
        height, width = image.size_hw
        records.append({"id": image_id, "file_name": image.file_name, "height": height, "width": width})
        for item in image.objects:
            box_xywh = mask_api.toBbox(item.mask).tolist() if item.mask else item.box_xywh
            x, y, w, h = clip_box(box_xywh, image.size_hw)
            if w <= 0 or h <= 0:
                n_empty += 1
                continue
            n_outside += max((box_xywh[2] - w) / width, (box_xywh[3] - h) / height) > FAR_OUTSIDE
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_ids[item.category],
                    "bbox": [x, y, w, h],
                    "area": int(mask_api.area(item.mask)) if item.mask else w * h,
                    "iscrowd": int(item.crowd),
                    "ignore": int(item.ignore),
                    **({"segmentation": item.mask} if item.mask else {}),
                }
            )
    categories = [{"id": number, "name": name} for name, number in category_ids.items()]
    return CocoDocument(records, annotations, categories), n_empty, n_outside


def ground_truth(images: Iterable[BoxedImage], format_name: str) -> GroundTruth:
    """Ground truth of images with boxes or masks."""
    made, n_empty, n_outside = document(images)
    notes = [f"{n_empty} objects without area inside their image were skipped"] if n_empty else []
    if n_outside:
        notes.append(f"{n_outside} boxes reach more than {FAR_OUTSIDE:.0%} beyond their image and were cut to it")
    return GroundTruth(made, format_name, notes)


def clip_box(box_xywh: Sequence[float], size_hw: tuple[int, int]) -> tuple[float, float, float, float]:
    """A box cut to its image; width or height are 0 or less for a box outside."""
    x, y, w, h = box_xywh
    left, top = max(x, 0.0), max(y, 0.0)
    return left, top, min(x + w, float(size_hw[1])) - left, min(y + h, float(size_hw[0])) - top


def one_category(truth: CocoDocument) -> CocoDocument:
    """A COCO document with all categories taken as one; the flags and everything else stay."""
    annotations = [{**record, "category_id": CATEGORIES[0]["id"]} for record in truth.annotations]
    return replace(truth, annotations=annotations, categories=CATEGORIES)


def masks_by_name(truth: CocoDocument, names: Collection[str]) -> dict[str, list[Record]]:
    """Run-length masks of the objects of some images, by normal file name; crowd regions are omitted.

    Args:
        truth: ground truth.
        names: normal file names (`normal_name`) of the images wanted.
    """
    images = {image["id"]: image for image in truth.images if normal_name(image["file_name"]) in names}
    masks: dict[str, list[Record]] = {normal_name(image["file_name"]): [] for image in images.values()}
    for record in truth.annotations:
        image = images.get(record["image_id"])
        if image is not None and not record.get("iscrowd") and "segmentation" in record:
            code = run_lengths(record["segmentation"], (image["height"], image["width"]))
            masks[normal_name(image["file_name"])].append(code)
    return masks


def image_of(stem: str, folders: Sequence[Path], source: Path) -> Path:
    """Image of an annotation file's stem in the first folder that has it.

    Raises:
        CocoError: none has it.
    """
    for folder in folders:
        for suffix in IMAGE_SUFFIXES:
            if (path := folder / f"{stem}{suffix}").is_file():
                return path
    raise CocoError(
        f"{source}: the image of {stem}, needed for its size, is missing",
        expected=f"{stem}.jpg or .png in {' or '.join(map(str, folders))}",
        found="none",
        hint="give the image folder with --truth-images",
    )


def number(text: Any, what: str) -> float:
    """A finite number read from text.

    Raises:
        CocoError: it is none.
    """
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = float("nan")
    if value != value or value in (float("inf"), float("-inf")):
        raise CocoError(what, expected="a number", found=repr(text))
    return value
