"""Between the size of an image and the square working size that every step works at."""

from __future__ import annotations

import numpy as np
from PIL import Image


def working_image(rgb: np.ndarray, size: int) -> np.ndarray:
    """Square image all stages work on: both sides ``size``, Lanczos (Sec. 4, as MaskCut).

    Args:
        rgb: (H, W, 3) uint8.
        size: side in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    return np.array(Image.fromarray(rgb).resize((size, size), Image.Resampling.LANCZOS))


def image_sized_mask(mask: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Bring a mask at the working size to the image's own size: bicubic, cut at half its largest value, as CutLER.

    That value is below the full one where a small mask shrinks.

    Args:
        mask: (S, S) bool.
        size_hw: (H, W) of the image.

    Returns:
        (H, W) bool.
    """
    resized = Image.fromarray(mask.astype(np.uint8) * 255).resize((size_hw[1], size_hw[0]), Image.Resampling.BICUBIC)
    values = np.asarray(resized)
    return values > values.max() / 2
