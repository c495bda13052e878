"""The scores mean what they say: alignment, errors, edges."""

import numpy as np
import pytest

pytest.importorskip("torch")

from scripts.train_depth import evaluate as ev


@pytest.fixture
def inverse():
    """A ramp with a box before it; inverse depth, some unknown."""
    found = np.repeat(np.linspace(0.2, 0.4, 96, dtype=np.float32)[:, None], 128, axis=1)
    found[30:70, 40:90] = 0.8
    found[:5] = np.nan
    return found


def test_alignment_undoes_any_positive_scale_and_shift(inverse):
    predicted = np.nan_to_num(inverse) * 4 - 7
    known = np.isfinite(inverse)
    np.testing.assert_allclose(ev.aligned(predicted, inverse)[known], inverse[known], rtol=1e-5)
    found = ev.depth_scores(predicted, inverse)
    assert (
        found.abs_rel == pytest.approx(0, abs=1e-5) and found.delta1 == 1 and found.rmse == pytest.approx(0, abs=1e-4)
    )


def test_alignment_is_the_least_squares_one(inverse):
    predicted = np.random.default_rng(0).random(inverse.shape) + np.nan_to_num(inverse)
    known = np.isfinite(inverse)
    slope, shift = np.polyfit(predicted[known], inverse[known], 1)
    np.testing.assert_allclose(ev.aligned(predicted, inverse), slope * predicted + shift, rtol=1e-6)


def test_depth_the_wrong_way_round_counts_as_a_constant(inverse):
    wrong = ev.depth_scores(-np.nan_to_num(inverse), inverse)
    assert wrong == pytest.approx(ev.depth_scores(np.zeros_like(inverse), inverse))
    assert wrong.abs_rel > 0.1


def test_errors_of_a_known_case():
    inverse = np.full((10, 10), 0.5, np.float32)
    inverse[:5] = 1.0
    found = ev.depth_scores(np.zeros((10, 10)), inverse)  # all at 1 / 0.75 m
    assert found.abs_rel == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert found.delta1 == 0
    assert found.rmse == pytest.approx(np.sqrt((1 / 9 + 4 / 9) / 2))


def test_true_edges_lie_on_the_box_and_not_on_the_ramp_or_holes(inverse):
    rows, cols = np.nonzero(ev.true_edges(inverse))
    assert len(rows) > 100
    beside = (np.minimum(abs(rows - 30), abs(rows - 70)) <= 3) | (np.minimum(abs(cols - 40), abs(cols - 90)) <= 3)
    assert beside.all() and (rows > 20).all()


def test_edges_order_sharp_soft_noise_and_flat(inverse):
    import cv2

    filled = np.nan_to_num(inverse, nan=0.2).astype(np.float32)
    sharp = ev.edge_scores(filled, inverse)
    soft = ev.edge_scores(cv2.GaussianBlur(filled, (0, 0), 8), inverse)
    noise = ev.edge_scores(np.random.default_rng(0).random(inverse.shape).astype(np.float32), inverse)
    assert sharp.recall > 0.95 and sharp.precision > 0.95 and sharp.sharp_precision > 0.95
    assert sharp.sharp_precision > soft.sharp_precision + 0.2 and sharp.precision > noise.precision + 0.2
    assert ev.edge_scores(np.zeros_like(filled), inverse) == (0, 0, 0, 0)
    assert ev.edge_scores(filled, np.full_like(filled, 0.3)) is None
