"""Semantic affinity between patches, its sharpening in 3D and its binarisation (Sec. 3.1, 3.3, Eq. 3)."""

from __future__ import annotations

import numpy as np

WEAK_EDGE = 1e-5
"""Weight of a pair below the threshold (CutLER): keeps the graph connected."""

FLOOR = 1e-10
"""Least affinity that Eq. 3 raises to a power: a negative cosine has no fractional power.

It is this small so that unlike patches stay apart: floor^(1 - e) passes a threshold of 0.13 only where e > 0.91.
"""

_ROWS = 128
"""Rows handled at once; a block of 128 x 3600 float32 stays in the cache."""


def cosine_affinity(features: np.ndarray) -> np.ndarray:
    """Cosine of every pair of patches (Sec. 3.1).

    Args:
        features: (C, h, w), any float type. A patch whose features are all zero gets a zero row, not NaN.

    Returns:
        (n, n) float32 in [-1, 1], n = h * w, symmetric.

    Raises:
        ValueError: wrong number of axes, or a value that is not finite.
    """
    if features.ndim != 3:
        raise ValueError(f"features: expected (C, h, w), got shape {features.shape}")
    flat = features.reshape(features.shape[0], -1).astype(np.float32)
    if not np.isfinite(flat).all():
        raise ValueError("features: expected finite values, got NaN or infinity")
    flat /= np.maximum(np.linalg.norm(flat, axis=0), 1e-12)
    return flat.T @ flat


def sharpen(
    weights: np.ndarray,
    importance: np.ndarray,
    *,
    exponent: str = "mean",
    floor: float = FLOOR,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Raise affinities where depth changes: W_ij <- W_ij^(1 - e_ij) (Eq. 3).

    The paper gives one patch's importance to a pair; the graph must be symmetric, hence a choice:
    ``mean``: e_ij is the mean of both patches' importance; ``max``: the larger one;
    ``row``: the paper's own index, made symmetric as the mean of W_ij^(1 - e_i) and W_ij^(1 - e_j).

    Args:
        weights: (n, n) float32, symmetric.
        importance: (n,) or (h, w) in [0, 1].
        exponent: mean, row or max.
        floor: weights below are raised to it first.
        out: (n, n) float32 that takes the result; may be ``weights`` itself.

    Returns:
        (n, n) float32 in (0, 1] for weights of at most 1.

    Raises:
        ValueError: shapes that do not fit, importance outside [0, 1], or an unknown exponent.
    """
    share = np.asarray(importance, dtype=np.float32).ravel()
    n = len(share)
    if weights.shape != (n, n):
        raise ValueError(f"weights and importance: expected ({n}, {n}) for {n} patches, got {weights.shape}")
    if not (share.min() >= 0 and share.max() <= 1):
        raise ValueError(f"importance: expected values in [0, 1], got {share.min()} to {share.max()}")
    if exponent not in ("mean", "row", "max"):
        raise ValueError(f"exponent: expected mean, row or max, got {exponent!r}")
    out = np.empty_like(weights) if out is None else out
    power = 1 - share
    for start in range(0, n, _ROWS):
        rows = slice(start, start + _ROWS)
        log = np.log(np.maximum(weights[rows], np.float32(floor)))
        own, other = power[rows, None], power[None, :]
        if exponent == "row":
            out[rows] = (np.exp(log * own) + np.exp(log * other)) / 2
        else:
            log *= (own + other) / 2 if exponent == "mean" else np.minimum(own, other)
            np.exp(log, out=out[rows])
    return out


def binarise(weights: np.ndarray, tau_ncut: float, *, out: np.ndarray | None = None) -> np.ndarray:
    """The graph of NCut: 1 where the affinity exceeds ``tau_ncut``, else 1e-5 (Sec. 3.1, as CutLER).

    Args:
        weights: (n, n) float32.
        tau_ncut: threshold.
        out: (n, n) float32 that takes the result; may be ``weights`` itself.

    Returns:
        (n, n) float32 of 1 and 1e-5.
    """
    out = np.empty_like(weights) if out is None else out
    for start in range(0, len(weights), _ROWS):
        rows = slice(start, start + _ROWS)
        out[rows] = np.where(weights[rows] > tau_ncut, np.float32(1), np.float32(WEAK_EDGE))
    return out


def without_features(weights: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """The cosine affinity as if the features of the taken patches were zero (CutLER's exclusion).

    The patches stay in the graph, where binarising ties them to all others by 1e-5.

    Args:
        weights: (n, n) float32, from `cosine_affinity`.
        taken: (n,) or (h, w) bool.

    Returns:
        (n, n) float32, a copy.
    """
    left = weights.copy()
    index = np.flatnonzero(taken)
    left[index, :] = 0
    left[:, index] = 0
    return left


def without_nodes(weights: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """The graph without the rows and columns of the taken patches (CutS3D's exclusion, Sec. 3.2).

    Args:
        weights: (n, n).
        taken: (n,) or (h, w) bool, m of them true.

    Returns:
        (n - m, n - m), a copy; the patches left keep their order.
    """
    keep = np.flatnonzero(~np.ravel(taken))
    return weights[np.ix_(keep, keep)]
