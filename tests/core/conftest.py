"""Drawn scenes and stored reference results for the array functions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a busy machine fails no test
settings.load_profile("untimed")

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass(frozen=True)
class Scene:
    """Two boxes (2, h, w) of one texture, the left one near, touching in the image, before a sloping floor."""

    features: np.ndarray
    depth: np.ndarray
    boxes: np.ndarray


def draw_two_boxes(grid: int = 24, patch: int = 4, noise: float = 0.15, seed: int = 0) -> Scene:
    rng = np.random.default_rng(seed)
    boxes = np.zeros((2, grid, grid), dtype=bool)
    boxes[0, grid // 4 : 3 * grid // 4, grid // 6 : grid // 2] = True
    boxes[1, grid // 4 : 3 * grid // 4, grid // 2 : 5 * grid // 6] = True
    texture = rng.standard_normal((2, 32))
    features = texture[boxes.any(axis=0).astype(int)] + noise * rng.standard_normal((grid, grid, 32))
    depth = np.repeat(np.linspace(0.95, 0.8, grid)[:, None], grid, axis=1)
    depth[boxes[0]], depth[boxes[1]] = 0.3, 0.55
    return Scene(features.transpose(2, 0, 1).astype(np.float32), np.kron(depth, np.ones((patch, patch))), boxes)


@pytest.fixture(scope="session")
def draw_boxes():
    return draw_two_boxes


@pytest.fixture(scope="session")
def two_boxes() -> Scene:
    return draw_two_boxes()


@pytest.fixture
def golden():
    """Load a stored reference result by name."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz") as stored:
            return dict(stored)

    return load
