"""Outlines give their masks back, pixel by pixel, to readers of either convention."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_api
from scipy.ndimage import gaussian_filter

from cuts3d_cli.export.polygons import edge_parts, joined, pixel_parts, without_straight


@st.composite
def masks(draw):
    """Blobs with holes and parts, up to pure noise."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    noise = gaussian_filter(rng.normal(size=size), draw(st.sampled_from([0, 0.6, 2])))
    return noise > draw(st.sampled_from([-0.2, 0, 0.1]))


def by_pycocotools(polygons, size_hw):
    codes = mask_api.frPyObjects([ring.ravel().astype(float).tolist() for ring in polygons], *size_hw)
    return mask_api.decode(mask_api.merge(codes)).astype(bool)


def by_opencv(polygons, size_hw):
    canvas = np.zeros(size_hw, np.uint8)
    for ring in polygons:
        cv2.fillPoly(canvas, [ring.astype(np.int32)], 1)
    return canvas.astype(bool)


@settings(max_examples=150, deadline=None)
@given(masks())
def test_outlines_give_the_mask_back(mask):
    if mask.any():
        edges = [joined(part) for part in edge_parts(mask)]
        np.testing.assert_array_equal(by_pycocotools(edges, mask.shape), mask)
        pixels = [without_straight(joined(part)) for part in pixel_parts(mask)]
        np.testing.assert_array_equal(by_opencv(pixels, mask.shape), mask)


def shoelace(ring):
    x, y = ring.T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


@settings(max_examples=50, deadline=None)
@given(masks())
def test_the_area_enclosed_is_that_of_the_mask(mask):
    parts = edge_parts(mask)
    assert sum(shoelace(ring) for part in parts for ring in part) == mask.sum()
    assert all(shoelace(part[0]) > 0 and all(shoelace(hole) < 0 for hole in part[1:]) for part in parts)


def test_parts_and_holes():
    mask = np.zeros((10, 12), bool)
    mask[1:6, 1:6] = True
    mask[3, 3] = False
    mask[6:9, 6:9] = True  # touches the first at a corner
    assert [len(part) for part in edge_parts(mask)] == [2, 1]
    assert [len(part) for part in pixel_parts(mask)] == [2]
    assert edge_parts(mask)[1][0].tolist() == [[6, 6], [9, 6], [9, 9], [6, 9]]


def test_parts_are_joined_by_a_line_of_one_pixel():
    mask = np.zeros((10, 20), bool)
    mask[2:6, 2:5] = mask[4:8, 12:18] = True
    ring = joined([ring for part in pixel_parts(mask) for ring in part])
    drawn = by_opencv([ring], mask.shape)
    assert (drawn & mask).sum() == mask.sum() and (drawn & ~mask).sum() == 12 - 5


@pytest.mark.parametrize(("shape", "corners"), [((3, 5), 4), ((1, 5), 2), ((1, 1), 1)])
def test_straight_runs_have_no_corners(shape, corners):
    (part,) = pixel_parts(np.pad(np.ones(shape, bool), 2))
    assert len(without_straight(part[0])) == corners
