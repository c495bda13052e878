"""Masks that are hard to export, with images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cuts3d_cli.store.coco import annotation
from cuts3d_cli.store.masks import PSEUDO_MASKS, MaskFile

SIZE_HW = (60, 90)


def hard_masks() -> dict[str, np.ndarray]:
    """Masks by what is hard about them."""
    y, x = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    disk = (y - 20) ** 2 + (x - 20) ** 2 < 15**2
    ring = disk & ((y - 20) ** 2 + (x - 18) ** 2 > 6**2) & ((y - 28) ** 2 + (x - 26) ** 2 > 2**2)
    apart = ((y - 45) ** 2 + (x - 15) ** 2 < 6**2) | ((y - 50) ** 2 + (x - 50) ** 2 < 7**2) | ((y > 40) & (x > 80))
    diagonal = ((y < 10) & (x > 60) & (x < 70)) | ((y >= 10) & (y < 18) & (x >= 70) & (x < 80))
    pixel = (y == 30) & (x == 60)
    line = (y == 33) & (x > 40) & (x < 70)
    ragged = np.random.default_rng(0).random(SIZE_HW) < 0.5
    return {
        "plain": disk,
        "two holes": ring,
        "three parts, at the border": apart,
        "touching at a corner": diagonal,
        "one pixel": pixel,
        "a line": line,
        "everything": np.ones(SIZE_HW, bool),
        "ragged": ragged & (x > 30),
    }


def mask_file(folder: Path, found: dict[str, list[np.ndarray]], **more) -> MaskFile:
    """Pseudo-masks of images that are there."""
    images, entries = [], []
    for number, (name, masks) in enumerate(found.items(), start=1):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*SIZE_HW, 3), 20 * number, np.uint8)).save(path)
        images.append({"id": number, "file_name": name, "height": SIZE_HW[0], "width": SIZE_HW[1]})
        entries += [annotation(number, mask, max(0, 1 - 0.1 * place)) for place, mask in enumerate(masks)]
    entries = [{"id": number, **entry} for number, entry in enumerate(entries, start=1)]
    return MaskFile(PSEUDO_MASKS, folder, images, entries, **more)


@pytest.fixture
def hard(tmp_path) -> MaskFile:
    """One hard mask in each of several images, some in subfolders, and an image without any."""
    found = {f"images/{place % 2}/{place}.png": [mask] for place, mask in enumerate(hard_masks().values())}
    return mask_file(tmp_path / "data", {**found, "images/none.png": []})
