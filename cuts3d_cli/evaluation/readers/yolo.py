"""YOLO's text files: one per image, a line per object, a class number and a polygon in shares of width and height.

A line of four numbers after the class is a box (x and y of its middle, width, height), one of six or more a polygon.
An object has one outline, so it holds no holes. Names of the classes come from ``data.yaml`` (``names``) in the folder
or above it; without it a class is called by its number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cuts3d_cli.errors import CocoError, Cuts3dError
from cuts3d_cli.evaluation.readers.common import BoxedImage, GroundTruth, Object, ground_truth, number
from cuts3d_cli.evaluation.readers.label_files import LabelFile, images_beside, label_paths, matched
from cuts3d_cli.store.coco import encode_mask
from cuts3d_cli.store.coco_document import Record
from cuts3d_cli.store.images import image_size
from cuts3d_cli.yaml_text import parsed_yaml

NOT_LABELS = frozenset({"classes.txt", "labels.txt", "train.txt", "val.txt", "test.txt", "readme.txt", "names.txt"})
"""Text files that tools write beside the labels: names of classes, lists of images."""

LONGEST_CLASS = 9
"""Digits of a class number."""


def read(path: Path, *, images: Path | None = None) -> GroundTruth:
    """Read a folder of label files, or one that holds ``labels``.

    Args:
        path: the folder, searched recursively.
        images: folder of the images; ``images`` beside ``labels`` when left out, else the folder itself.

    Raises:
        CocoError: no files, a malformed line, or no image of their names.
    """
    folder = path / "labels" if (path / "labels").is_dir() else path
    paths = [file for file in label_paths(folder, (".txt",)) if file.name.lower() not in NOT_LABELS]
    if not paths:
        raise CocoError(f"folder {path}", expected="YOLO label files (.txt), or a folder labels", found="none")
    notes: list[str] = []
    files = matched(paths, folder, images or images_beside(folder) or folder, notes)
    names = _names(folder)
    truth = ground_truth((_image(file, names) for file in files), "yolo")
    n_boxes = sum("segmentation" not in record for record in truth.document.annotations)
    if 0 < n_boxes < len(truth.document.annotations):
        raise CocoError(
            f"labels {path}: {n_boxes} objects are boxes, the others polygons",
            expected="polygons alone, or boxes alone",
        )
    return GroundTruth(truth.document, truth.format, [*notes, *truth.notes])


def _image(file: LabelFile, names: dict[int, str]) -> BoxedImage:
    try:
        size_hw = image_size(file.image)
        lines = file.path.read_text(encoding="utf-8").splitlines()
    except Cuts3dError as error:
        raise CocoError(str(error)) from None
    except UnicodeDecodeError:
        raise CocoError(f"file {file.path}", expected="text of YOLO labels", found="something else") from None
    objects = [
        _object(line.split(), size_hw, names, f"file {file.path}, line {n}")
        for n, line in enumerate(lines, start=1)
        if line.strip()
    ]
    return BoxedImage(file.file_name, size_hw, objects)


def _object(words: list[str], size_hw: tuple[int, int], names: dict[int, str], where: str) -> Object:
    height, width = size_hw
    if not (words[0].isdecimal() and len(words[0]) <= LONGEST_CLASS):
        raise CocoError(where, expected="a class number, then a polygon", found=words[0][:40])
    values = [number(word, f"{where}: a coordinate") for word in words[1:]]
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise CocoError(
            where,
            expected="x and y of three corners or more (or a box: x, y, width, height)",
            found=f"{len(values)} numbers",
        )
    if not all(-0.01 <= value <= 1.01 for value in values):  # tools round outward
        raise CocoError(where, expected="shares of width and height, 0 to 1", found=max(values, key=abs))
    name = names.get(int(words[0]), words[0])
    if len(values) == 4:
        x, y, w, h = (value * side for value, side in zip(values, (width, height) * 2, strict=True))
        return Object(name, (x - w / 2, y - h / 2, w, h))
    corners = [value * side for value, side in zip(values, (width, height) * (len(values) // 2), strict=True)]
    return Object(name, None, mask=encode_mask(_drawn(corners, size_hw)))


def _drawn(corners: list[float], size_hw: tuple[int, int]) -> np.ndarray:
    """Mask (H, W) bool of a polygon as Ultralytics draws it: corners cut to whole pixels, the outline included."""
    mask = np.zeros(size_hw, np.uint8)
    cv2.fillPoly(mask, [np.array(corners).reshape(-1, 2).astype(np.int32)], 1)
    return mask.astype(bool)


def _names(folder: Path) -> dict[int, str]:
    """Names of the classes by number, from the nearest ``data.yaml``; none without it."""
    for place in (folder, *list(folder.absolute().parents)[:2]):
        for path in (place / "data.yaml", place / "dataset.yaml"):
            if path.is_file():
                return _read_names(path)
    return {}


def _read_names(path: Path) -> dict[int, str]:
    try:
        content: Any = parsed_yaml(path.read_text(encoding="utf-8"))
        names: list[Any] | Record = content["names"]
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(key): str(name) for key, name in pairs}
    except (KeyError, TypeError, ValueError) as error:
        raise CocoError(f"file {path}", expected="names of the classes (key names)", found=repr(error)[:120]) from None
