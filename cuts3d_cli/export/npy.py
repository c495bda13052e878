"""A NumPy array (M, H, W) of bool per image, M objects in the order of the file; nothing is lost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from cuts3d_cli.export.objects import objects_of
from cuts3d_cli.store.masks import MaskFile


def write(masks: MaskFile, folder: Path) -> Counter[str]:
    """Write ``IMAGE.npy``; (0, H, W) where there is no object."""
    lost: Counter[str] = Counter()
    for image in objects_of(masks, lost):
        stack = np.array([each.mask for each in image.objects], bool).reshape(-1, *image.size_hw)
        np.save(image.target(folder, ".npy"), stack)
    return lost
