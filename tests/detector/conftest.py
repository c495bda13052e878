"""A small labelled set with Spatial Confidence, and a detector small enough to train in seconds."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cuts3d_cli.detector")  # before any import of MMDetection, whose import it prepares

from cuts3d_cli.config import TrainConfig
from cuts3d_cli.store.coco import annotation
from cuts3d_cli.store.confidence import Confidence
from cuts3d_cli.store.masks import PSEUDO_MASKS, MaskFile, write_masks

HEIGHT, WIDTH, GRID, SC_MIN = 60, 96, 12, 0.5

MICRO = """
from cuts3d_cli.detector.configs import embedded_cascade


def build(train):
    return embedded_cascade.build(train, width=8, channels=16, hidden=16, mask_convs=1)
"""


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Image (60, 96, 3) with a bright box left and a dark one right, masks (2, 60, 96)."""
    image = rng.integers(100, 140, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    masks = np.zeros((2, HEIGHT, WIDTH), bool)
    for mask, left, colour in zip(masks, (4, 52), (230, 20), strict=True):
        top, x = rng.integers(4, 20), left + rng.integers(0, 8)
        mask[top : top + 30, x : x + 28] = True
        image[mask] = colour
    return image, masks


@pytest.fixture
def labelled(tmp_path) -> Path:
    """COCO JSON of 5 images with two masks each, the second less confident."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    images, annotations = [], []
    for number in range(1, 6):
        image, masks = draw(rng)
        Image.fromarray(image).save(tmp_path / f"images/{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT})
        maps = np.zeros((2, GRID, GRID), np.float32)
        maps[0, :, : GRID // 2] = np.linspace(0.6, 1, GRID)[:, None]
        maps[1, :, GRID // 2 :] = 0.55
        for cut, (mask, score, grid) in enumerate(zip(masks, (0.8, 0.55), maps, strict=True)):
            annotations.append(annotation(number, mask, score, cut=cut, confidence=Confidence(grid, SC_MIN)))
    path = tmp_path / "pseudo_masks.json"
    write_masks(path, MaskFile(PSEUDO_MASKS, Path("images"), images, annotations))
    return path


@pytest.fixture
def micro(tmp_path) -> TrainConfig:
    """Training settings of a detector with a few thousand parameters."""
    path = tmp_path / "micro.py"
    path.write_text(MICRO)
    return TrainConfig(
        detector=str(path), iterations=6, batch_size=2, lr=0.01, lr_steps=[5], warmup_iterations=2, image_size=64,
        checkpoint_every=2, workers=0,
    )  # fmt: skip
