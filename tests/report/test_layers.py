"""Outlines as SVG paths: drawn again they give the masks."""

import re

import cv2
import numpy as np
import pytest

from cuts3d_cli.report.layers import CANVAS, annotation_layers, canvas_hw, mask_layers, outline, rasterised, truth_layer
from cuts3d_cli.report.overlay import colours
from cuts3d_cli.store.coco import annotation, encode_mask


def filled(path, size_hw):
    """A path of M, l and z drawn by the even-odd rule, at eight times the size."""
    picture = np.zeros((8 * size_hw[0], 8 * size_hw[1]), np.uint8)
    lines = []
    for part in re.findall(r"M([^z]*)z", path):
        start, steps = part.split("l")
        numbers = np.array(f"{start} {steps}".split(), int).reshape(-1, 2)
        lines.append(8 * np.cumsum(numbers, axis=0).astype(np.int32))
    cv2.fillPoly(picture, lines, 1)
    return picture[4::8, 4::8].astype(bool)


def blob(size_hw, seed):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=size_hw), (0, 0), 12)
    return noise > np.quantile(noise, 0.6)


@pytest.mark.parametrize("seed", range(4))
def test_an_outline_gives_its_mask_holes_and_parts_included(seed):
    mask = blob((160, 200), seed)
    mask[70:90, 80:110] = False
    mask[75:85, 90:100] = True
    again = filled(outline(mask), mask.shape)
    assert (again & mask).sum() / (again | mask).sum() > 0.95


def test_an_outline_ends_at_the_border():
    again = filled(outline(np.ones((30, 40), bool)), (30, 40))
    assert again.all()


def test_nothing_has_no_outline():
    assert outline(np.zeros((9, 9), bool)) == ""
    assert mask_layers([np.zeros((9, 9), bool)], (9, 9)) == []
    assert truth_layer([], (9, 9), shown=True) is None


def test_the_plane_has_the_shape_of_the_picture():
    assert canvas_hw((480, 640)) == (720, CANVAS) and canvas_hw((3000, 10)) == (CANVAS, 3)


def test_a_layer_has_number_colour_and_score_of_its_cut():
    masks = [blob((60, 80), 1), blob((60, 80), 2)]
    found = [annotation(1, mask, score, cut=cut) for mask, score, cut in zip(masks, (0.9, 0.5), (0, 3), strict=True)]
    first, second = annotation_layers(found, (60, 80), [0.9, 0.5])
    assert (first.label, second.label) == ("1  0.90", "4  0.50")
    assert second.colour == "#{:02x}{:02x}{:02x}".format(*colours(4)[3])
    for layer, mask in zip((first, second), masks, strict=True):
        assert mask[layer.y * 60 // 720, layer.x * 80 // CANVAS]
        assert layer.area == pytest.approx(mask.mean())
    assert [layer.label for layer in annotation_layers(found, (60, 80), None)] == ["1", "4"]


def test_masks_of_a_grid_cover_the_picture():
    grid = np.zeros((6, 6), bool)
    grid[2:4, 1:3] = True
    (layer,) = mask_layers([grid], (300, 480), slots=[2])
    again = filled(layer.path, (600, CANVAS))
    assert again[200:400, 160:480].mean() > 0.98 and again.sum() < 1.03 * 200 * 320 and layer.number == "3"


def test_the_ground_truth_is_one_layer():
    codes = [encode_mask(blob((60, 80), seed)) for seed in (1, 2)]
    layer = truth_layer(codes, (60, 80), shown=False)
    assert layer.label == "ground truth, 2 objects" and layer.line and not layer.shown and layer.number == ""


def test_layers_drawn_over_a_photograph_cover_their_masks():
    """A mask with a hole, and a missing slot before it, whose colour is left free."""
    mask = np.zeros((60, 90), bool)
    mask[10:50, 20:70] = True
    mask[20:40, 35:55] = False
    photo = np.full((60, 90, 3), 128, np.uint8)
    drawn = (rasterised(photo, mask_layers([mask], (60, 90), slots=[1])) != photo).any(2)
    assert drawn[12:18, 22:68].mean() > 0.9 and not drawn[24:36, 39:51].any() and not drawn[54:].any()
    np.testing.assert_array_equal(rasterised(photo, []), photo)
