"""Normalised Cut: the second eigenvector of the patch graph and the bipartition it gives (Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

from cuts3d_cli.core.lanczos import DEAD, Ritz, fixed_start, lanczos
from cuts3d_cli.core.masks import component_of
from cuts3d_cli.core.patch_graph import Graph

TINY = 64
"""Graphs up to this many patches are solved densely: faster there, and Lanczos needs room."""

DENSE_LIMIT = 4096
"""Largest graph, 64 x 64 patches, that turns to the dense solver where Lanczos does not converge: O(n^3) time, and
some 5 float64 copies of W. Beyond it the last vector of Lanczos is taken."""

SMALL_GAP = 1e-3
"""Below this distance of second and third eigenvalue the rounding of float32 products would mix the
two eigenvectors visibly (it is about 1e-6, divided by the gap), so the products are taken in float64."""

TIE = 1e-5
"""Values closer than this fraction of the largest |x| count as equal: solvers differ by their rounding."""


class _Rule(NamedTuple):
    """When an iteration ends: after ``steps``, at the error ``tol``, or at a next vector of norm ``dead``."""

    steps: int
    tol: float
    dead: float


_SINGLE = _Rule(steps=80, tol=1e-7, dead=1e-6)
_DOUBLE = _Rule(steps=300, tol=1e-7, dead=1e-12)
_BLOCK = 2**20


def second_eigenvector(graph: Graph | np.ndarray, *, solver: str) -> tuple[np.ndarray, str]:
    """Eigenvector of the second smallest eigenvalue of (Z - W) x = lambda Z x, Z the diagonal of row sums.

    ``lanczos`` finds the largest eigenvector of Z^-1/2 W Z^-1/2 beside the known first one, Z^1/2 1, which is
    projected out, and maps it back with Z^-1/2; some 10 to 30 products with W. It starts from a fixed vector, goes on
    with products in float64 where the gap to the third eigenvalue is small, and turns to ``dense`` for graphs of up to
    64 patches, and for graphs of up to 4096 where it does not converge or nothing is left to iterate on (a graph of
    equal weights). Larger ones keep the best vector that Lanczos has (``ritz``): where it does not converge, many cuts
    are equally good, and this is one of them.
    ``dense`` is the generalised solver of LAPACK in float64, O(n^3): the oracle.
    ``torch`` is the same iteration on torch tensors, see `ncut_torch`.

    The sign is canonical, whatever the solver: the patch of largest |x| is positive, and of patches within 1e-5 of
    the largest |x| the first one in order decides.

    Args:
        graph: a graph, or its weights (n, n) float, symmetric, not negative. A patch without any weight gets x = 0.
        solver: lanczos, dense or torch.

    Returns:
        x: (n,) float64 with max |x| = 1.
        solver_used: lanczos, lanczos float64 (a small gap), dense, torch or ritz.

    Raises:
        ValueError: not square, fewer than two patches with weight, not finite, a negative row sum, an unknown solver.
    """
    return second_eigenvectors([graph], solver=solver)[0]


def second_eigenvectors(
    graphs: Sequence[Graph | np.ndarray], *, solver: str, device: str = "cpu"
) -> list[tuple[np.ndarray, str]]:
    """`second_eigenvector` of several graphs, with ``torch`` all of one size at once.

    Args:
        graphs: graphs or their weights.
        solver: lanczos, dense or torch.
        device: where torch computes.
    """
    if solver not in ("lanczos", "dense", "torch"):
        raise ValueError(f"solver: expected lanczos, dense or torch, got {solver!r}")
    ready = [_checked(_WeightGraph(graph) if isinstance(graph, np.ndarray) else graph) for graph in graphs]
    if solver == "torch":
        from cuts3d_cli.core.ncut_torch import ritz_vectors  # torch takes a second to import

        large = [graph for graph in ready if np.count_nonzero(graph.degrees) > TINY]
        found = dict(zip(map(id, large), ritz_vectors(large, device=device), strict=True))
        return [_finished(graph, found.get(id(graph)), "torch") for graph in ready]
    return [_finished(graph, *(_lanczos(graph) if solver == "lanczos" else (None, "dense"))) for graph in ready]


def canonical_sign(x: np.ndarray) -> np.ndarray:
    """``x`` or ``-x``, so that its entry of largest magnitude (the first of several alike) is positive."""
    return x if x[first_largest(np.abs(x))] >= 0 else -x


def first_largest(values: np.ndarray, tie: float = TIE) -> int:
    """Index of the largest value; of values within ``tie`` times the largest |value| of it, the first one."""
    flat = np.ravel(values)
    return int(np.argmax(flat >= flat.max() - tie * np.abs(flat).max()))


def _checked(graph: Graph) -> Graph:
    degrees = graph.degrees
    if not np.isfinite(degrees).all() or (degrees < 0).any():
        raise ValueError("weights: expected finite weights that are not negative")
    if np.count_nonzero(degrees) < 2:
        raise ValueError(f"weights: expected at least 2 patches with weight, got {np.count_nonzero(degrees)}")
    return graph


def _finished(graph: Graph, ritz: Ritz | None, solver: str) -> tuple[np.ndarray, str]:
    """The eigenvector from what an iteration found; from the dense solver where it found nothing to trust."""
    linked = graph.degrees > 0
    if ritz is not None and (is_settled(ritz) or np.count_nonzero(linked) > DENSE_LIMIT):
        x = to_generalised(ritz.vector[0], graph.degrees)
        used = solver if is_settled(ritz) else "ritz"
    else:
        x, used = np.zeros(len(linked)), "dense"
        x[linked] = _dense(graph.weights(), graph.degrees[linked])
    return canonical_sign(x / np.abs(x).max()), used


def is_settled(ritz: Ritz) -> bool:
    """Whether the iteration converged, and on more than a graph whose vectors are all alike."""
    return bool(ritz.converged.all() and (ritz.second > DEAD).all())


def to_generalised(v: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Z^-1/2 v; 0 where a patch has no weight."""
    return np.divide(v, np.sqrt(degrees), out=np.zeros_like(v), where=degrees > 0)


