"""Ultralytics YOLO segmentation: ``images/``, ``labels/`` with a line per object, and ``data.yaml``.

The reader finds a label by its image, so the images lie in the export too: hard links where the disk allows, else
copies. A line is one polygon through the pixels of the border; holes and parts are joined to it. Ultralytics cuts
coordinates to whole pixels and supervision rounds them, so they lie a quarter of a pixel inside theirs.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
import yaml

from cuts3d_cli.export.objects import JOINED, class_names, objects_of
from cuts3d_cli.export.polygons import joined, pixel_parts, polygon_of
from cuts3d_cli.store.masks import MaskFile

REPEATED = "objects with the outline and class of another, of which Ultralytics keeps one"
MISSING = "images not found, labels written without them (--images says where they lie)"
INSIDE = 0.25


def write(masks: MaskFile, folder: Path) -> Counter[str]:
    """Write images, labels and ``data.yaml``; validation is on the same images, as there are no others."""
    lost: Counter[str] = Counter()
    for image in objects_of(masks, lost):
        lines = [f"{each.class_index} {_outline(each.mask, lost)}\n" for each in image.objects]
        lost[REPEATED] += len(lines) - len(set(lines))
        image.target(folder / "labels", ".txt").write_text("".join(lines))
        if image.path.is_file():
            link(image.path, image.target(folder / "images", PurePosixPath(image.file_name).suffix))
        else:
            lost[MISSING] += 1
    (folder / "images").mkdir(exist_ok=True)
    names = dict(enumerate(class_names(masks)))
    data = {"train": "images", "val": "images", "names": names}  # without a path both are relative to this file
    (folder / "data.yaml").write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    return lost


def link(image: Path, target: Path) -> None:
    """Bring an image to another place: a hard link, or a copy where there can be none."""
    try:
        os.link(image.resolve(), target)
    except OSError:
        shutil.copyfile(image, target)


def _outline(mask: np.ndarray, lost: Counter[str]) -> str:
    parts = pixel_parts(mask)
    lost[JOINED] += len(parts) > 1
    ring = polygon_of(joined([ring for part in parts for ring in part]))
    return " ".join(f"{value:.6f}" for value in ((ring + INSIDE) / mask.shape[::-1]).ravel())
