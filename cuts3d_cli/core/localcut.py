"""LocalCut: one instance out of a semantic mask, by a minimum cut in 3D (Sec. 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order
from scipy.spatial import cKDTree

from cuts3d_cli.core.geometry import to_background
from cuts3d_cli.core.mincut import min_cut
from cuts3d_cli.core.ncut import TIE

SHORTEST = 1e-3
"""Length that shorter edges count as; patches of a 60 x 60 grid are 0.017 apart."""


@dataclass(frozen=True)
class KnnGraph:
    """Undirected graph over ``n`` points: ``edges`` (E, 2) int64, each pair once, and ``lengths`` (E,) float64."""

    n: int
    edges: np.ndarray
    lengths: np.ndarray

    def up_to(self, tau_knn: float) -> tuple[np.ndarray, np.ndarray]:
        """Edges and lengths of at most ``tau_knn``, without a new query."""
        short = self.lengths <= tau_knn
        return self.edges[short], self.lengths[short]

    def reached(self, node: int, tau_knn: float) -> np.ndarray:
        """(n,) bool: what edges of at most ``tau_knn`` join to a node, itself included."""
        whole = self._both_ways
        short = whole.data <= tau_knn
        starts = np.concatenate([[0], np.cumsum(short)])[whole.indptr]
        kept = csr_array((np.ones(starts[-1]), whole.indices[short], starts), shape=(self.n, self.n))
        side = np.zeros(self.n, dtype=bool)
        side[breadth_first_order(kept, node, return_predecessors=False)] = True
        return side

    @cached_property
    def _both_ways(self) -> csr_array:
        """Lengths in both directions; every threshold is a part of it."""
        a, b = self.edges.astype(np.int32).T
        pairs = np.concatenate([a, b]), np.concatenate([b, a])
        return csr_array((np.tile(self.lengths, 2), pairs), shape=(self.n, self.n))


def knn_graph(points: np.ndarray, *, k: int, longest: float = np.inf) -> KnnGraph:
    """Join every point to its k nearest ones; a pair is an edge if either counts the other among them.

    Args:
        points: (n, 3).
        k: neighbours of a point, itself not counted.
        longest: no edge longer than this is looked for; the largest threshold that will be asked.

    Returns:
        The graph, which serves every threshold up to ``longest``.

    Raises:
        ValueError: points that are not (n, 3), or k < 1.
    """
    if points.ndim != 2 or points.shape[1] != 3 or k < 1:
        raise ValueError(f"points and k: expected (n, 3) and k >= 1, got {points.shape} and {k}")
    n = len(points)
    if n < 2:
        return KnnGraph(n, np.empty((0, 2), dtype=np.int64), np.empty(0))
    # Every length up to and with `longest` counts, the tree's own bound is exclusive.
    bound = np.nextafter(longest, np.inf)
    lengths, neighbours = cKDTree(points).query(points, k=min(k + 1, n), distance_upper_bound=bound)
    own = np.repeat(np.arange(n), lengths.shape[1])
    other = neighbours.ravel()
    real = (other < n) & (other != own)  # the tree says n where there is no neighbour
    own, other = own[real], other[real]
    pairs = np.sort(np.minimum(own, other) * n + np.maximum(own, other))
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]  # each pair once
    edges = np.stack(np.divmod(pairs, n), axis=1)
    return KnnGraph(n, edges, np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1))


def edge_capacities(lengths: np.ndarray, *, capacity: str) -> np.ndarray:
    """Capacity of edges from their length: its inverse, the length itself, or 1.

    The paper describes the weight as the distance, which makes edges between near points cheap to cut; ``inverse``
    makes them expensive to cut, as is usual for minimum cuts. Lengths below 0.001 count as 0.001, so that no capacity
    is 0 or infinite.

    Args:
        lengths: (E,) float.
        capacity: inverse, distance or unit.

    Returns:
        (E,) float64, positive.

    Raises:
        ValueError: an unknown capacity.
    """
    if capacity == "inverse":
        return 1 / np.maximum(lengths, SHORTEST)
    if capacity == "distance":
        return np.maximum(lengths, SHORTEST)
    if capacity == "unit":
        return np.ones(len(lengths))
    raise ValueError(f"capacity: expected inverse, distance or unit, got {capacity!r}")


def choose_sink(x: np.ndarray, semantic: np.ndarray, source: int, *, sink: str, nodes: np.ndarray | None = None) -> int:
    """Patch of the smallest |x|: the least decided one (Sec. 3.2).

    Args:
        x: (h, w) eigenvector.
        semantic: (h, w) bool.
        source: flat index that is never chosen.
        sink: outside (of the semantic mask) or anywhere.
        nodes: (h, w) bool, patches of the graph x comes from; None takes all.

    Returns:
        Flat index, the first of several alike (within 1e-5 of the largest |x|: rounding); -1 where there is none.

    Raises:
        ValueError: an unknown sink.
    """
    if sink not in ("outside", "anywhere"):
        raise ValueError(f"sink: expected outside or anywhere, got {sink!r}")
    open_to = np.ones(x.shape, dtype=bool) if nodes is None else nodes.copy()
    if sink == "outside":
        open_to &= ~semantic
    open_to.flat[source] = False
    if not open_to.any():
        return -1
    size = np.where(open_to, np.abs(x), np.inf)
    return int(np.argmax(size <= size.min() + TIE * np.abs(x).max()))


def local_cut(
    graph: KnnGraph,
    semantic: np.ndarray,
    source: int,
    sink: int,
    *,
    tau_knn: float,
    capacity: str,
    maxflow: str,
) -> np.ndarray:
    """Instance: the source's side of the minimum cut, within the semantic mask (Sec. 3.2).

    Where no path of short edges leads from source to sink the cut is free: the side is what the source reaches, and no
    flow is sought. That is the rule with a background plane farther away than ``tau_knn``.

    Args:
        graph: of the points with those outside the mask on the background plane, see `semantic_graph`.
        semantic: (h, w) bool.
        source: flat index of the patch that is the instance for sure.
        sink: flat index of the patch that is not; -1 (none) leaves what edges up to ``tau_knn`` join to the source.
        tau_knn: longest edge kept.
        capacity: see `edge_capacities`.
        maxflow: scipy or networkx.

    Returns:
        (h, w) bool, a subset of the mask; empty for an empty mask.
    """
    if not semantic.any():
        return np.zeros(semantic.shape, dtype=bool)
    side = graph.reached(source, tau_knn)
    if sink >= 0 and side[sink]:
        edges, lengths = graph.up_to(tau_knn)
        capacities = edge_capacities(lengths, capacity=capacity)
        side, _ = min_cut(graph.n, edges, capacities, source, sink, solver=maxflow)
    return side.reshape(semantic.shape) & semantic


def semantic_graph(
    points: np.ndarray, semantic: np.ndarray, *, k: int, background_z: float, longest: float
) -> KnnGraph:
    """k-NN graph with the points outside the semantic mask moved to the background plane (Sec. 3.2).

    Args:
        points: (n, 3) of the patch grid.
        semantic: (h, w) bool, n = h * w.
        k: neighbours of a point.
        background_z: depth of the plane.
        longest: largest threshold that will be asked.

    Returns:
        The graph, which serves every threshold up to ``longest``.
    """
    return knn_graph(to_background(points, semantic, background_z=background_z), k=k, longest=longest)