def _dense(weights: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    laplacian = -weights
    laplacian[np.diag_indices_from(laplacian)] += degrees
    pair = eigh(laplacian, np.diag(degrees), subset_by_index=[0, 1], overwrite_a=True, overwrite_b=True)[1]
    # A graph of two parts has eigenvalue 0 twice, and LAPACK mixes 1 into both vectors: take it out, keep what is left.
    pair -= degrees @ pair / degrees.sum()
    return pair[:, np.argmax(np.abs(pair).max(axis=0))]


def _lanczos(graph: Graph) -> tuple[Ritz | None, str]:
    """What Lanczos finds in the precision that the gap asks for, and the name of that precision."""
    n_linked = np.count_nonzero(graph.degrees)
    if n_linked <= TINY:
        return None, "dense"
    found = _iterate(graph, fixed_start(len(graph.degrees)), _SINGLE, double=False)
    if found.second[0] <= DEAD or (found.converged[0] and found.first[0] - found.second[0] >= SMALL_GAP):
        return found, "lanczos"
    return _iterate(graph, found.vector[0], _DOUBLE, double=True), "lanczos float64"


def _iterate(graph: Graph, start: np.ndarray, rule: _Rule, *, double: bool) -> Ritz:
    """Lanczos on Z^-1/2 W Z^-1/2 with its first eigenvector, Z^1/2 1, out of the way.

    Its eigenvalue, 1, goes to -1 and not to 0: the second one may be negative.
    """
    first = np.sqrt(graph.degrees / graph.degrees.sum())
    start = np.where(graph.degrees > 0, start, 0)
    basis = np.empty((1, rule.steps, len(start)))
    basis[0, 0] = start - (first @ start) * first

    def product(v: np.ndarray) -> np.ndarray:
        along = to_generalised(graph.product(to_generalised(v[0], graph.degrees), double=double), graph.degrees)
        return (along - 2 * (first @ v[0]) * first)[None]

    return lanczos(product, basis, tol=rule.tol, dead=rule.dead)


class _WeightGraph:
    """A graph of any weights, given as a matrix."""

    def __init__(self, weights: np.ndarray):
        if weights.ndim != 2 or weights.shape[0] != weights.shape[1]:
            raise ValueError(f"weights: expected (n, n), got shape {weights.shape}")
        self._weights = weights
        self.degrees = weights.sum(axis=1, dtype=np.float64)

    def product(self, v: np.ndarray, *, double: bool = False) -> np.ndarray:
        if not double:
            return (self._weights @ v.astype(self._weights.dtype)).astype(np.float64)
        out, rows = np.empty(len(v)), max(1, _BLOCK // len(v))  # no float64 copy of all of it
        for start in range(0, len(v), rows):
            out[start : start + rows] = self._weights[start : start + rows].astype(np.float64) @ v
        return out

    def weights(self) -> np.ndarray:
        index = np.flatnonzero(self.degrees)
        return self._weights[np.ix_(index, index)].astype(np.float64)


@dataclass(frozen=True)
class Bipartition:
    """Two sides of the patch grid: ``foreground`` (h, w) bool, ``semantic`` (h, w) bool, its part that is kept,
    ``seed``, the flat index of the most foreground patch, and ``flipped``, whether the corners turned the sides."""

    foreground: np.ndarray
    semantic: np.ndarray
    seed: int
    flipped: bool


def bipartition(
    x: np.ndarray, *, corners: int, component: str, nodes: np.ndarray | None = None, tie: float = TIE
) -> Bipartition:
    """Split the grid at the mean of the eigenvector and choose the foreground (Sec. 3.1, as CutLER).

    Foreground is the side of the patch of largest |x|. Where the side x > mean holds ``corners`` of the image's four
    corners or more, it is the other side instead. The corner rule thus depends on the sign of x: on eigenvectors signed
    by a solver this is what CutLER's released code does (with ``tie=0``). With the canonical sign of
    `second_eigenvector` the side x > mean always holds the largest |x|, so the rule reads: foreground is its side,
    unless that side has the corners.

    Args:
        x: (h, w) eigenvector.
        corners: corners that make a side background; 5 never flips.
        component: seed keeps the 4-connected part of the foreground that holds the seed; none keeps all of it.
        nodes: (h, w) bool, patches of the graph; the others are on neither side. None takes all.
        tie: values within this fraction of the largest |x| are equal, and the first one is the seed.

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
