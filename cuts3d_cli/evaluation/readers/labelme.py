"""labelme's JSON files: one per image, with its size and the outlines of its objects.

Polygons, rectangles, circles and masks are objects; points and lines are left out and counted. Shapes of one label and
``group_id`` are parts of one object. Of a shape that labelme flags ``difficult`` detections count neither way.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
import warnings
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from cuts3d_cli.errors import CocoError, ImageError, first_line
from cuts3d_cli.evaluation.readers.common import BoxedImage, GroundTruth, Object, ground_truth
from cuts3d_cli.evaluation.readers.label_files import LabelFile, images_beside, label_paths, matched
from cuts3d_cli.store.coco import encode_mask, normal_name
from cuts3d_cli.store.coco_document import Record
from cuts3d_cli.store.images import MAX_PIXELS, image_size
from cuts3d_cli.store.json_files import is_number, read_json, shown
from cuts3d_cli.store.segmentations import Fault, check_polygons

WITHOUT_AREA = ("point", "points", "line", "linestrip")


def read(path: Path, *, images: Path | None = None) -> GroundTruth:
    """Read a folder of labelme files, or one file.

    Args:
        path: the folder, searched recursively, or the file.
        images: folder of the images; by default what the files say of them is taken.

    Raises:
        CocoError: no file, a malformed one, one of another size than its image, or no image of their names.
    """
    folder = path if path.is_dir() else path.parent
    paths = [path] if path.is_file() else label_paths(folder, (".json",))
    if not paths:
        raise CocoError(f"folder {path}", expected="labelme files (.json)", found="none")
    notes: list[str] = []
    files = matched(paths, folder, images or images_beside(folder), notes)
    left_out: dict[str, int] = defaultdict(int)
    truth = ground_truth([_image(file, left_out) for file in files], "labelme")
    for kind, n in left_out.items():
        notes.append(f"{n} labelme shapes of type {kind} were left out: they have no area")
    return GroundTruth(truth.document, truth.format, [*notes, *truth.notes])


def is_labelme(content: Any) -> bool:
    """Whether a JSON's content is of labelme's form: an object with a list of shapes."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def _image(file: LabelFile, left_out: dict[str, int]) -> BoxedImage:
    where = f"file {file.path}"
    if not is_labelme(content := read_json(file.path, expected="labelme's JSON")):
        raise CocoError(where, expected="labelme's JSON with a list of shapes", found="none")
    size_hw = _size(content, file, where)
    parts: dict[Any, list[Record]] = defaultdict(list)
    for place, shape in enumerate(content["shapes"]):
        if not isinstance(shape, dict) or "label" not in shape:
            raise CocoError(f"{where}: shape {place}", expected="a shape with a label", found=str(shape)[:60])
        if (kind := shape.get("shape_type") or "polygon") in WITHOUT_AREA:
            left_out[kind] += 1
            continue
        group = shape.get("group_id")
        parts[(str(shape["label"]), place if group is None else f"group {group}")].append(shape)
    objects = []
    for (label, key), shapes in parts.items():
        masks = [_mask(shape, size_hw, f"{where}: shape {label} {key}") for shape in shapes]
        difficult = any(_flags(shape).get("difficult") or shape.get("difficult") for shape in shapes)
        objects.append(Object(label, None, ignore=bool(difficult), mask=encode_mask(np.any(masks, axis=0))))
    return BoxedImage(_file_name(content, file), size_hw, objects)


def _flags(shape: Record) -> Record:
    return flags if isinstance(flags := shape.get("flags"), dict) else {}


def _size(content: Record, file: LabelFile, where: str) -> tuple[int, int]:
    """Height and width as the file has them, those of the image where it is known."""
    written = (content.get("imageHeight"), content.get("imageWidth"))
    right_hw = None
    if file.image is not None:
        try:
            right_hw = image_size(file.image)
        except ImageError as error:
            raise CocoError(str(error)) from None
        if written == (None, None):
            return right_hw
    if not all(isinstance(side, int) and side > 0 for side in written) or math.prod(written) > MAX_PIXELS:
        raise CocoError(where, expected=f"imageHeight and imageWidth, up to {MAX_PIXELS} pixels",
                        found=" and ".join(map(shown, written)),
                        hint="name the folder of the annotated images with --truth-images")  # fmt: skip
    if right_hw not in (None, written):
        raise CocoError(
            where,
            expected=f"height x width {right_hw[0]} x {right_hw[1]} of its image {file.image}",
            found=f"{written[0]} x {written[1]}",
        )
    return written


