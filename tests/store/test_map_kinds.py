"""Label maps and depth maps are told apart."""

import numpy as np
import pytest
from PIL import Image

from cuts3d_cli.store.map_kinds import (
    equal_neighbours,
    is_coarse,
    is_like_depth,
    is_like_label_image,
    is_like_labels,
    is_nearly_black,
    row_trend,
)
from tests.conftest import ROOT

RNG = np.random.default_rng(0)
Y, X = np.mgrid[:240, :320]


def discs(n, values=None):
    """Labels of ``n`` discs of a radius of 16 px, on 0."""
    labels = np.zeros((240, 320), np.int64)
    for number in range(n):
        y, x = 20 + 40 * (number // 8), 20 + 40 * (number % 8)
        labels[(Y - y) ** 2 + (X - x) ** 2 < 16**2] = number + 1 if values is None else values[number]
    return labels


def scene(steps):
    """Whole numbers from 1 to ``steps``: a tilted plane and a box in front of it."""
    depth = 0.3 + 0.7 * Y / 240
    depth[100:160, 120:220] = 0.35
    return np.rint(1 + (steps - 1) * depth).astype(np.uint16)


@pytest.mark.parametrize(
    "labels",
    [discs(2), discs(12).astype(np.uint8), discs(5).astype(float), discs(15), discs(3) + 1, discs(4, [1, 2, 3, 255])],
)
def test_labels(labels):
    assert is_like_labels(labels) and not is_like_depth(labels)


@pytest.mark.parametrize("steps", [20, 60, 255, 5000])
def test_depth(steps):
    clean, noisy = scene(steps), scene(steps) + RNG.integers(0, 2, Y.shape)
    assert not is_like_labels(clean) and not is_like_labels(noisy)
    assert is_like_depth(noisy) == (steps > 60)


def test_the_sample_s_depth():
    paths = sorted((ROOT / "sample/val/depth").glob("*.png"))[:4]
    maps = [np.array(Image.open(path)) for path in paths]
    assert len(maps) == 4 and all(is_like_depth(each) and not is_like_labels(each) for each in maps)


@pytest.mark.parametrize(
    "values",
    [
        discs(1),  # a constant depth, which is told otherwise
        discs(3, [1, 2, 4]),  # not counted
        discs(3) / 2,
        -discs(3),
        np.where(discs(3) > 2, np.nan, 1.0),
        np.zeros((0, 4)),
        np.array([[1, 2]]),
        np.full((9, 9), 300),
        np.full((9, 9), "a"),
    ],
)
def test_neither(values):
    assert not is_like_labels(values)
    assert values.dtype.kind == "U" or not is_like_depth(values)


def test_pairs_are_counted_once():
    assert equal_neighbours(np.array([[1, 1, 2], [1, 3, 2]])) == 3 / 7
    assert equal_neighbours(np.array([[5]])) == 1


def test_depth_is_coarse_in_whole_metres_or_decimetres():
    depth = np.linspace(700, 2400, Y.size)
    assert is_coarse(np.rint(depth / 1000)) and is_coarse(np.rint(depth / 100)[::-1])
    assert not is_coarse(np.rint(depth / 10)) and not is_coarse(depth / 1000)
    assert not is_coarse(np.full(5000, 700.0)) and not is_coarse(np.array([1, 2, 3]))
    assert not is_coarse(np.repeat([600, 2000], 4000))  # two walls, in millimetres


def test_the_trend_of_the_rows():
    everywhere = np.ones(Y.shape, bool)
    near_below = 3000 - 8.0 * Y
    assert row_trend(near_below, everywhere) == -1 and row_trend(near_below[::-1], everywhere) == 1
    assert row_trend(1 / near_below, everywhere) == 1
    assert row_trend(np.where(Y > 120, 0, near_below), Y <= 120) == -1
    assert row_trend(near_below, Y < 60) == 0  # too few rows
    assert row_trend(1000 - 0.5 * Y, everywhere) == 0  # a camera that looks down
    assert row_trend(8.0 * X + 100, everywhere) == row_trend(np.full(Y.shape, 7.0), everywhere) == 0
    assert row_trend(1000 + 500 * np.sin(Y / 20), everywhere) == 0


def test_the_sample_s_depth_is_nearer_below():
    maps = [np.array(Image.open(path)) for path in sorted((ROOT / "sample/val/depth").glob("*.png"))[:4]]
    assert [row_trend(each, each > 0) for each in maps] == [-1] * 4


def test_label_maps_and_dark_depth_maps_as_images():
    photo = RNG.integers(0, 256, Y.shape).astype(np.uint8)
    assert is_like_label_image(discs(3, [1, 7, 255])) and is_like_label_image((discs(1) * 255).astype(np.uint8))
    assert not is_like_label_image(photo) and not is_like_label_image(np.zeros(Y.shape, np.uint8))
    assert is_nearly_black(scene(4000)) and not is_nearly_black(photo.astype(np.uint16) * 257)
    assert not is_nearly_black(np.zeros(Y.shape, np.uint16)) and not is_nearly_black(photo // 32)
