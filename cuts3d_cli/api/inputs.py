"""Images as callers have them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from cuts3d_cli.errors import ImageError, first_line
from cuts3d_cli.store.images import pixels_of, read_image

ImageLike = np.ndarray | Image.Image | str | os.PathLike[str]
"""(H, W, 3) uint8 RGB, a Pillow image or the path of an image file."""


def pixels(rgb: ImageLike) -> np.ndarray:
    """(H, W, 3) uint8 of whatever an image may be given as.

    Raises:
        ImageError: it cannot be used.
    """
    if isinstance(rgb, str | os.PathLike):
        return read_image(Path(rgb))
    if isinstance(rgb, Image.Image):
        return pixels_of(rgb)
    array = array_of(rgb, "image")
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        raise ImageError(
            "image",
            expected="(H, W, 3) uint8 RGB",
            found=f"shape {array.shape} of {array.dtype}",
            hint=_conversion(array),
        )
    return np.ascontiguousarray(array)


def _conversion(array: np.ndarray) -> str:
    """How an array of another kind becomes an image, as far as its shape, type and values tell."""
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3:
        return "the channels come last: rgb.transpose(1, 2, 0)"
    if array.ndim != 3 or array.shape[2] != 3 or not array.size:
        return "for grey levels or transparency give PIL.Image.fromarray(array)"
    low, high = (float(array.min()), float(array.max())) if array.dtype.kind in "fiub" else (-1.0, -1.0)
    if not 0 <= low <= high:
        return "scale the values to 0 to 255, then .astype('uint8')"
    if high <= 1 and array.dtype.kind in "fb":
        return "(rgb * 255).astype('uint8'), as the values are from 0 to 1"
    if high <= 255:
        return "rgb.astype('uint8'), as the values are from 0 to 255"
    if high <= 65535:
        return "(rgb / 257).astype('uint8') if the values are from 0 to 65535"
    return "scale the values to 0 to 255, then .astype('uint8')"


def array_of(values: object, what: str) -> np.ndarray:
    """Whatever NumPy takes for an array as one; masked arrays stay masked.

    Raises:
        ImageError: it takes it for none; ``what`` names it.
    """
    try:
        return np.asanyarray(values)
    except Exception as error:  # of lists of unequal length, of tensors on a GPU, of anything else
        raise ImageError(what, expected="an array", found=f"{type(values).__name__}: {first_line(error)}") from None


def described(masks: np.ndarray, scores: np.ndarray) -> str:
    """Masks (M, H, W) with their scores in a few words."""
    height, width = masks.shape[1:]
    numbers = f", scores {' '.join(f'{score:.2f}' for score in scores)}" if len(scores) else ""
    return f"{len(masks)} masks of {height} x {width} px{numbers}"
