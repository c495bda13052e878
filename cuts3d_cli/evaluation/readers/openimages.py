"""OpenImages' boxes (V4 to V7): one CSV for all images, corners as fractions of the image's width and height.

``IsGroupOf`` boxes (more than five objects that touch) are crowd regions. ``IsOccluded``, ``IsTruncated``,
``IsDepiction`` and ``IsInside`` objects are objects like others. The file holds no image size, so the images are
needed; images without any box are not in it and do not count.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

from cuts3d_cli.errors import CocoError
from cuts3d_cli.evaluation.readers.common import (
    BoxedImage,
    GroundTruth,
    Object,
    ground_truth,
    image_of,
    number,
)
from cuts3d_cli.store.coco_document import Record
from cuts3d_cli.store.images import image_size

COLUMNS = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax", "IsGroupOf")


def read(path: Path, *, images: Path | None = None) -> GroundTruth:
    """Read ``validation-annotations-bbox.csv``.

    Args:
        path: the file.
        images: folder of the images; ``validation`` above or beside the file when omitted.

    Raises:
        CocoError: the file is missing, lacks a column, holds no box or a malformed one; or an image is missing.
    """
    rows: dict[str, list[Record]] = defaultdict(list)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise CocoError(f"file {path}", expected=f"columns {', '.join(COLUMNS)}", found=f"no {missing[0]}")
            for number_of_line, row in enumerate(reader, start=2):
                rows[row["ImageID"]].append({**row, "where": f"file {path}, line {number_of_line}"})
    except FileNotFoundError:
        raise CocoError(f"file {path}", expected="CSV of boxes", found="no such file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise CocoError(f"file {path}", expected="CSV of boxes in UTF-8", found=f"something else ({error})") from None
    if not rows:
        raise CocoError(f"file {path}", expected="a line per box", found="none")
    folders = [images] if images else [path.parent.parent / "validation", path.parent / "validation", path.parent]
    return ground_truth((_image(key, rows[key], folders, path) for key in sorted(rows)), "openimages")


def _image(key: str, rows: list[Record], folders: list[Path], path: Path) -> BoxedImage:
    image = image_of(key, folders, path)
    height, width = image_size(image)
    objects = []
    for row in rows:
        left, right, top, bottom = (number(row[name], f"{row['where']}: {name}") for name in COLUMNS[2:6])
        box_xywh = (left * width, top * height, (right - left) * width, (bottom - top) * height)
        objects.append(Object(row["LabelName"], box_xywh, crowd=row["IsGroupOf"] == "1"))
    return BoxedImage(image.name, (height, width), objects)
