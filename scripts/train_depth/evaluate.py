"""How good predicted depth is: after alignment on metric truth, and at the steps of depth."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import cv2
import numpy as np

from .readers import Pair

FARTHEST = 10.0
"""Metres; aligned predictions are clipped to it, as NYU's truth is."""

STEP = 0.05
"""A true depth edge: a step of inverse depth over ``REACH`` pixels above this fraction of the image's range."""

REACH = 4
"""Pixels over which a step is measured."""

TOLERANCES = (8, 3)
"""Pixels within which a true and a predicted edge count as one: met at all, and met sharply."""

Predict = Callable[[Pair], np.ndarray]
"""Inverse depth of a pair's image, any size, near is large."""


class Scores(NamedTuple):
    """Errors of aligned depth, averaged over images."""

    abs_rel: float
    delta1: float
    rmse: float


class EdgeScores(NamedTuple):
    """Shares of depth edges: true ones that are met and predicted ones that are right, at either tolerance."""

    recall: float
    precision: float
    sharp_recall: float
    sharp_precision: float


def aligned(predicted: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """``predicted`` (h, w) scaled and shifted to ``inverse`` (h, w) by least squares where that is known.

    The slope is kept from being negative: a map that runs the other way becomes a constant.
    """
    known = np.isfinite(inverse)
    x, y = predicted[known].astype(np.float64), inverse[known].astype(np.float64)
    spread = ((x - x.mean()) ** 2).mean()
    slope = max(((x - x.mean()) * (y - y.mean())).mean() / spread, 0) if spread > 0 else 0.0
    return slope * (predicted - x.mean()) + y.mean()


def depth_scores(predicted: np.ndarray, inverse: np.ndarray) -> Scores:
    """AbsRel, the share within 1.25 and RMSE (m) of one image, after alignment in inverse depth.

    Args:
        predicted: (h, w) inverse depth of any scale and shift.
        inverse: (h, w) true inverse depth in 1 / m, NaN where unknown.
    """
    known = np.isfinite(inverse)
    found = 1 / np.maximum(aligned(predicted, inverse)[known], 1 / FARTHEST)
    truth = 1 / inverse[known].astype(np.float64)
    ratio = np.maximum(found / truth, truth / found)
    return Scores((abs(found - truth) / truth).mean(), (ratio < 1.25).mean(), np.sqrt(((found - truth) ** 2).mean()))


def step_strength(inverse: np.ndarray) -> np.ndarray:
    """Steps of a map (h, w) at the pixel where each is steepest across itself, 0 elsewhere and beside NaN."""
    found = np.zeros(inverse.shape, np.float32)
    half = REACH // 2
    for values, strength in ((inverse, found), (inverse.T, found.T)):
        size = abs(values[REACH:] - values[:-REACH])
        size = np.pad(np.nan_to_num(size), ((half, half), (0, 0)))
        highest = cv2.dilate(np.ascontiguousarray(size, np.float32), np.ones((REACH + 1, 1)))
        np.maximum(strength, np.where(size >= highest, size, 0), out=strength)
    return found


def true_edges(inverse: np.ndarray) -> np.ndarray:
    """Depth edges (h, w) bool of a true map: steps above ``STEP`` of the range between 2 % and 98 %."""
    low, high = np.nanpercentile(inverse, [2, 98])
    return step_strength(inverse) > STEP * max(high - low, 1e-9)


def edge_scores(predicted: np.ndarray, inverse: np.ndarray) -> EdgeScores | None:
    """Recall and precision of predicted depth edges; None where the truth has fewer than 50 edge pixels.

    As many of the prediction's strongest steps count as edges as the truth has, whatever their height: neither a
    noisy map nor one of low contrast gains by it. Steps where the truth is unknown do not count.
    """
    true = true_edges(inverse)
    count = int(true.sum())
    if count < 50:
        return None
    known = cv2.erode(np.isfinite(inverse).astype(np.uint8), np.ones((REACH + 1, REACH + 1))) > 0
    strength = np.where(known | true, step_strength(predicted), 0)
    limit = np.partition(strength.ravel(), -count)[-count]
    found = strength >= limit if limit > 0 else strength > 0
    if found.sum() > 4 * count:  # a map of equal steps everywhere shows no edge
        found = np.zeros_like(found)
    return EdgeScores(*(_met(*pair, within) for within in TOLERANCES for pair in ((true, found), (found, true))))


def _met(edges: np.ndarray, others: np.ndarray, within: int) -> float:
    """Share of ``edges`` with one of ``others`` within so many pixels."""
    if not edges.any() or not others.any():
        return 0.0
    distance = cv2.distanceTransform((~others).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((distance[edges] <= within).mean())


def mean_scores(pairs: Iterable[Pair], predict: Predict) -> Scores:
    """``depth_scores`` averaged over ``pairs``."""
    found = []
    for pair in pairs:
        inverse = pair.inverse()
        found.append(depth_scores(_resized(predict(pair), inverse.shape), inverse))
    return Scores(*np.mean(found, axis=0).tolist())


def mean_edge_scores(pairs: Iterable[Pair], predict: Predict) -> EdgeScores:
    """``edge_scores`` averaged over ``pairs``."""
    found = []
    for pair in pairs:
        inverse = pair.inverse()
        scores = edge_scores(_resized(predict(pair), inverse.shape), inverse)
        if scores is not None:
            found.append(scores)
    return EdgeScores(*np.mean(found, axis=0).tolist())


def constant(pair: Pair) -> np.ndarray:
    """Baseline: the same depth everywhere."""
    return np.zeros((8, 8), np.float32)


def vertical(pair: Pair) -> np.ndarray:
    """Baseline: lower is nearer."""
    return np.repeat(np.linspace(0, 1, 480, dtype=np.float32)[:, None], 8, axis=1)


def brightness(pair: Pair) -> np.ndarray:
    """Baseline for edges: the picture's own grey values."""
    return cv2.GaussianBlur(cv2.cvtColor(pair.rgb(), cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.5)


def _resized(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return cv2.resize(values, shape[::-1], interpolation=cv2.INTER_LINEAR)
