"""KITTI object labels: a text file per image, 15 columns per object.

type, truncated, occluded, alpha, left, top, right, bottom (px from 0), three dimensions, three coordinates, rotation.
``DontCare`` marks regions where objects were not labelled: crowd regions here, as KITTI's own evaluation forgives
detections that lie inside them. All other types are objects, ``Misc`` included; truncation and occlusion do not matter.
The files hold no image size, so the images are needed.
"""

from __future__ import annotations

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
from cuts3d_cli.store.images import image_size

COLUMNS = 15
DONT_CARE = "DontCare"


def read(path: Path, *, images: Path | None = None) -> GroundTruth:
    """Read a folder of label files, or one that holds ``label_2``.

    Args:
        path: the folder.
        images: folder of the images; ``image_2`` or ``JPEGImages`` beside the labels when omitted.

    Raises:
        CocoError: no files, a malformed line, or a missing image.
    """
    folder = path / "label_2" if (path / "label_2").is_dir() else path
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise CocoError(f"folder {path}", expected="KITTI label files (000000.txt), or a folder label_2", found="none")
    folders = [images] if images else [folder.parent / "image_2", folder.parent / "JPEGImages", folder]
    return ground_truth((_image(file, folders) for file in files), "kitti")


def _image(file: Path, folders: list[Path]) -> BoxedImage:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    objects = [_object(line, f"file {file}, line {n}") for n, line in enumerate(lines, start=1) if line.strip()]
    image = image_of(file.stem, folders, file)
    return BoxedImage(image.name, image_size(image), objects)


def _object(line: str, where: str) -> Object:
    words = line.split()
    if len(words) != COLUMNS:
        raise CocoError(where, expected=f"{COLUMNS} columns of a KITTI label", found=len(words))
    left, top, right, bottom = (number(word, f"{where}: the box") for word in words[4:8])
    return Object(words[0], (left, top, right - left, bottom - top), crowd=words[0] == DONT_CARE)
