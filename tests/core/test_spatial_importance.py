from functools import partial

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cuts3d_cli.config import resolve
from cuts3d_cli.core import spatial_importance as core

spatial_importance = partial(core.spatial_importance, **resolve({"preset": "paper"}).spatial_importance.model_dump())


def step(size=48):
    depth = np.full((size, size), 0.25, dtype=np.float32)
    depth[:, size // 2 :] = 0.75
    return depth


@pytest.mark.parametrize("resolution", ["image", "grid"])
def test_importance_spans_beta_to_one_and_peaks_at_the_edge(resolution):
    importance = spatial_importance(step(), (12, 12), beta=0.3, sigma=2, resolution=resolution)
    assert importance.shape == (12, 12) and importance.dtype == np.float32
    assert importance.min() == np.float32(0.3) and importance.max() == 1
    assert set(importance.argmax(axis=1)) <= {5, 6} and np.allclose(importance[:, 0], 0.3, atol=0.02)


def test_at_grid_resolution_it_is_the_formula():
    depth = np.random.default_rng(0).random((10, 10)).astype(np.float32)
    change = np.abs(gaussian_filter(depth, 1.5, mode="nearest") - depth)
    expected = 0.55 * (change - change.min()) / (change.max() - change.min()) + 0.45
    assert np.allclose(
        spatial_importance(depth, (10, 10), beta=0.45, sigma=1.5, resolution="grid"), expected, atol=1e-6
    )


@pytest.mark.parametrize("resolution", ["image", "grid"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_flat_depth_gives_beta_everywhere(resolution, value):
    depth = np.full((48, 48), value, dtype=np.float16)
    assert (spatial_importance(depth, (12, 12), beta=0.45, resolution=resolution) == np.float32(0.45)).all()


@pytest.mark.parametrize("factor", [0.1, 0.5, 1.3])
def test_scaled_depth_gives_the_same_importance(factor):
    depth = step() + np.random.default_rng(0).random((48, 48)).astype(np.float32) / 10
    assert np.allclose(spatial_importance(depth * factor, (12, 12)), spatial_importance(depth, (12, 12)), atol=1e-4)


def test_inverted_depth_gives_the_same_importance():
    assert np.allclose(spatial_importance(1 - step(), (12, 12)), spatial_importance(step(), (12, 12)), atol=1e-5)


def test_wrong_inputs_are_refused():
    with pytest.raises(ValueError, match="resolution"):
        spatial_importance(step(), (12, 12), resolution="patch")
    with pytest.raises(ValueError, match="depth: expected"):
        spatial_importance(np.zeros(5), (12, 12))
