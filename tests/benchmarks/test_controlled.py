"""Drawn scenes: the same from the same seed, what their kinds promise, and found where nothing is in the way."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from cuts3d_cli.config import resolve
from cuts3d_cli.core.find_instances import find_instances
from cuts3d_cli.core.masks import enlarge, mask_iou

ROOT = Path(__file__).parents[2]
SIZE, PATCH = 240, 8


@pytest.fixture
def controlled(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import controlled

    yield controlled
    sys.modules.pop("controlled")


def contact_step(drawn, a, b):
    """Median difference of depth across the contact of two objects."""
    near_b = binary_dilation(drawn.labels == b, iterations=2)
    near_a = binary_dilation(drawn.labels == a, iterations=2)
    return abs(
        np.median(drawn.depth[(drawn.labels == a) & near_b]) - np.median(drawn.depth[(drawn.labels == b) & near_a])
    )


def test_a_seed_gives_one_scene(controlled):
    first, again, other = (controlled.draw_scene(3, seed=seed, size=SIZE) for seed in (5, 5, 6))
    assert np.array_equal(first.labels, again.labels) and np.array_equal(first.depth, again.depth)
    assert not np.array_equal(first.labels, other.labels)


@pytest.mark.parametrize("number", range(8))
def test_pairs_have_the_step_of_their_kind(controlled, number):
    drawn = controlled.draw_scene(number, size=SIZE)
    pieces = controlled.PIECES[number % len(controlled.PIECES)]
    assert drawn.kinds == tuple(kind for kind in pieces for _ in range(1 if kind == "alone" else 2))
    assert drawn.depth.min() == 0 and drawn.depth.max() == 1
    assert np.bincount(drawn.labels[drawn.labels >= 0]).min() >= controlled.LEAST_VISIBLE * SIZE**2
    for cls in set(drawn.classes):
        pair = [i for i, c in enumerate(drawn.classes) if c == cls]
        if len(pair) == 2:
            step = contact_step(drawn, *pair)
            assert step < 0.01 if drawn.kinds[pair[0]] == "touching" else step > 0.05


def test_features_are_the_classes_mixed_by_area(controlled):
    labels = np.full((32, 32), -1)
    labels[:, :12] = 0  # the second column of patches holds half an object
    labels[:8, 24:] = 1
    features = controlled.class_features(labels, (1, 2), patch_size=8, noise=0, rng=np.random.default_rng(0))
    background, first, _second = vectors = np.array([features[:, 3, 3], features[:, 0, 0], features[:, 0, 3]])
    assert np.allclose(vectors @ vectors.T, np.eye(3), atol=1e-6)
    assert np.allclose(features[:, 2, 1], (first + background) / 2, atol=1e-6)


def test_noise_on_features_has_the_length_asked_for(controlled):
    labels = np.full((480, 480), -1)
    clean, noisy = (
        controlled.class_features(labels, (), patch_size=8, noise=noise, rng=np.random.default_rng(0))
        for noise in (0, 0.7)
    )
    assert np.isclose(np.sqrt(((noisy - clean) ** 2).sum(0).mean()), 0.7, rtol=0.02)


def test_degraded_depth(controlled):
    depth = np.zeros((96, 96), np.float32)
    depth[:, 48:] = 1
    rng = np.random.default_rng(0)
    assert np.array_equal(controlled.degrade(depth, blur_px=0, noise=0, rng=rng), depth)
    smooth = controlled.degrade(depth, blur_px=4, noise=0, rng=rng)
    assert smooth.min() == 0 and smooth.max() == 1
    assert np.isclose(smooth[0, 48 + 3] - smooth[0, 48 - 4], 0.62, atol=0.02)  # a Gaussian's share within 3.5 px
    noisy = controlled.degrade(depth / 2, blur_px=0, noise=0.02, rng=rng)
    low, high = noisy[:, :48], noisy[:, 48:]
    assert np.isclose(low.std() / (high.mean() - low.mean()), 0.04, rtol=0.25)
    assert np.array_equal(controlled.degrade(np.zeros((8, 8)), blur_px=2, noise=0, rng=rng), np.zeros((8, 8)))


def test_without_noise_every_separate_object_is_found(controlled):
    labels, depth = np.full((SIZE, SIZE), -1), np.ones((SIZE, SIZE), np.float32)
    for index, (top, left, z) in enumerate([(32, 32, 0.1), (64, 80, 0.5), (152, 24, 0.3), (144, 152, 0.2)]):
        labels[top : top + 64, left : left + 56] = index  # the second, of the first's class, stands behind and below it
        depth[labels == index] = z
    classes = (1, 1, 2, 3)
    features = controlled.class_features(labels, classes, patch_size=PATCH, noise=0, rng=np.random.default_rng(0))
    settings = resolve({"preset": "paper"}).localcut.model_dump()
    found = find_instances(features, depth, **settings | {"sharpen": False, "n_instances": 4}).instance
    masks = np.stack([enlarge(mask, labels.shape) for mask in found])
    assert (mask_iou(labels == np.arange(4)[:, None, None], masks).max(axis=1) > 0.9).all()
