"""Normalised Cut: the second eigenvector of the patch graph and the bipartition it gives (Sec. 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

from cuts3d_cli.core.masks import component_of

TINY = 64
"""Graphs up to this many patches are solved densely: faster there, and Lanczos needs room."""

SMALL_GAP = 1e-3
"""Below this distance of second and third eigenvalue the rounding of float32 products would mix the
two eigenvectors visibly (it is about 1e-6, divided by the gap), so the products are taken in float64."""

TIE = 1e-5
"""Values closer than this share of the largest |x| count as equal: solvers differ by their rounding."""


def second_eigenvector(weights: np.ndarray, *, solver: str = "lanczos") -> tuple[np.ndarray, str]:
    """Eigenvector of the second smallest eigenvalue of (Z - W) x = lambda Z x, Z the diagonal of row sums.

    ``lanczos`` finds the largest eigenvector of Z^-1/2 W Z^-1/2 beside the known first one, Z^1/2 1, which is
    projected out, and maps it back with Z^-1/2; about 14 products with W. It starts from a fixed vector and turns
    to ``dense`` for graphs of up to 64 patches, where it does not converge, or where nothing is left to
    iterate on (a graph of equal weights). ``dense`` is the generalised solver of LAPACK in float64, O(n^3): the oracle.

    The sign is canonical, whatever the solver: the patch of largest |x| is positive, and of patches within 1e-5 of
    the largest |x| the first one in order decides.

    Args:
        weights: (n, n) float, symmetric, not negative, n >= 2. A patch without any weight gets x = 0.
        solver: lanczos or dense.

    Returns:
        x: (n,) float64 with max |x| = 1.
        solver_used: lanczos, lanczos float64 (a small gap), or dense.

    Raises:
        ValueError: not square, fewer than two patches with weight, not finite, a negative row sum, an unknown solver.
    """
    if weights.ndim != 2 or weights.shape[0] != weights.shape[1]:
        raise ValueError(f"weights: expected (n, n), got shape {weights.shape}")
    if solver not in ("lanczos", "dense"):
        raise ValueError(f"solver: expected lanczos or dense, got {solver!r}")
    degrees = weights.sum(axis=1, dtype=np.float64)
    if not np.isfinite(degrees).all() or (degrees < 0).any():
        raise ValueError("weights: expected finite weights that are not negative")
    linked = degrees > 0
    if np.count_nonzero(linked) < 2:
        raise ValueError(f"weights: expected at least 2 patches with weight, got {np.count_nonzero(linked)}")
    if not linked.all():
        index = np.flatnonzero(linked)
        part, used = second_eigenvector(weights[np.ix_(index, index)], solver=solver)
        x = np.zeros(len(weights))
        x[index] = part
        return x, used
    found = None
    if solver == "lanczos" and len(weights) > TINY:
        found = _lanczos(weights, degrees)
    x, used = found or (_dense(weights, degrees), "dense")
    return canonical_sign(x / np.abs(x).max()), used


def canonical_sign(x: np.ndarray) -> np.ndarray:
    """``x`` or ``-x``, so that its entry of largest magnitude (the first of several alike) is positive."""
    return x if x[first_largest(np.abs(x))] >= 0 else -x


def first_largest(values: np.ndarray, tie: float = TIE) -> int:
    """Index of the largest value; of values within ``tie`` times the largest |value| of it, the first one."""
    flat = np.ravel(values)
    return int(np.argmax(flat >= flat.max() - tie * np.abs(flat).max()))


def _dense(weights: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    laplacian = -weights.astype(np.float64)
    laplacian[np.diag_indices_from(laplacian)] += degrees
    pair = eigh(laplacian, np.diag(degrees), subset_by_index=[0, 1])[1]
    # A graph of two parts has eigenvalue 0 twice, and LAPACK mixes 1 into both vectors: take it out, keep what is left.
    pair -= degrees @ pair / degrees.sum()
    return pair[:, np.argmax(np.abs(pair).max(axis=0))]


def _lanczos(weights: np.ndarray, degrees: np.ndarray) -> tuple[np.ndarray, str] | None:
    """The eigenvector in the precision that the gap asks for, or None where Lanczos does not find it.

    Its work is bounded: some 200 products in float32 and 400 in float64, not more than the dense solver takes.
    """
    single = _Deflated(weights.astype(np.float32, copy=False), degrees)
    start = single.project(np.random.default_rng(0).standard_normal(len(weights)))
    step = single.product(start)
    if np.linalg.norm(step - (start @ step) / (start @ start) * start) < 1e-6 * np.linalg.norm(start):
        return None  # every vector is an eigenvector: Lanczos has nowhere to go
    found = single.largest(start, k=2, ncv=12, tol=1e-6, maxiter=20)
    if found is not None:
        (second, third), vectors = found
        if second - third >= SMALL_GAP:
            return single.scale * vectors[0], "lanczos"
        start = vectors[0]
    double = _Deflated(weights.astype(np.float64), degrees)
    found = double.largest(start, k=1, ncv=40, tol=1e-9, maxiter=10)
    return None if found is None else (double.scale * found[1][0], "lanczos float64")


class _Deflated:
    """Z^-1/2 W Z^-1/2 as an operator whose first eigenvector, Z^1/2 1, is out of the way.

    Its eigenvalue, 1, goes to -1 and not to 0: the second one may be negative.
    """

    def __init__(self, weights: np.ndarray, degrees: np.ndarray):
        self.weights = weights
        self.scale = 1 / np.sqrt(degrees)
        self.first = np.sqrt(degrees / degrees.sum())

    def project(self, v: np.ndarray) -> np.ndarray:
        return v - (self.first @ v) * self.first

    def product(self, v: np.ndarray) -> np.ndarray:
        v = v.ravel()
        scaled = (self.scale * v).astype(self.weights.dtype, copy=False)
        return self.scale * (self.weights @ scaled) - 2 * (self.first @ v) * self.first

    def largest(
        self, start: np.ndarray, *, k: int, ncv: int, tol: float, maxiter: int
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The k largest eigenvalues, largest first, and their vectors as rows; None without convergence."""
        n = len(start)
        operator = LinearOperator((n, n), matvec=self.product, dtype=np.float64)
        rng = np.random.default_rng(0)  # ARPACK draws a vector where its subspace is exhausted
        try:
            values, vectors = eigsh(operator, k=k, which="LA", v0=start, ncv=ncv, tol=tol, maxiter=maxiter, rng=rng)
        except (ArpackNoConvergence, ArpackError):
            return None
        order = np.argsort(values)[::-1]
        return values[order], vectors[:, order].T


