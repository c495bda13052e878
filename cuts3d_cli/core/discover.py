"""The loop over one image's instances: NCut, LocalCut, exclusion, repeat (Sec. 3.1-3.3).

With ``local_cut=False, sharpen=False, exclude="features", stop_at_rest=False`` it is CutLER's MaskCut.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cuts3d_cli.core import affinity
from cuts3d_cli.core.geometry import grid_points
from cuts3d_cli.core.localcut import choose_sink, semantic_graph
from cuts3d_cli.core.localcut import local_cut as cut_in_3d
from cuts3d_cli.core.masks import component_of, mask_iou
from cuts3d_cli.core.ncut import bipartition, second_eigenvector
from cuts3d_cli.core.types import Discovery, Outcome, Try


def discover(
    features: np.ndarray,
    depth: np.ndarray | None = None,
    importance: np.ndarray | None = None,
    *,
    n_instances: int = 3,
    tau_ncut: float = 0.13,
    sharpen: bool = True,
    exponent: str = "mean",
    local_cut: bool = True,
    tau_knn: float = 0.115,
    k: int = 20,
    xy_extent: float = 1.0,
    background_z: float = 1.5,
    capacity: str = "inverse",
    sink: str = "outside",
    maxflow: str = "scipy",
    eigensolver: str = "lanczos",
    exclude: str = "nodes",
    component: str = "seed",
    max_overlap: float = 0.5,
    min_area: float = 0.01,
    corners: int = 3,
    stop_at_rest: bool = True,
) -> Discovery:
    """Find up to ``n_instances`` instances in one image.

    Each try solves NCut on the patches, takes the foreground, cuts one instance out of it in 3D, and takes the patches
    found out of the graph (``exclude``): ``nodes`` removes them, ``features`` zeroes their features. A try but the
    first is rejected at an IoU above ``max_overlap`` with the candidate of the try before, or at a share of
    ``min_area`` of the patches or less; earlier instances are subtracted from what is kept. With ``nodes``, rejected
    patches leave the graph too, as the tries after would find them again; with ``features`` they stay, as in CutLER.

    The search ends early on a uniform graph (every pair alike: no cut is better than another), where too few patches
    are left for another instance, and with ``stop_at_rest`` when the foreground is the rest: the inverse of all that
    was taken, up to a share of ``min_area``.

    Args:
        features: (C, h, w) float.
        depth: (H, W) float in [0, 1], 0 nearest; needed by ``local_cut``.
        importance: (h, w) float in [0, 1]; needed by ``sharpen``.
        n_instances: tries, N.
        tau_ncut, sharpen, exponent: see `affinity`.
        local_cut: cut in 3D; off, the instance is the semantic mask.
        tau_knn, k, xy_extent, background_z, capacity, sink, maxflow: see `localcut` and `geometry`.
        eigensolver, corners, component: see `ncut`; ``component`` holds for the instance too.
        exclude: nodes or features.
        max_overlap, min_area, stop_at_rest: see above.

    Returns:
        Masks, terminals and eigenvectors on the patch grid, and what came of each try.

    Raises:
        ValueError: an input that is missing, of the wrong shape or not finite, or an unknown choice.
    """
    _check(features, depth, importance, sharpen=sharpen, local_cut=local_cut, exclude=exclude)
    h, w = grid_hw = features.shape[1:]
    graph = _PatchGraph(features, importance if sharpen else None, exponent, tau_ncut, remove_nodes=exclude == "nodes")
    points = grid_points(depth, grid_hw, xy_extent=xy_extent) if local_cut else None

    semantic = np.zeros((n_instances, h, w), dtype=bool)
    instance = np.zeros_like(semantic)
    terminals = np.full((n_instances, 2), -1, dtype=np.int32)
    fiedler = np.zeros(semantic.shape, dtype=np.float32)
    tries = [Try("stopped")] * n_instances

    taken = np.zeros(grid_hw, dtype=bool)  # out of the graph
    union = np.zeros(grid_hw, dtype=bool)  # of the instances
    previous = np.zeros(grid_hw, dtype=bool)  # candidate of the try before, empty if rejected
    x, solver = None, None
    for slot in range(n_instances):
        nodes = graph.nodes(taken)
        if np.count_nonzero(nodes) < max(2, min_area * h * w):
            tries[slot] = Try("few")
            break
        if x is None:
            weights = graph.weights(taken)
            if _is_uniform(weights):
                tries[slot] = Try("uniform")
                break
            x = np.zeros(grid_hw)
            x[nodes], solver = second_eigenvector(weights, solver=eigensolver)
        fiedler[slot] = x
        sides = bipartition(x, nodes=nodes, corners=corners, component=component)
        tries[slot] = Try("kept", solver, sides.flipped)
        if stop_at_rest and taken.any() and np.count_nonzero(sides.foreground != ~taken) / h / w <= min_area:
            tries[slot] = replace(tries[slot], outcome="rest")
            break
        candidate = semantic[slot] = sides.semantic
        if local_cut:
            source, to = terminals[slot] = sides.seed, choose_sink(x, candidate, sides.seed, sink=sink, nodes=nodes)
            near = semantic_graph(points, candidate, k=k, background_z=background_z, longest=tau_knn)
            candidate = cut_in_3d(near, candidate, source, to, tau_knn=tau_knn, capacity=capacity, maxflow=maxflow)
            if component == "seed":
                candidate = component_of(candidate, source)
        outcome = "kept" if slot == 0 else _judge(candidate, previous, max_overlap, min_area)
        if outcome == "kept":
            instance[slot] = candidate & ~union
            union |= candidate
        empty = outcome == "kept" and not instance[slot].any()
        tries[slot] = replace(tries[slot], outcome="covered" if empty else outcome)
        previous = candidate if outcome == "kept" else np.zeros_like(candidate)
        if outcome == "kept" or exclude == "nodes":
            taken |= candidate
            x = None  # another graph, another eigenvector
    return Discovery(semantic, instance, terminals, fiedler, tuple(tries))


class _PatchGraph:
    """The binary graph of NCut for any set of taken patches, under either exclusion."""

    def __init__(
        self, features: np.ndarray, importance: np.ndarray | None, exponent: str, tau_ncut: float, *, remove_nodes: bool
    ):
        self.importance, self.exponent, self.tau_ncut, self.remove_nodes = importance, exponent, tau_ncut, remove_nodes
        self.whole = affinity.cosine_affinity(features)
        if remove_nodes:
            self.whole = self._binary(self.whole)  # the graph of every try is a part of this one

    def _binary(self, weights: np.ndarray) -> np.ndarray:
        """Eq. 3 where there is an importance, then the threshold; in place."""
        if self.importance is not None:
            affinity.sharpen(weights, self.importance, exponent=self.exponent, out=weights)
        return affinity.binarise(weights, self.tau_ncut, out=weights)

    def nodes(self, taken: np.ndarray) -> np.ndarray:
        """(h, w) bool: the patches of the graph."""
        return ~taken if self.remove_nodes else np.ones_like(taken)

    def weights(self, taken: np.ndarray) -> np.ndarray:
        """(m, m) float32 of 1 and 1e-5 for the m patches of the graph, in order; not to be written to."""
        if self.remove_nodes:
            return affinity.without_nodes(self.whole, taken) if taken.any() else self.whole
        return self._binary(affinity.without_features(self.whole, taken))


def _check(
    features: np.ndarray,
    depth: np.ndarray | None,
    importance: np.ndarray | None,
    *,
    sharpen: bool,
    local_cut: bool,
    exclude: str,
) -> None:
    if exclude not in ("nodes", "features"):
        raise ValueError(f"exclude: expected nodes or features, got {exclude!r}")
    if features.ndim != 3:
        raise ValueError(f"features: expected (C, h, w), got shape {features.shape}")
    if sharpen and (importance is None or importance.shape != features.shape[1:]):
        found = None if importance is None else importance.shape
        raise ValueError(f"importance: sharpening needs a map {features.shape[1:]}, got {found}")
    if local_cut and depth is None:
        raise ValueError("depth: the cut in 3D needs a map (H, W), got None")


def _is_uniform(weights: np.ndarray) -> bool:
    """Whether all pairs of different patches have the same weight in a graph of two weights."""
    n = len(weights)
    strong = np.count_nonzero(weights == 1) - np.count_nonzero(weights.diagonal() == 1)
    return strong in (0, n * n - n)


def _judge(candidate: np.ndarray, previous: np.ndarray, max_overlap: float, min_area: float) -> Outcome:
    if mask_iou(candidate[None], previous[None])[0, 0] > max_overlap:
        return "overlap"
    h, w = candidate.shape
    return "small" if np.count_nonzero(candidate) / h / w <= min_area else "kept"
