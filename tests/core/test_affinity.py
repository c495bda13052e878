from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuts3d_cli.config import resolve
from cuts3d_cli.core import affinity
from cuts3d_cli.core.affinity import FLOOR, cosine_affinity, threshold_of_cosine

sharpen, strong_pairs, strong_without_features = (
    partial(function, exponent=resolve().localcut.exponent)
    for function in (affinity.sharpen, affinity.strong_pairs, affinity.strong_without_features)
)


def some_features(seed=0, shape=(8, 5, 7)):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_affinity_is_the_cosine():
    features = some_features()
    weights = cosine_affinity(features)
    a, b = features[:, 1, 2].astype(float), features[:, 4, 6].astype(float)
    assert weights.dtype == np.float32 and weights.shape == (35, 35)
    assert weights[1 * 7 + 2, 4 * 7 + 6] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-6)
    assert np.array_equal(weights, weights.T)


def test_affinity_ignores_the_length_of_features_and_keeps_its_input():
    features = some_features()
    before = features.copy()
    scaled = features * np.linspace(0.1, 9, 35).reshape(5, 7)
    assert np.allclose(cosine_affinity(scaled), cosine_affinity(features), atol=1e-6)
    assert np.array_equal(features, before)


def test_half_precision_features_give_nearly_the_same():
    features = some_features()
    assert np.allclose(cosine_affinity(features.astype(np.float16)), cosine_affinity(features), atol=2e-3)


def test_a_patch_without_features_has_a_zero_row_and_no_nan():
    features = some_features()
    features[:, 2, 3] = 0
    weights = cosine_affinity(features)
    assert not weights[2 * 7 + 3].any() and np.isfinite(weights).all()


@pytest.mark.parametrize("bad", [np.zeros((3, 4)), np.full((3, 4, 4), np.nan)])
def test_wrong_features_are_refused(bad):
    with pytest.raises(ValueError, match="features: expected"):
        cosine_affinity(bad)


@pytest.mark.parametrize("exponent", ["mean", "row", "max"])
def test_sharpening_follows_the_formula(exponent):
    weights = cosine_affinity(some_features())
    share = np.random.default_rng(1).uniform(0.45, 1, (5, 7)).astype(np.float32)
    e = share.ravel().astype(float)
    base = np.maximum(weights.astype(float), FLOOR)
    expected = {
        "mean": base ** (1 - (e[:, None] + e[None, :]) / 2),
        "max": base ** (1 - np.maximum(e[:, None], e[None, :])),
        "row": (base ** (1 - e[:, None]) + base ** (1 - e[None, :])) / 2,
    }[exponent]
    result = sharpen(weights, share, exponent=exponent)
    assert np.allclose(result, expected, rtol=1e-5)
    assert np.array_equal(result, result.T)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(-1, 1))
def test_sharpening_raises_affinities_up_to_one(own, other, cosine):
    weights = np.array([[1, cosine], [cosine, 1]], dtype=np.float32)
    for exponent in ("mean", "row", "max"):
        result = sharpen(weights, np.array([own, other]), exponent=exponent)
        assert np.isfinite(result).all()
        assert result[0, 1] >= max(cosine, 0) - 1e-6 and result.max() <= 1 + 1e-6


def test_no_importance_leaves_positive_affinities():
    weights = np.maximum(cosine_affinity(some_features()), 0.01)
    assert np.allclose(sharpen(weights, np.zeros((5, 7))), weights, rtol=1e-5)


def test_the_least_importance_lowers_the_threshold_as_written():
    """With importance 0.45 everywhere the exponent is 0.55, so 0.13 acts like 0.13^(1/0.55) = 0.0245."""
    weights = np.linspace(0.02, 0.03, 16, dtype=np.float32).reshape(4, 4)
    weights = (weights + weights.T) / 2
    strong = sharpen(weights, np.full(4, 0.45)) > 0.13
    assert np.array_equal(strong, weights > 0.13 ** (1 / 0.55)) and 0 < strong.sum() < 16


