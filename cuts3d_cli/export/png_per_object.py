"""A folder per image with a PNG per object: 8 bit, 255 inside; holes, parts and overlaps are kept."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from cuts3d_cli.export.objects import objects_of
from cuts3d_cli.export.png import CELLS, cells
from cuts3d_cli.store.masks import MaskFile


def write(masks: MaskFile, folder: Path) -> Counter[str]:
    """Write ``IMAGE/001.png`` and so on, and ``objects.csv``."""
    lost: Counter[str] = Counter()
    with (folder / "objects.csv").open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.writer(file)
        table.writerow(["file", *CELLS, "area_px"])
        for image in objects_of(masks, lost):
            place = folder / image.name
            place.mkdir(parents=True, exist_ok=True)
            for each in image.objects:
                target = place / f"{each.number:03d}.png"
                Image.fromarray(np.uint8(255) * each.mask).save(target)
                table.writerow([target.relative_to(folder).as_posix(), *cells(each), int(each.mask.sum())])
    return lost
