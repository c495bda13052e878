"""Checks of COCO's annotations, one by one and in one form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pycocotools import mask as mask_api

from cuts3d_cli.store.json_files import is_number, is_text, shown, whole
from cuts3d_cli.store.segmentations import (
    Fault,
    Size,
    check_box,
    check_code_size,
    check_codes,
    check_polygons,
    check_runs,
    code_of,
)

Record = dict[str, Any]

ROUNDING = 1.0
"""How far polygons reach outside their image by rounding, px."""


OTHER_BOX = 3.0, 0.05
"""How far a box may be from that of its mask, at each side: px, and as a fraction of the box; tools round."""


class Annotations:
    """The check of a file's annotations.

    An annotation that passed has ``image_id`` and ``segmentation`` or ``bbox``; what else it may lack it has with a
    value or not at all, as null and an empty ``segmentation`` or ``bbox`` are taken out. ``segmentation`` is a list of
    polygons or a run-length code of its image's size, ``bbox`` x, y, width and height, ``area`` is at least 0,
    ``score`` in [0, 1], ``iscrowd`` and ``ignore`` are 0 or 1.

    Args:
        images: checked records of the images.
        unlisted: annotations of other images may be among them; their masks are not checked.
    """

    def __init__(self, images: Sequence[Record], *, unlisted: bool = False):
        self._sizes = {image["id"]: (image["height"], image["width"]) for image in images}
        self._unlisted = unlisted
        self._codes: dict[int, bytes] = {}
        self._n_pixels: list[int] = []
        self._ids: set[int | str] = set()
        self._n_repeated = self._n_outside = 0
        self._reach = 0.0
        self._n_other_boxes = 0
        self._boxes: dict[int, tuple[Sequence[float], Size]] = {}

    def checked(self, place: int, record: Any) -> Record:
        """The annotation at a place of the file, in one form; `code_faults` tells of compressed codes.

        Raises:
            Fault: it is wrong.
        """
        if not isinstance(record, Mapping):
            raise Fault("", expected="an object", found=shown(record))
        found = dict(record)
        found["image_id"] = identifier(record.get("image_id"), "image_id", missing="image_id" not in record)
        size_hw = self._size(found["image_id"])
        for key, check in _CHECKS.items():
            if (value := found.get(key)) is not None:
                found[key] = check(value, key)
            elif key in found:
                del found[key]
        for key in ("segmentation", "bbox"):
            value = found.get(key)
            if key in found and (value is None or (isinstance(value, list | tuple) and not value)):
                del found[key]
        if "bbox" in found:
            check_box(found["bbox"], size_hw)
        if "segmentation" in found:
            self._check_segmentation(place, found["segmentation"], size_hw)
            if "bbox" in found and size_hw is not None and found.get("score") is None:  # a detector finds both apart
                self._note_box(place, found, size_hw)
        elif "bbox" not in found:
            raise Fault("", expected="a segmentation or a bbox", found="neither")
        if (number := found.get("id")) is not None:
            self._n_repeated += number in self._ids
            self._ids.add(number)
        return found

    def code_faults(self) -> dict[int, Fault]:
        """Faults of compressed run-length codes, by the place of their annotation."""
        places = list(self._codes)
        found = check_codes(list(self._codes.values()), self._n_pixels)
        return {places[number]: fault for number, fault in found.items()}

    def notes(self) -> list[str]:
        """What is odd and was taken as it is; asked for when no code has a fault."""
        notes = []
        n_other_boxes = self._n_other_boxes
        if self._boxes:
            codes = [{"size": size_hw, "counts": self._codes[place]} for place, (_, size_hw) in self._boxes.items()]
            given = [box for box, _ in self._boxes.values()]
            n_other_boxes += sum(map(_is_other_box, given, mask_api.toBbox(codes).tolist()))
        if n_other_boxes:
            notes.append(
                f"{n_other_boxes} annotations have a bbox that is not that of their mask (COCO's is x, y, width, "
                "height); each is taken as it is"
            )
        if self._n_outside:
            notes.append(
                f"polygons of {self._n_outside} annotations reach up to {self._reach:.0f} px outside their image, "
                "where they were cut off"
            )
        if self._n_repeated:
            notes.append(f"{self._n_repeated} annotations have the id of an earlier one; each counts by itself")
        return notes

    def _note_box(self, place: int, found: Record, size_hw: Size) -> None:
        """Compare a box with the polygons, or keep it to be compared with the code."""
        if place in self._codes:
            self._boxes[place] = found["bbox"], size_hw
        elif isinstance(found["segmentation"], list | tuple):
            x, y = ([value for part in found["segmentation"] for value in part[axis::2]] for axis in (0, 1))
            box = min(x), min(y), max(x) - min(x), max(y) - min(y)
            self._n_other_boxes += _is_other_box(found["bbox"], box)

    def _size(self, image_id: int | str) -> Size | None:
        if (size_hw := self._sizes.get(image_id)) is None:
            if self._unlisted:
                return None
            other = whole(float(image_id)) if isinstance(image_id, str) and image_id.isdecimal() else str(image_id)
            hint = f"images has {shown(other)}" if other in self._sizes else None
            raise Fault("image_id", expected="the id of a listed image", found=shown(image_id), hint=hint)
        if not size_hw[0]:
            raise Fault("image_id", expected="an image that could be read", found="one of 0 x 0 pixels")
        return size_hw

    def _check_segmentation(self, place: int, value: Any, size_hw: Size | None) -> None:
        if isinstance(value, Mapping):
            if size_hw is None:
                return
            check_code_size(value, size_hw)
            counts, n_pixels = value.get("counts"), size_hw[0] * size_hw[1]
            if isinstance(counts, list | tuple):
                check_runs(counts, n_pixels)
            else:
                self._codes[place] = code_of(counts)
                self._n_pixels.append(n_pixels)
        elif isinstance(value, list | tuple):
            if size_hw is None:
                return
            reach = check_polygons(value, size_hw)
            self._n_outside += reach > ROUNDING
            self._reach = max(self._reach, reach)
        else:
            raise Fault("segmentation", expected="polygons or a run-length code", found=shown(value))


def identifier(value: Any, key: str, *, missing: bool = False) -> int | str:
    """An id: a whole number within 64 bits or a text.

    Raises:
        Fault: it is neither, or ``missing``.
    """
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    if is_text(value):
        return str(value)
    if (number := whole(value)) is None:
        raise Fault(key, expected="a whole number or a text", found="none" if missing else shown(value))
    return number


def _is_other_box(given: Sequence[float], box: Sequence[float]) -> bool:
    """Whether a box is clearly not that of a mask; both x, y, width and height, of a mask without a pixel all 0."""
    px, share = OTHER_BOX
    if not box[2] or not box[3]:
        return False
    corners = [(each[0], each[1], each[0] + each[2], each[1] + each[3]) for each in (given, box)]
    allowed = max(px, share * box[2]), max(px, share * box[3])
    return any(abs(a - b) > allowed[axis % 2] for axis, (a, b) in enumerate(zip(*corners, strict=True)))


def _flag(value: Any, key: str) -> int:
    if not isinstance(value, int | float) or value not in (0, 1):
        raise Fault(key, expected="0 or 1", found=shown(value))
    return int(value)


def _area(value: Any, key: str) -> float:
    if not is_number(value) or value < 0:
        raise Fault(key, expected="a number of at least 0", found=shown(value))
    return value


def _score(value: Any, key: str) -> float:
    if not is_number(value) or not 0 <= value <= 1:
        raise Fault(key, expected="a number from 0 to 1", found=shown(value))
    return value


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "id": identifier,
    "category_id": identifier,
    "iscrowd": _flag,
    "ignore": _flag,
    "area": _area,
    "score": _score,
}
"""Values that an annotation may lack and that need nothing but themselves to be checked; null says the same."""
