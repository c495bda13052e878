"""Reading images: whatever a folder holds becomes 8-bit RGB, upright, or one clear line.

Decisions, each tested:

* EXIF orientation is applied; ``image_size`` and ``read_image`` always agree.
* Transparency is composited over white: the colours under transparent pixels are arbitrary.
* 16-bit grey is scaled by the range of its type (65535 becomes 255), never by the image's own
  range, so that equal values stay equal between images. 32-bit integers that fit 8 or 16 bit are
  taken as such; floats must lie in [0, 1] or [0, 255].
* Of an animation or multi-page file the first frame is read.
* The content decides, not the name, among FORMATS.
* Files of more than ``MAX_PIXELS`` are refused from the header, before anything is decoded.
"""

from __future__ import annotations

import contextlib
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from cuts3d_cli.errors import ImageError, first_line

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""File name endings (lower case) that count as images when a folder is searched."""

DEPTH_MARKS = ("_depth", "-depth", ".depth")
"""Ends of the name of a depth map that lies beside its image."""

DEPTH_SUFFIXES = (".png", ".npy", ".tif", ".tiff", ".npz", ".pfm", ".exr", ".pgm")
"""File name endings (lower case) of depth maps, in the order they are looked for."""

ARRAY_SUFFIXES = (".npy", ".npz", ".pfm", ".exr")
"""Those of files that cannot be taken for an image, so that beside it they need no mark in their name."""

COLOUR_MARKS = ("-color", "_color", "-rgb", "_rgb")
"""Ends of the name of an image that a depth map beside it does without: 0-color.png has 0-depth.png."""

FORMATS = ("BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read, whatever the file is called. Not all that Pillow knows: for EPS it would run Ghostscript."""

MAX_PIXELS = 89_478_485
"""Largest image, in pixels, that is decoded (Pillow's own line for a decompression bomb)."""

# What Pillow's decoders raise on damaged files (UnidentifiedImageError is an OSError).
_DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    MemoryError, struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip


def read_image(path: str | Path) -> np.ndarray:
    """Decode an image.

    Returns:
        (H, W, 3) uint8 RGB, turned upright by its EXIF orientation.

    Raises:
        ImageError: the file is missing, is no image, is damaged or is too large.
    """
    with opened(path) as image:
        return _upright(image, f"image {path}")


def pixels_of(image: Image.Image, what: str = "image") -> np.ndarray:
    """Pixels (H, W, 3) uint8 RGB of a Pillow image, as `read_image` gives those of a file; ``what`` names it in errors.

    Raises:
        ImageError: it is damaged, or contains values that are not grey levels.
    """
    try:
        return _upright(image, what)
    except _DECODE_ERRORS as error:
        raise ImageError(f"{what} cannot be read", found=str(error) or type(error).__name__) from None


def _upright(image: Image.Image, what: str) -> np.ndarray:
    orientation = _orientation(image)
    return np.array(_turned(_to_rgb(image, what), orientation))


def image_size(path: str | Path) -> tuple[int, int]:
    """Height and width of an image after its EXIF orientation, from the header alone.

    Raises:
        ImageError: the file is missing, is no image or is too large.
    """
    with opened(path) as image:
        return (image.width, image.height) if _orientation(image) >= 5 else (image.height, image.width)


def exif_orientation(path: str | Path) -> int:
    """EXIF orientation of an image as its file has it, 1 to 8; from 5 on height and width are exchanged.

    Raises:
        ImageError: the file is missing, is no image or is too large.
    """
    with opened(path) as image:
        return _recorded_orientation(image)


def has_deep_colours(image: Image.Image) -> bool:
    """Whether an open picture has several channels of 16 bit each, of which Pillow keeps the upper 8."""
    return image.mode in ("RGB", "RGBA", "RGBX", "LA", "CMYK") and ";16" in raw_mode(image)


def raw_mode(image: Image.Image) -> str:
    """How the file of an open picture holds its values, in Pillow's words; empty where it does not say."""
    tile = getattr(image, "tile", None)
    return str(tile[0][3]) if tile else ""


@contextlib.contextmanager
def opened(path: str | Path, what: str = "image") -> Iterator[Image.Image]:
    """Open a picture as ``with opened(path) as image``; ``what`` names it in errors.

    Raises:
        ImageError: missing, no picture or too large; also where decoding within the block fails.
    """
    path = Path(path)
    check_regular(path, what)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damage and size are reported below, in one line
            # Of a file named by its path Pillow maps grey levels into memory, and of a turned TIFF in the wrong shape.
            with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ImageError(
                        f"{what} {path} is too large", expected=f"at most {MAX_PIXELS} pixels",
                        found=f"{image.width} x {image.height}", hint="downscale it first",
                    )  # fmt: skip
                yield image
    except Image.DecompressionBombError as error:
        raise ImageError(f"{what} {path} is too large", expected=f"at most {MAX_PIXELS} pixels",
                         found=first_line(error), hint="downscale it first") from None  # fmt: skip
    except _DECODE_ERRORS as error:
        raise ImageError(f"{what} {path} cannot be read", found=_reason(path, error)) from None


def check_regular(path: Path, what: str) -> None:
    """Check that a path is a file: opening a pipe waits for somebody to write, and a device may never end.

    Raises:
        ImageError: it is missing, or something else than a regular file; ``what`` names it.
    """
    if os.path.isfile(path):
        return
    if not os.path.lexists(path):
        raise ImageError(f"{what} {path} does not exist")
    if os.path.exists(path):
        found = "a folder" if path.is_dir() else "a pipe or a device"
    else:
        found = "a link that leads nowhere"
    raise ImageError(f"{what} {path}", expected="a file", found=found)


def _reason(path: Path, error: BaseException) -> str:
    if path.is_file() and path.stat().st_size == 0:
        return "an empty file"
    if isinstance(error, UnidentifiedImageError):
        return "no known image format"
    return str(error) or type(error).__name__


def _orientation(image: Image.Image) -> int:
    """EXIF orientation still to be applied, 1 to 8."""
    return 1 if image.format == "TIFF" else _recorded_orientation(image)  # Pillow turns TIFF itself, size included


def _recorded_orientation(image: Image.Image) -> int:
    """EXIF orientation that the file has, 1 to 8; 1 where there is none or it is damaged."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODE_ERRORS:
        return 1
    return value if value in range(1, 9) else 1


def upright(image: Image.Image) -> Image.Image:
    """An opened image turned as its EXIF orientation says, its values unchanged."""
    orientation = _orientation(image)
    return image if orientation == 1 else _turned(image, orientation)


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """An image turned as this EXIF orientation says; nothing else of its EXIF is read, as that may be damaged."""
    image.info.clear()
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return ImageOps.exif_transpose(image)


def _to_rgb(image: Image.Image, what: str) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bit(np.asarray(image), what)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _eight_bit(grey: np.ndarray, what: str) -> np.ndarray:
    """(H, W) integers or floats to uint8 by the range of their type."""
    low, high = float(grey.min()), float(grey.max())
    limits: tuple[float, ...] = (1.0, 255.0) if grey.dtype.kind == "f" else (255.0, 65535.0)
    if grey.dtype.itemsize == 2:
        limits = (65535.0,)
    for limit in limits:
        if low >= 0 and high <= limit:
            return np.rint(grey * (255.0 / limit)).astype(np.uint8)
    raise ImageError(
        f"{what} contains values that are not grey levels", expected=f"0 to {limits[-1]:g}",
        found=f"{low:g} to {high:g}", hint="if it is a depth map, move it out of the image folder; otherwise "
        "convert it to 8 bits",
    )  # fmt: skip
