"""What the writers share: the objects of each image with their masks, names of files, classes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cuts3d_cli.store.coco import CATEGORIES, mask_of, quality_of, score_of
from cuts3d_cli.store.masks import MaskFile
from cuts3d_cli.store.names import distinct_names

CROWD = "crowd regions left out"
EMPTY = "objects without a pixel left out"
JOINED = "objects in several parts, the parts joined by a line one pixel wide"
COVERED = "objects that overlap others, the shared pixels given to the smaller one"
ESCAPED = "images whose names have characters that XML cannot hold, written as escapes"
HIDDEN = "objects left out, as smaller ones cover them whole"


@dataclass(frozen=True)
class Object:
    """An object of an image.

    Attributes:
        number: its place among the annotations of its image, from 1.
        label: name of its category.
        class_index: place of its category among those of the file, from 0.
        score: 1 where it has none.
        mask: (H, W) bool, not empty.
        entry: its COCO annotation.
    """

    number: int
    label: str
    class_index: int
    score: float
    mask: np.ndarray
    entry: Mapping[str, Any]

    @property
    def scored(self) -> bool:
        """Whether it has a score of its own."""
        return "score" in self.entry

    @property
    def quality(self) -> float | None:
        """Its quality (`core.quality`), which pseudo-masks have."""
        return quality_of(self.entry)


@dataclass(frozen=True)
class ImageObjects:
    """An image with its objects.

    Attributes:
        file_name: as the mask file has it.
        path: the image, which need not be there.
        name: where its results go in the folder of an export, with subfolders, without a suffix.
        size_hw: height and width in px.
        objects: its objects, in the order of the file.
    """

    file_name: str
    path: Path
    name: PurePosixPath
    size_hw: tuple[int, int]
    objects: list[Object]

    def target(self, folder: Path, suffix: str) -> Path:
        """File of this image in a folder, whose folder is made."""
        path = folder / self.name.parent / (self.name.name + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def xml_text(text: str) -> str:
    """A text with escapes for the characters that XML 1.0 has no way to hold."""
    return _NO_XML.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def class_names(masks: MaskFile) -> list[str]:
    """Names of the categories in the order of the file."""
    return [str(category["name"]) for category in masks.categories or CATEGORIES]


def objects_of(masks: MaskFile, lost: Counter[str]) -> Iterator[ImageObjects]:
    """The images of a mask file one by one, masks decoded; crowd regions and empty masks are left out and counted.

    Raises:
        Cuts3dError: two images have one name.
    """
    places = {category["id"]: index for index, category in enumerate(masks.categories or CATEGORIES)}
    names = class_names(masks)
    targets = distinct_names([str(image["file_name"]) for image in masks.images])
    by_image = masks.by_image()
    for image, target in zip(masks.images, targets, strict=True):
        found = []
        for number, entry in enumerate(by_image[image["id"]], start=1):
            if entry.get("iscrowd"):
                lost[CROWD] += 1
                continue
            mask = mask_of(entry, image)
            if not mask.any():
                lost[EMPTY] += 1
                continue
            index = places.get(entry.get("category_id"), 0)
            found.append(Object(number, names[index], index, score_of(entry), mask, entry))
        path = masks.image_root / image["file_name"]
        yield ImageObjects(str(image["file_name"]), path, target, (image["height"], image["width"]), found)
