"""Label maps: a 16-bit PNG per image, 0 where no object is, else the object's number, and a table of the objects."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from cuts3d_cli.errors import StoreError
from cuts3d_cli.export.objects import COVERED, HIDDEN, ImageObjects, Object, objects_of
from cuts3d_cli.store.masks import MaskFile

CELLS = ("label", "score", "quality")
"""Columns of `cells`."""

MOST = np.iinfo(np.uint16).max


def write(masks: MaskFile, folder: Path) -> Counter[str]:
    """Write a label map per image and ``objects.csv``.

    Raises:
        StoreError: an image has more objects than 16 bit can number.
    """
    lost: Counter[str] = Counter()
    with (folder / "objects.csv").open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.writer(file)
        table.writerow(["file", "value", *CELLS, "area_px"])
        for image in objects_of(masks, lost):
            labels = label_map(image, lost)
            target = image.target(folder, ".png")
            Image.fromarray(labels).save(target)
            areas = np.bincount(labels.ravel(), minlength=MOST + 1)
            for each in image.objects:
                if area := int(areas[each.number]):
                    table.writerow([target.relative_to(folder).as_posix(), each.number, *cells(each), area])
    return lost


def label_map(image: ImageObjects, lost: Counter[str]) -> np.ndarray:
    """(H, W) uint16, the number of the object at each pixel; the smaller of two wins.

    Raises:
        StoreError: there are more objects than 16 bit can number.
    """
    if image.objects and image.objects[-1].number > MOST:
        raise StoreError(f"{image.file_name}: objects for a label map", expected=f"at most {MOST}",
                         found=image.objects[-1].number, hint="use npy or coco")  # fmt: skip
    labels = np.zeros(image.size_hw, np.uint16)
    areas = [int(each.mask.sum()) for each in image.objects]
    for index in sorted(range(len(areas)), key=lambda index: -areas[index]):
        labels[image.objects[index].mask] = image.objects[index].number
    left = np.bincount(labels.ravel(), minlength=MOST + 1)
    for each, area in zip(image.objects, areas, strict=True):
        lost[COVERED] += 0 < left[each.number] < area
        lost[HIDDEN] += left[each.number] == 0
    return labels


def cells(each: Object) -> list[str]:
    """Label, score and quality of an object in a table, empty where it has none."""
    quality = each.quality
    return [each.label, f"{each.score:.6f}" if each.scored else "", "" if quality is None else f"{quality:.6f}"]
