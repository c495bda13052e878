"""The loop over one image's instances: NCut, LocalCut, exclusion, repeat (Sec. 3.1-3.3).

With ``local_cut=False, sharpen=False, exclude="features", stop_at_rest=False`` it is CutLER's MaskCut. No setting has a
default here: all come from the configuration (``config.LocalCutConfig``).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from cuts3d_cli.core import affinity
from cuts3d_cli.core.geometry import grid_points
from cuts3d_cli.core.localcut import choose_sink, semantic_graph
from cuts3d_cli.core.localcut import local_cut as cut_in_3d
from cuts3d_cli.core.masks import alike_component, component_of, mask_iou
from cuts3d_cli.core.ncut import bipartition, second_eigenvectors
from cuts3d_cli.core.patch_graph import PatchGraph
from cuts3d_cli.core.quality import contrast
from cuts3d_cli.core.types import Attempt, Cuts, Outcome


def find_instances(
    features: np.ndarray,
    depth: np.ndarray | None = None,
    importance: np.ndarray | None = None,
    *,
    eigensolver: str,
    device: str = "cpu",
    **settings: Any,
) -> Cuts:
    """Find up to N instances in one image.

    Args:
        features: (C, h, w) float.
        depth: (H, W) float in [0, 1], 0 nearest; needed by ``local_cut``.
        importance: (h, w) float in [0, 1]; needed by ``sharpen``.
        eigensolver: see `ncut.second_eigenvector`.
        device: where torch computes.
        settings: the keywords of `instance_search`.

    Returns:
        Masks, terminals, eigenvectors and contrast on the patch grid, and the outcome of each attempt.

    Raises:
        ValueError: an input that is missing, of the wrong shape or not finite, or an unknown choice.
    """
    return find_instances_batch([(features, depth, importance)], eigensolver=eigensolver, device=device, **settings)[0]


def find_instances_batch(
    images: Iterable[tuple[np.ndarray, np.ndarray | None, np.ndarray | None]],
    *,
    eigensolver: str,
    device: str = "cpu",
    **settings: Any,
) -> list[Cuts]:
    """`find_instances` for several images: their first attempts are solved together, then their second, and so on.

    Only ``torch`` is faster this way; each image takes one byte per pair of patches.

    Args:
        images: features, depth and importance of each.
        eigensolver: see `ncut.second_eigenvector`.
        device: where torch computes.
        settings: the keywords of `instance_search`.
    """
    searches = [instance_search(*image, **settings) for image in images]
    results: dict[int, Cuts] = {}
    answers: dict[int, tuple[np.ndarray, str] | None] = dict.fromkeys(range(len(searches)))
    while answers:
        graphs = {}
        for number, answer in answers.items():
            try:
                search = searches[number]
                graphs[number] = next(search) if answer is None else search.send(answer)
            except StopIteration as end:
                results[number] = end.value
        solved = second_eigenvectors(list(graphs.values()), solver=eigensolver, device=device)
        answers = dict(zip(graphs, solved, strict=True))
    return [results[number] for number in range(len(searches))]


def instance_search(
    features: np.ndarray,
    depth: np.ndarray | None = None,
    importance: np.ndarray | None = None,
    *,
    n_instances: int,
    tau_ncut: float,
    tau_ncut_at: str,
    sharpen: bool,
    exponent: str,
    local_cut: bool,
    tau_knn: float,
    k: int,
    xy_extent: float,
    background_z: float,
    capacity: str,
    sink: str,
    maxflow: str,
    exclude: str,
    component: str,
    max_overlap: float,
    min_area: float,
    corners: int,
    stop_at_rest: bool,
) -> Generator[PatchGraph, tuple[np.ndarray, str], Cuts]:
    """Find up to ``n_instances`` instances in one image, leaving the eigenvectors to the caller.

    Each attempt solves NCut on the patches, cuts one instance out of its foreground in 3D, and excludes the patches
    of that instance from the graph (``exclude``): ``nodes`` removes them, ``features`` zeroes their features. Any
    attempt but the first is rejected if its IoU with the previous candidate exceeds ``max_overlap``, or if it covers
    at most the fraction ``min_area`` of the patches; earlier instances are subtracted from those kept. With ``nodes``,
    rejected patches are removed too, since later attempts would find them again; with ``features`` they stay, as in
    CutLER.

    The search ends early on a uniform graph (all weights equal: no cut is better than another), when too few patches
    are left for another instance, and with ``stop_at_rest`` when the foreground is the rest: all patches not yet
    excluded, up to the fraction ``min_area``.

    Args:
        features: (C, h, w) float.
        depth: (H, W) float in [0, 1], 0 nearest; needed by ``local_cut``.
        importance: (h, w) float in [0, 1]; needed by ``sharpen``.
        n_instances: number of attempts, N.
        tau_ncut, sharpen, exponent: see `affinity`.
        tau_ncut_at: ``sharpened``, the threshold applies to the sharpened affinity, or ``cosine``, see
            `affinity.threshold_of_cosine`.
        local_cut: cut in 3D; if off, the instance is the semantic mask.
        tau_knn, k, xy_extent, background_z, capacity, sink, maxflow: see `localcut` and `geometry`.
        corners: see `ncut`.
        component: what is kept of the foreground, and of the instance: ``none``, all of it; ``seed``, the 4-connected
            component of the seed; ``alike``, the patches connected to the seed by pairs of neighbours above
            ``tau_ncut``. NCut often takes two touching objects as one, since cutting both from the rest is cheaper
            than cutting between them; ``alike`` separates them where no pair across their border is similar.
        exclude: ``nodes`` or ``features``.
        max_overlap, min_area, stop_at_rest: see above.

    Yields:
        The graph of an attempt, to be answered with its second eigenvector (n,) and the solver's name, as given by
        `second_eigenvector`.

    Returns:
        Masks, terminals, eigenvectors and contrast on the patch grid, and the outcome of each attempt.

    Raises:
        ValueError: an input that is missing, of the wrong shape or not finite, or an unknown choice.
    """
    _check(features, depth, importance, sharpen=sharpen, local_cut=local_cut, exclude=exclude, component=component)
    h, w = grid_hw = features.shape[1:]
    if tau_ncut_at not in ("sharpened", "cosine"):
        raise ValueError(f"tau_ncut_at: expected sharpened or cosine, got {tau_ncut_at!r}")
    if sharpen and importance is not None and tau_ncut_at == "cosine":
        tau_ncut = affinity.threshold_of_cosine(tau_ncut, importance)
    graphs = _Graphs(features, importance if sharpen else None, exponent, tau_ncut, remove_nodes=exclude == "nodes")
    points = grid_points(depth, grid_hw, xy_extent=xy_extent) if local_cut and depth is not None else None

    semantic = np.zeros((n_instances, h, w), dtype=bool)
    instance = np.zeros_like(semantic)
    terminals = np.full((n_instances, 2), -1, dtype=np.int32)
    fiedler = np.zeros(semantic.shape, dtype=np.float32)
    attempts = [Attempt("stopped")] * n_instances

    excluded = np.zeros(grid_hw, dtype=bool)  # excluded from the graph
    union = np.zeros(grid_hw, dtype=bool)  # of the instances
    previous = np.zeros(grid_hw, dtype=bool)  # candidate of the previous attempt, empty if rejected
    x: np.ndarray | None = None
    solver: str | None = None
    for slot in range(n_instances):
        nodes = graphs.nodes(excluded)
        if np.count_nonzero(nodes) < max(2, min_area * h * w):
            attempts[slot] = Attempt("few")
            break
        if x is None:
            graph = graphs.without(excluded)
            if graph.is_uniform:
                attempts[slot] = Attempt("uniform")
                break
            x, solver = yield graph
            x = x.reshape(grid_hw)
        fiedler[slot] = x
        sides = bipartition(x, nodes=nodes, corners=corners, component="none" if component == "none" else "seed")
        attempts[slot] = Attempt("kept", solver, sides.flipped)
        if stop_at_rest and excluded.any() and np.count_nonzero(sides.foreground != ~excluded) / h / w <= min_area:
            attempts[slot] = replace(attempts[slot], outcome="rest")
            break
        candidate = sides.semantic
        if component == "alike":
            candidate = alike_component(candidate, sides.seed, graphs.strong)
        semantic[slot] = candidate
        if points is not None:
            source, to = terminals[slot] = sides.seed, choose_sink(x, candidate, sides.seed, sink=sink, nodes=nodes)
            near = semantic_graph(points, candidate, k=k, background_z=background_z, longest=tau_knn)
            candidate = cut_in_3d(near, candidate, source, to, tau_knn=tau_knn, capacity=capacity, maxflow=maxflow)
            if component == "seed":
                candidate = component_of(candidate, source)
            elif component == "alike":
                candidate = alike_component(candidate, source, graphs.strong)
        outcome = "kept" if slot == 0 else _judge(candidate, previous, max_overlap, min_area)
        if outcome == "kept":
            instance[slot] = candidate & ~union
            union |= candidate
        empty = outcome == "kept" and not instance[slot].any()
        area = np.count_nonzero(candidate) / h / w
        attempts[slot] = replace(attempts[slot], outcome="covered" if empty else outcome, area=area)
        previous = candidate if outcome == "kept" else np.zeros_like(candidate)
        if outcome == "kept" or exclude == "nodes":
            excluded |= candidate
            x = None  # another graph, another eigenvector
    return Cuts(semantic, instance, terminals, fiedler, contrast(features, instance), tuple(attempts))


class _Graphs:
    """The graph of NCut for a growing set of excluded patches, under either exclusion."""

    def __init__(
        self, features: np.ndarray, importance: np.ndarray | None, exponent: str, tau_ncut: float, *, remove_nodes: bool
    ):
        self.remove_nodes = remove_nodes
        self.strong = affinity.strong_pairs(features, tau_ncut, exponent=exponent, importance=importance)
        self._rows_without = partial(
            affinity.strong_without_features, tau_ncut=tau_ncut, exponent=exponent, importance=importance
        )

    def nodes(self, excluded: np.ndarray) -> np.ndarray:
        """(h, w) bool: the patches of the graph."""
        return ~excluded if self.remove_nodes else np.ones_like(excluded)

    def without(self, excluded: np.ndarray) -> PatchGraph:
        """The graph without these patches; invalidates the graphs returned before."""
        index = np.flatnonzero(excluded)
        if len(index) and not self.remove_nodes:
            rows = self._rows_without(index, excluded.size)
            self.strong[index], self.strong[:, index] = rows, rows.T
        return PatchGraph(self.strong, self.nodes(excluded))


def _check(
    features: np.ndarray,
    depth: np.ndarray | None,
    importance: np.ndarray | None,
    *,
    sharpen: bool,
    local_cut: bool,
    exclude: str,
    component: str,
) -> None:
    if component not in ("none", "seed", "alike"):
        raise ValueError(f"component: expected none, seed or alike, got {component!r}")
    if exclude not in ("nodes", "features"):
        raise ValueError(f"exclude: expected nodes or features, got {exclude!r}")
    if features.ndim != 3:
        raise ValueError(f"features: expected (C, h, w), got shape {features.shape}")
    if sharpen and (importance is None or importance.shape != features.shape[1:]):
        found = None if importance is None else importance.shape
        raise ValueError(f"importance: sharpening needs a map {features.shape[1:]}, got {found}")
    if local_cut and depth is None:
        raise ValueError("depth: the cut in 3D needs a map (H, W), got None")


def _judge(candidate: np.ndarray, previous: np.ndarray, max_overlap: float, min_area: float) -> Outcome:
    if mask_iou(candidate[None], previous[None])[0, 0] > max_overlap:
        return "overlap"
    h, w = candidate.shape
    return "small" if np.count_nonzero(candidate) / h / w <= min_area else "kept"