@dataclass(frozen=True)
class Bipartition:
    """Two sides of the patch grid: ``foreground`` (h, w) bool, ``semantic`` (h, w) bool, its part that is kept,
    ``seed``, the flat index of the most foreground patch, and ``flipped``, whether the corners turned the sides."""

    foreground: np.ndarray
    semantic: np.ndarray
    seed: int
    flipped: bool


def bipartition(
    x: np.ndarray, *, nodes: np.ndarray | None = None, corners: int = 3, component: str = "seed", tie: float = TIE
) -> Bipartition:
    """Split the grid at the mean of the eigenvector and choose the foreground (Sec. 3.1, as CutLER).

    Foreground is the side of the patch of largest |x|. Where the side x > mean holds ``corners`` of the image's four
    corners or more, it is the other side instead. The corner rule thus depends on the sign of x: on eigenvectors signed
    by a solver this is what CutLER's released code does (with ``tie=0``). With the canonical sign of
    `second_eigenvector` the side x > mean always holds the largest |x|, so the rule reads: foreground is its side,
    unless that side has the corners.

    Args:
        x: (h, w) eigenvector.
        nodes: (h, w) bool, patches of the graph; the others are on neither side. None takes all.
        corners: corners that make a side background; 5 never flips.
        component: seed keeps the 4-connected part of the foreground that holds the seed; none keeps all of it.
        tie: values within this share of the largest |x| are equal, and the first one is the seed.

    Returns:
        The sides; the foreground is empty where x is constant.

    Raises:
        ValueError: shapes that do not fit, no node, or an unknown component.
    """
    if x.ndim != 2:
        raise ValueError(f"x: expected (h, w), got shape {x.shape}")
    if component not in ("seed", "none"):
        raise ValueError(f"component: expected seed or none, got {component!r}")
    nodes = np.ones(x.shape, dtype=bool) if nodes is None else nodes
    if nodes.shape != x.shape or not nodes.any():
        raise ValueError(
            f"nodes: expected {x.shape} with at least one patch, got {nodes.shape} with {np.count_nonzero(nodes)}"
        )
    x = np.where(nodes, x, 0).astype(np.float64)
    above = nodes & (x > x[nodes].mean())
    if not above.any():  # a constant x has no sides
        return Bipartition(above, above, int(np.flatnonzero(nodes)[0]), False)
    in_corners = int(above[0, 0]) + int(above[0, -1]) + int(above[-1, 0]) + int(above[-1, -1])
    by_corners = in_corners >= corners
    peak = first_largest(np.abs(x), tie)
    if by_corners or not above.flat[peak]:
        x, above = -x, nodes & ~above
    seed = int(np.flatnonzero(nodes)[first_largest(x[nodes], tie)])
    semantic = component_of(above, seed) if component == "seed" else above
    return Bipartition(above, semantic, seed, by_corners)