def _file_name(content: Record, file: LabelFile) -> str:
    """Name of the image: as matched, else as the file says, in the folder of the file."""
    if file.image is not None or not isinstance(written := content.get("imagePath"), str) or not written:
        return file.file_name
    name = PurePosixPath(normal_name(written)).name
    return str(PurePosixPath(file.file_name).with_name(name)) if name not in ("", ".", "..") else file.file_name


def _mask(shape: Record, size_hw: tuple[int, int], where: str) -> np.ndarray:
    """A shape as mask (H, W) bool."""
    kind = shape.get("shape_type") or "polygon"
    try:
        points = _points(shape.get("points"))
        if kind == "mask":
            if not isinstance(encoded := shape.get("mask"), str):
                raise Fault("mask", expected="a PNG in base64 as mask", found=shown(encoded))
            return _pasted(encoded, points[0], size_hw)
        if kind == "circle":
            return _disc(*points, size_hw)
        if kind == "rectangle" and len(points) == 2:
            (left, top), (right, bottom) = points
            points = [(left, top), (right, top), (right, bottom), (left, bottom)]
        elif kind not in ("polygon", "rectangle", "oriented_rectangle"):
            raise CocoError(where, expected="a polygon, rectangle, circle or mask", found=kind)
        check_polygons([[value for point in points for value in point]], size_hw)
        return _drawn(points, size_hw)
    except Fault as fault:
        raise CocoError(where, expected=fault.expected, found=fault.found, hint=fault.hint) from None
    except _WRONG as error:
        raise CocoError(where, expected=f"a {kind} of labelme", found=first_line(error)) from None


_WRONG = (
    KeyError, TypeError, ValueError, IndexError, OverflowError, OSError, binascii.Error, Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)  # fmt: skip
"""What a shape may raise whose points or mask are none."""


def _points(value: Any) -> list[tuple[float, float]]:
    """Points of a shape.

    Raises:
        Fault: they are none.
    """
    for point in value if isinstance(value, list) else [value]:
        if not isinstance(point, list) or len(point) != 2 or not all(map(is_number, point)):
            wrong = next((each for each in point if not is_number(each)), point) if isinstance(point, list) else point
            raise Fault("points", expected="points, each a list of two finite numbers, x and y", found=shown(wrong))
    return [(float(x), float(y)) for x, y in value]


def _drawn(points: list[tuple[float, float]], size_hw: tuple[int, int]) -> np.ndarray:
    """Mask (H, W) bool of a polygon as labelme draws it: with Pillow, the outline included."""
    mask = Image.new("1", size_hw[::-1])
    ImageDraw.Draw(mask).polygon(points, outline=1, fill=1)
    return np.array(mask)


def _disc(centre: tuple[float, float], edge: tuple[float, float], size_hw: tuple[int, int]) -> np.ndarray:
    """Mask (H, W) bool of the pixels whose centre lies in a circle through ``edge``."""
    y, x = np.ogrid[: size_hw[0], : size_hw[1]]
    return np.hypot(x + 0.5 - centre[0], y + 0.5 - centre[1]) <= math.dist(centre, edge)


def _pasted(encoded: str, corner_xy: tuple[float, float], size_hw: tuple[int, int]) -> np.ndarray:
    """labelme's mask shape: a PNG in base64 whose upper left pixel lies at ``corner_xy``."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        picture = Image.open(io.BytesIO(base64.b64decode(encoded)), formats=("PNG",))
    part = np.asarray(picture).astype(bool)
    if part.ndim != 2:
        raise ValueError("a mask with colours")
    whole = np.zeros(size_hw, bool)
    x, y = (round(value) for value in corner_xy)
    if x < 0 or y < 0:
        part, x, y = part[max(-y, 0) :, max(-x, 0) :], max(x, 0), max(y, 0)
    place = whole[y : y + part.shape[0], x : x + part.shape[1]]
    place |= part[: place.shape[0], : place.shape[1]]
    return whole
