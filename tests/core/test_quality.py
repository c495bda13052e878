"""Contrast of masks on the patch grid, the border that they cover, and their quality."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuts3d_cli.core.quality import border_share, contrast, quality


def drawn(seed, n_channels=6, grid_hw=(5, 7), n=3):
    """Random features, with a patch of zeros, and random masks."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n_channels, *grid_hw))
    features[:, 0, 0] = 0
    return features, rng.random((n, *grid_hw)) < rng.uniform(0, 1, (n, 1, 1))


seeds = st.integers(0, 10_000)


def test_contrast_is_half_the_difference_of_the_mean_cosines():
    features, masks = drawn(0)
    masks[:, :2, :2] = [[True, True], [False, True]]
    unit = features.reshape(6, -1).T
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit.T
    for mask, found in zip(masks.reshape(3, -1), contrast(features, masks), strict=True):
        expected = (cosine[np.ix_(mask, mask)].mean() - cosine[np.ix_(mask, ~mask)].mean()) / 2
        assert found == pytest.approx(max(expected, 0), abs=1e-6)


def test_an_object_of_its_own_look_ranks_above_a_part_of_it_and_above_a_random_piece(two_boxes):
    boxes = two_boxes.boxes.any(axis=0)
    part, piece = two_boxes.boxes[0], np.zeros_like(boxes)
    piece[:8, 8:16] = True  # half on the boxes, half on the ground
    whole, of_part, random = contrast(two_boxes.features, np.stack([boxes, part, piece]))
    assert whole > 0.25 and random < 0.5 * of_part < of_part < whole


def test_unlike_sides_are_the_limit():
    features = np.ones((2, 4, 4))
    features[:, :2] = -1
    top = np.zeros((1, 4, 4), bool)
    top[0, :2] = True
    assert contrast(features, top) == pytest.approx([1]) and contrast(features, top) <= 1
    assert contrast(np.ones((2, 4, 4)), top).tolist() == [0.0]


@pytest.mark.parametrize("grid_hw", [(4, 4), (1, 1)])
def test_empty_and_full_masks_have_no_contrast(grid_hw):
    features = np.random.default_rng(0).standard_normal((3, *grid_hw))
    masks = np.stack([np.zeros(grid_hw, bool), np.ones(grid_hw, bool)])
    assert contrast(features, masks).tolist() == [0, 0]
    assert contrast(features, masks[:0]).shape == (0,)
    assert contrast(np.zeros((3, *grid_hw)), masks).tolist() == [0, 0]


@given(seed=seeds)
def test_contrast_is_in_range_and_knows_no_lengths_no_axes_and_no_other_masks(seed):
    features, masks = drawn(seed)
    found = contrast(features, masks)
    assert found.dtype == np.float32 and ((found >= 0) & (found <= 1)).all()
    rng = np.random.default_rng(seed + 1)
    turned, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    longer = np.einsum("ij,jhw->ihw", turned, features) * rng.uniform(0.1, 10, masks.shape[1:])
    np.testing.assert_allclose(contrast(longer, masks), found, atol=1e-5)
    np.testing.assert_allclose(contrast(features[:, ::-1], masks[:, ::-1]), found, atol=1e-5)
    np.testing.assert_allclose([contrast(features, mask[None])[0] for mask in masks], found, atol=1e-6)


@pytest.mark.parametrize(
    ("features", "masks", "message"),
    [
        (np.ones((3, 4, 4)), np.ones((1, 4, 5), bool), r"masks: expected \(N, 4, 4\), got \(1, 4, 5\)"),
        (np.ones((3, 4, 4)), np.ones((4, 4), bool), r"masks: expected \(N, 4, 4\), got \(4, 4\)"),
        (np.full((3, 4, 4), np.nan), np.ones((1, 4, 4), bool), "finite"),
    ],
)
def test_wrong_inputs_are_refused(features, masks, message):
    with pytest.raises(ValueError, match=message):
        contrast(features, masks)


def test_share_of_the_border():
    masks = np.zeros((4, 4, 6), bool)
    masks[1, 1:3, 1:5], masks[2], masks[3, 0] = True, True, True  # inside, all, the top row
    assert border_share(masks).tolist() == [0, 0, 1, 6 / 16]
    line = np.array([[[True, True, False, False]]])
    assert border_share(line).tolist() == [0.5] == border_share(line.transpose(0, 2, 1)).tolist()
    assert border_share(masks[:0]).shape == (0,)


@given(seed=seeds)
def test_quality_is_in_range_and_falls_with_each_factor(seed):
    rng = np.random.default_rng(seed)
    masks = rng.random((4, *rng.integers(1, 6, 2))) < 0.5
    a, b = rng.random((2, 4))
    found = quality(a, b, masks)
    assert found.dtype == np.float32 and ((found >= 0) & (found <= 1)).all()
    assert (quality(a / 2, b, masks) <= found).all() and (quality(a, b / 2, masks) <= found).all()
    inner = masks.copy()
    inner[:, [0, -1]] = inner[:, :, [0, -1]] = False
    assert (quality(a, b, inner) >= found).all()
    np.testing.assert_array_equal(quality(a, b, masks[:, ::-1, ::-1]), found)
