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
    flat = directions(features)
    return flat.T @ flat


def strong_pairs(
    features: np.ndarray, tau_ncut: float, *, exponent: str, importance: np.ndarray | None = None
) -> np.ndarray:
    """The pairs of patches whose affinity, sharpened by Eq. 3 where there is an importance, exceeds ``tau_ncut``.

    The same as `cosine_affinity`, `sharpen` and a threshold, but made some rows at a time and from one half of the
    symmetric matrix, so that no (n, n) matrix of numbers is ever held.

    Args:
        features: (C, h, w), any float type.
        tau_ncut: threshold.
        exponent: mean, row or max; see `sharpen`. Without an importance it changes nothing.
        importance: (h, w) in [0, 1], or None.

    Returns:
        (n, n) bool, n = h * w, symmetric.

    Raises:
        ValueError: see `cosine_affinity` and `sharpen`.
    """
    flat = directions(features)
    n = flat.shape[1]
    power = None if importance is None else _powers(importance, n, exponent)
    strong = np.empty((n, n), dtype=bool)
    for start in range(0, n, _ROWS):
        end = min(start + _ROWS, n)
        block = flat[:, start:end].T @ flat[:, start:]
        if power is not None:
            block = _raised(block, power[start:end, None], power[None, start:], exponent)
        above = block > np.float32(tau_ncut)
        strong[start:end, start:] = above
        strong[end:, start:end] = above[:, end - start :].T
    return strong


def strong_without_features(
    index: np.ndarray, n: int, tau_ncut: float, *, exponent: str, importance: np.ndarray | None = None
) -> np.ndarray:
    """The rows of `strong_pairs` for patches whose features are zero, and so all their cosines (CutLER's exclusion).

    Args:
        index: (m,) int, the patches.
        n: patches in all.
        tau_ncut, exponent, importance: as for `strong_pairs`.

    Returns:
        (m, n) bool.
    """
    if importance is None:
        return np.full((len(index), n), tau_ncut < 0)
    power = _powers(importance, n, exponent)
    none = np.zeros((len(index), n), dtype=np.float32)
    return _raised(none, power[index, None], power[None, :], exponent) > np.float32(tau_ncut)


def sharpen(weights: np.ndarray, importance: np.ndarray, *, exponent: str) -> np.ndarray:
    """Raise affinities where depth changes: W_ij <- W_ij^(1 - e_ij) (Eq. 3).

    The paper gives one patch's importance to a pair; the graph must be symmetric, hence a choice:
    ``mean``: e_ij is the mean of both patches' importance; ``max``: the larger one;
    ``row``: the paper's own index, made symmetric as the mean of W_ij^(1 - e_i) and W_ij^(1 - e_j).
    Weights below 1e-10 are raised to it first.

    Args:
        weights: (n, n) float32, symmetric.
        importance: (n,) or (h, w) in [0, 1].
        exponent: mean, row or max.

    Returns:
        (n, n) float32 in (0, 1] for weights of at most 1.

    Raises:
        ValueError: shapes that do not fit, importance outside [0, 1], or an unknown exponent.
    """
    n = np.size(importance)
    if weights.shape != (n, n):
        raise ValueError(f"weights and importance: expected ({n}, {n}) for {n} patches, got {weights.shape}")
    power = _powers(importance, n, exponent)
    return _raised(weights, power[:, None], power[None, :], exponent)


def threshold_of_cosine(tau_ncut: float, importance: np.ndarray) -> float:
    """The sharpened affinity's threshold that a pair of minimum importance passes where its cosine exceeds tau.

    Eq. 3 raises every affinity below 1, so a fixed threshold joins more pairs with sharpening than without. At
    tau^(1 - e), e the minimum importance (beta, Eq. 2), only pairs where depth changes are joined more easily.

    Args:
        tau_ncut: threshold of the cosine; at most 1e-10 counts as 1e-10.
        importance: (h, w) in [0, 1].
    """
    return float(max(tau_ncut, FLOOR) ** (1 - float(importance.min())))


def directions(features: np.ndarray) -> np.ndarray:
    """(C, n) float32: the features of each patch, of length 1 or all zero."""
    if features.ndim != 3:
        raise ValueError(f"features: expected (C, h, w), got shape {features.shape}")
    flat = features.reshape(features.shape[0], -1).astype(np.float32)
    if not np.isfinite(flat).all():
        raise ValueError("features: expected finite values, got NaN or infinity")
    flat /= np.maximum(np.linalg.norm(flat, axis=0), 1e-12)
    return flat


def _powers(importance: np.ndarray, n: int, exponent: str) -> np.ndarray:
    """(n,) float32: what each patch's importance leaves of the power."""
    share = np.asarray(importance, dtype=np.float32).ravel()
    if len(share) != n:
        raise ValueError(f"importance: expected a value for each of {n} patches, got {len(share)}")
    if not (share.min() >= 0 and share.max() <= 1):
        raise ValueError(f"importance: expected values in [0, 1], got {share.min()} to {share.max()}")
    if exponent not in ("mean", "row", "max"):
        raise ValueError(f"exponent: expected mean, row or max, got {exponent!r}")
    return 1 - share


def _raised(weights: np.ndarray, own: np.ndarray, other: np.ndarray, exponent: str) -> np.ndarray:
    """Eq. 3 on some rows, given the power of each row's patch and of each column's."""
    log = np.maximum(weights, np.float32(FLOOR))
    np.log(log, out=log)
    if exponent == "row":
        return (np.exp(log * own) + np.exp(log * other)) / 2
    log *= (own + other) / 2 if exponent == "mean" else np.minimum(own, other)
    return np.exp(log, out=log)
