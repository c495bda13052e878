"""Label maps: a PNG (or TIFF, BMP) per image with one integer per object, as VOC's ``SegmentationObject``.

Any bit depth; a palette file holds the indices, a colour file one number per colour (red + 256 green + 65536 blue, as
COCO's panoptic files). All pixels of a value are one object, in however many parts and with whatever holes. 0 is
background. 255 is the outline between objects in 8-bit maps (VOC), where it stands beside other values; where all maps
hold 255 and 0 alone, it is the object.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from cuts3d_cli.errors import CocoError, ImageError
from cuts3d_cli.evaluation.readers.common import BoxedImage, GroundTruth, Object, Remark, ground_truth
from cuts3d_cli.evaluation.readers.label_files import LabelFile, images_beside, label_paths, matched
from cuts3d_cli.store.coco import CATEGORIES, decode_mask, encode_mask
from cuts3d_cli.store.coco_document import Record
from cuts3d_cli.store.images import has_deep_colours, image_size, opened, raw_mode
from cuts3d_cli.store.map_kinds import is_like_depth

SUFFIXES = (".png", ".tif", ".tiff", ".bmp")

BACKGROUND, OUTLINE = 0, 255

MOST_COLOURS = 2000
"""A colour file of more values is a photograph, not a label map."""

LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP", "AVIF")
"""Formats whose values are not those that were saved, or need not be."""

_SCALED = {"L;2": 85, "L;4": 17}
"""What Pillow multiplies the values of grey PNGs of 2 and 4 bit by."""


def read(path: Path, *, images: Path | None = None, ignore_labels: Collection[int] | None = None) -> GroundTruth:
    """Read a folder of label maps.

    Args:
        path: the folder, searched recursively.
        images: folder of the images; by default one called ``images`` beside, where the maps match it.
        ignore_labels: values that are no object; None: 0, and 255 as told above.

    Raises:
        CocoError: no map, one that cannot be read or has another size than its image, or no image of their names.
    """
    paths = label_paths(path, SUFFIXES)
    if not paths:
        raise CocoError(f"folder {path}", expected=f"label maps ({', '.join(SUFFIXES)})", found="none")
    notes: list[str] = []
    files = _files(paths, path, images, notes)
    read_maps = [_read(file) for file in files]
    found = [(objects, size_hw) for objects, size_hw, *_ in read_maps]
    if like_depth := [file.path for file, map_ in zip(files, read_maps, strict=True) if map_[3]]:
        notes.append(
            f"{len(like_depth)} of {len(files)} label maps have many values that change from pixel to pixel, as depth "
            f"maps have; check that they are labels (first {like_depth[0]})"
        )
    if ignore_labels is None:
        outline = any(bits8 and OUTLINE in objects and len(objects) > 2 - (BACKGROUND not in objects)
                      for objects, _, bits8, _ in read_maps)  # fmt: skip
        ignored = {BACKGROUND, OUTLINE} if outline else {BACKGROUND}
    else:
        ignored = set(ignore_labels)
    notes.append(_told(ignored, found, given=ignore_labels is not None))
    if all(set(objects) <= ignored for objects, _ in found):
        raise CocoError(
            f"label maps {path}: no object to find",
            expected=f"values other than {_listed(ignored)}",
            found="none",
            hint="--ignore-labels names the values that are no object",
        )
    if note := _of_classes(found, ignored):
        notes.append(note)
    truth = ground_truth((_image(file, *map_, ignored) for file, map_ in zip(files, found, strict=True)), "png")
    return GroundTruth(truth.document, truth.format, [*notes, *truth.notes])


def read_map(path: Path) -> tuple[np.ndarray, bool]:
    """Values (H, W) int64 of a label map, and whether it is one of 8 bit or less a pixel.

    Raises:
        ImageError: it cannot be read, its values are no integers, or its file does not keep them as they were.
    """
    with opened(path, "label map") as image:
        _check_exact(path, image)
        scale = _SCALED.get(raw_mode(image), 1)
        if image.mode in ("LA", "PA"):
            image = image.getchannel(0)
        elif image.mode in ("RGBA", "RGBX", "CMYK", "YCbCr"):
            image = image.convert("RGB")
        values = np.asarray(image)
        is_byte = image.mode in ("1", "L", "P")
    if values.ndim == 3:
        values = values.astype(np.int64) @ np.array([1, 256, 65536])
        if (n := len(np.unique(values))) > MOST_COLOURS:
            raise ImageError(
                f"label map {path}", expected="one colour or value per object", found=f"{n} colours: a photograph?"
            )
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and np.array_equal(values, np.rint(values))):
        raise ImageError(f"label map {path}", expected="integers", found="fractions, NaN or infinity")
    return values.astype(np.int64) // scale, is_byte


def _check_exact(path: Path, image: Image.Image) -> None:
    """Check that Pillow gives all values of a label map.

    Raises:
        ImageError: it is compressed with a loss, has 16 bit a colour, or several pages.
    """
    if image.format in LOSSY:
        found, expected = f"{image.format}, which changes values", "PNG, TIFF or BMP"
    elif has_deep_colours(image):
        found, expected = "colours of 16 bit", "one channel, or colours of 8 bit"
    elif getattr(image, "n_frames", 1) > 1:
        found, expected = f"{image.n_frames} pages", "one page per image"
    else:
        return
    raise ImageError(f"label map {path}", expected=expected, found=found)


def _files(paths: list[Path], folder: Path, images: Path | None, notes: list[str]) -> list[LabelFile]:
    if images is None and (beside := images_beside(folder)):
        try:
            return matched(paths, folder, beside, notes)
        except CocoError:  # it need not be theirs: nobody named it
            notes.clear()
    return matched(paths, folder, images, notes)


def _read(file: LabelFile) -> tuple[dict[int, Record], tuple[int, int], bool, bool]:
    """Run-length code of every value of a map, its height and width, whether it has 8 bit, and looks like depth."""
    try:
        values, is_byte = read_map(file.path)
        size_hw = values.shape
        right_hw = size_hw if file.image is None else image_size(file.image)
    except ImageError as error:
        raise CocoError(str(error)) from None
    if size_hw != right_hw:
        raise CocoError(
            f"label map {file.path}",
            expected=f"height x width {right_hw[0]} x {right_hw[1]} of its image {file.image}",
            found=f"{size_hw[0]} x {size_hw[1]}",
            hint="scale the maps to the images (nearest neighbour), and turn them as EXIF turns the images",
        )
    objects = {int(value): encode_mask(values == value) for value in np.unique(values)}
    return objects, size_hw, is_byte, is_like_depth(values)


def _image(file: LabelFile, objects: dict[int, Record], size_hw: tuple[int, int], ignored: set[int]) -> BoxedImage:
    kept = [Object(CATEGORIES[0]["name"], None, mask=mask) for value, mask in objects.items() if value not in ignored]
    return BoxedImage(file.file_name, size_hw, kept)


def _told(ignored: set[int], found: list[tuple[dict[int, Record], tuple[int, int]]], *, given: bool) -> str:
    """One line on what was taken for no object, and why it might be one."""
    words = {BACKGROUND: "0 (background)", OUTLINE: "255 (outline, as in VOC)"}
    names = [str(value) if given else words[value] for value in sorted(ignored)]
    text = f"every value of the label maps is an object except {' and '.join(names) or 'none'}"
    odd = BACKGROUND in ignored and not any(BACKGROUND in objects for objects, _ in found)
    text += "; no map holds a 0" if odd else ""
    text += "" if given else "; --ignore-labels (data.ignore_labels) names others"
    return text if odd or OUTLINE in ignored else Remark(text)


def _of_classes(found: list[tuple[dict[int, Record], tuple[int, int]]], ignored: set[int]) -> str:
    """A line where the maps look like masks of a class rather than of objects; empty where they do not."""
    kept = [[mask for value, mask in objects.items() if value not in ignored] for objects, _ in found]
    if any(len(masks) > 1 for masks in kept):
        return ""
    n_objects = sum(map(len, kept))
    n_parts = sum(
        cv2.connectedComponents(decode_mask(mask).astype(np.uint8))[0] - 1 for masks in kept for mask in masks
    )
    if n_parts < 2 * n_objects:
        return ""
    return (
        f"no label map holds more than one object, and the {n_objects} objects lie in {n_parts} separate parts: "
        "where each part is an object of its own, the maps must number them"
    )


def _listed(values: Collection[int]) -> str:
    return ", ".join(map(str, sorted(values))) or "none"
