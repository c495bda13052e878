import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from cuts3d_cli.core.masks import (
    alike_component,
    boxes_xywh_px,
    component_of,
    enlarge,
    fill_holes,
    mask_iou,
    merge_round,
    resize_map,
)

many = arrays(bool, st.tuples(st.integers(0, 4), st.just(5), st.just(6)))


def test_the_component_of_a_seed_has_four_neighbours():
    mask = np.array([[1, 1, 0], [0, 0, 1], [1, 0, 1]], dtype=bool)
    assert component_of(mask, 0).sum() == 2 and component_of(mask, 5).sum() == 2 and component_of(mask, 6).sum() == 1
    assert not component_of(mask, 2).any()


def test_holes_are_filled_and_bays_are_not():
    mask = np.array([[1, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]], dtype=bool)
    assert fill_holes(mask).sum() == 15


@given(many, many)
def test_iou_equals_pycocotools(a, b):
    expected = np.zeros((len(a), len(b)))
    for i, mask_a in enumerate(a):
        for j, mask_b in enumerate(b):
            both = [coco_mask.encode(np.asfortranarray(m.astype(np.uint8))) for m in (mask_a, mask_b)]
            expected[i, j] = coco_mask.iou([both[0]], [both[1]], [0])[0, 0] if (mask_a | mask_b).any() else 0
    assert np.allclose(mask_iou(a, b), expected)


def test_iou_of_different_sizes_is_refused():
    with pytest.raises(ValueError, match="masks: expected"):
        mask_iou(np.zeros((1, 3, 4), bool), np.zeros((1, 4, 3), bool))


@given(many)
def test_boxes_equal_pycocotools(masks):
    expected = [coco_mask.toBbox(coco_mask.encode(np.asfortranarray(m.astype(np.uint8)))) for m in masks]
    assert np.array_equal(boxes_xywh_px(masks), np.reshape(expected, (-1, 4)))


@pytest.mark.parametrize("size_hw", [(60, 90), (20, 30), (100, 60)])
def test_enlarged_masks_repeat_their_patches(size_hw):
    mask = np.random.default_rng(0).random((20, 30)) < 0.5
    rows, columns = size_hw[0] // 20, size_hw[1] // 30
    enlarged = enlarge(mask, size_hw)
    assert enlarged.dtype == bool and np.array_equal(enlarged, mask.repeat(rows, axis=0).repeat(columns, axis=1))


def test_an_enlarged_map_is_bilinear_between_pixel_centres():
    assert np.allclose(resize_map(np.array([[0.0, 1.0]]), (1, 4)), [[0, 0.25, 0.75, 1]])


def test_shrinking_is_the_mean_over_the_area():
    assert np.allclose(resize_map(np.array([[1.0, 0, 0, 1, 1, 1, 1, 0]]), (1, 2)), [[0.5, 0.75]])


def squares(*columns):
    masks = np.zeros((len(columns), 10, 40), dtype=bool)
    for mask, column in zip(masks, columns, strict=True):
        mask[2:8, column : column + 6] = True
    return masks


def test_a_round_keeps_sure_predictions_and_earlier_masks_they_do_not_cover():
    predictions, earlier = squares(0, 10, 30), squares(1, 14, 30, 20)
    kept, stay = merge_round(predictions, np.array([0.9, 0.8, 0.3]), earlier, score_threshold=0.7, merge_iou=0.5)
    assert kept.tolist() == [0, 1]
    assert stay.tolist() == [1, 2, 3]  # 0 overlaps the first by 5 / 7, 1 the second by 1 / 5, 2 only the unsure one


def test_the_bounds_of_a_round():
    """A score of exactly the threshold goes, an overlap of exactly merge_iou stays."""
    predictions, earlier = squares(0), squares(2)
    assert merge_round(predictions, np.array([0.7]), earlier, score_threshold=0.7, merge_iou=0.5)[0].tolist() == []
    assert merge_round(predictions, np.array([0.8]), earlier, score_threshold=0.7, merge_iou=0.5)[1].tolist() == [0]
    assert merge_round(predictions, np.array([0.8]), earlier, score_threshold=0.7, merge_iou=0.49)[1].tolist() == []


def test_a_round_without_predictions_or_earlier_masks():
    none = np.zeros((0, 10, 40), dtype=bool)
    assert merge_round(none, np.zeros(0), squares(0, 9), score_threshold=0.7, merge_iou=0.5)[1].tolist() == [0, 1]
    kept, stay = merge_round(squares(3), np.ones(1), none, score_threshold=0.7, merge_iou=0.5)
    assert kept.tolist() == [0] and stay.tolist() == []
    with pytest.raises(ValueError, match="scores"):
        merge_round(squares(3), np.ones(2), none, score_threshold=0.7, merge_iou=0.5)


def test_alike_component_follows_alike_neighbours_only():
    mask = np.ones((3, 4), bool)
    mask[1, 0] = False
    kind = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 0]])
    alike = kind.ravel()[:, None] == kind.ravel()
    left = alike_component(mask, 0, alike)
    assert (
        left == (mask & (kind == 0) & (np.arange(4) < 2))
    ).all()  # the lone 0 at the right is alike, but out of reach
    assert alike_component(mask, 2, alike).sum() == 5
    assert not alike_component(mask, 4, alike).any()  # outside the mask
    assert (alike_component(mask, 0, np.ones((12, 12), bool)) == component_of(mask, 0)).all()