@pytest.mark.parametrize(
    ("importance", "exponent", "message"),
    [
        (np.zeros(3), "mean", "expected \\(3, 3\\)"),
        (np.full(4, 1.5), "mean", "in \\[0, 1\\]"),
        (np.zeros(4), "both", "exponent"),
    ],
)
def test_wrong_sharpening_is_refused(importance, exponent, message):
    with pytest.raises(ValueError, match=message):
        sharpen(np.ones((4, 4), dtype=np.float32), importance, exponent=exponent)


def test_a_pair_is_strong_strictly_above_the_threshold():
    features = np.array([[1, 0, 1], [0, 1, 0]], dtype=np.float32).reshape(2, 1, 3)  # cosines of 0 and 1
    same = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], dtype=bool)
    assert np.array_equal(strong_pairs(features, 0.0), same)
    assert not strong_pairs(features, 1.0).any() and strong_pairs(features, -0.1).all()


@pytest.mark.parametrize("exponent", [None, "mean", "row", "max"])
@pytest.mark.parametrize("tau_ncut", [-0.2, 0.0, 0.3])
def test_strong_pairs_are_those_above_the_threshold(exponent, tau_ncut):
    features, share = some_features(shape=(8, 13, 17)), np.random.default_rng(1).uniform(0.45, 1, (13, 17))
    weights = cosine_affinity(features)
    if exponent is not None:
        weights = sharpen(weights, share, exponent=exponent)
    kwargs = {} if exponent is None else {"importance": share, "exponent": exponent}
    strong = strong_pairs(features, tau_ncut, **kwargs)
    clear = np.abs(weights - tau_ncut) > 1e-5
    assert strong.dtype == np.bool_ and np.array_equal(strong, strong.T)
    assert np.array_equal(strong[clear], (weights > tau_ncut)[clear]) and (strong.any() or tau_ncut > 0)


@pytest.mark.parametrize("exponent", [None, "mean", "row", "max"])
@pytest.mark.parametrize("tau_ncut", [-0.2, 0.1, 0.3])
def test_zeroed_features_give_the_rows_of_zeroed_features(exponent, tau_ncut):
    """Importance up to 1 lifts even the floor above a threshold."""
    features, share = some_features(), np.random.default_rng(1).uniform(0.8, 1, (5, 7))
    taken = np.zeros((5, 7), dtype=bool)
    taken[1:3, 2:5] = True
    kwargs = {} if exponent is None else {"importance": share, "exponent": exponent}
    index = np.flatnonzero(taken)
    expected = strong_pairs(np.where(taken, 0, features), tau_ncut, **kwargs)[index]
    assert np.array_equal(strong_without_features(index, 35, tau_ncut, **kwargs), expected)


@pytest.mark.parametrize("tau", [0.05, 0.3, 0.7])
def test_a_threshold_of_the_cosine_keeps_pairs_of_least_importance(tau):
    """With importance beta everywhere sharpening changes nothing; where depth changes it joins more, never fewer."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(8, 5, 7)) + 0.5
    plain = strong_pairs(features, tau)
    even = np.full((5, 7), 0.45, np.float32)
    at = threshold_of_cosine(tau, even)
    clear = np.abs(cosine_affinity(features) - tau) > 1e-5
    assert np.array_equal(strong_pairs(features, at, importance=even)[clear], plain[clear])
    rough = even + rng.uniform(0, 0.5, even.shape).astype(np.float32)
    rough.flat[0] = 0.45
    sharpened = strong_pairs(features, threshold_of_cosine(tau, rough), importance=rough)
    assert (sharpened | ~plain)[clear].all() and sharpened.sum() > plain.sum()


def test_a_threshold_of_the_cosine_of_0_or_less_is_finite():
    assert 0 < threshold_of_cosine(-1, np.full((2, 2), 0.45)) == threshold_of_cosine(0, np.full((2, 2), 0.45)) < 1e-5
