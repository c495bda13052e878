"""Spatial Confidence: agreement of cuts across thresholds (Sec. 3.4, Eq. 4)."""

from __future__ import annotations

import numpy as np

from cuts3d_cli.core.geometry import grid_points
from cuts3d_cli.core.localcut import KnnGraph, local_cut, semantic_graph


def thresholds(tau_knn_min: float, tau_knn: float, n_thresholds: int) -> np.ndarray:
    """T thresholds evenly from ``tau_knn_min`` to ``tau_knn``, both included; a single one is ``tau_knn``.

    Raises:
        ValueError: no threshold, or the smallest above the largest.
    """
    if n_thresholds < 1 or tau_knn_min > tau_knn:
        raise ValueError(f"thresholds: expected at least one and {tau_knn_min} <= {tau_knn}, got {n_thresholds}")
    return np.linspace(tau_knn, tau_knn_min, n_thresholds)[::-1]


def average_cuts(
    graph: KnnGraph,
    semantic: np.ndarray,
    source: int,
    sink: int,
    *,
    tau_knn: float,
    tau_knn_min: float,
    n_thresholds: int,
    capacity: str,
    maxflow: str,
) -> np.ndarray:
    """Fraction of the T thresholds whose LocalCut contains a patch (Eq. 4).

    Args:
        graph: k-NN graph of the instance's semantic mask, with edges up to ``tau_knn``.
        semantic: (h, w) bool.
        source: flat index.
        sink: flat index, or -1.
        tau_knn: largest threshold.
        tau_knn_min: smallest threshold.
        n_thresholds: T.
        capacity: see `localcut.edge_capacities`.
        maxflow: scipy or networkx.

    Returns:
        (h, w) float32 in [0, 1].
    """
    total = np.zeros(semantic.shape, dtype=np.float32)
    for tau in thresholds(tau_knn_min, tau_knn, n_thresholds):
        total += local_cut(graph, semantic, source, sink, tau_knn=float(tau), capacity=capacity, maxflow=maxflow)
    return total / np.float32(n_thresholds)


def clamp_confidence(agreement: np.ndarray, instance: np.ndarray, *, sc_min: float) -> np.ndarray:
    """At least ``sc_min`` inside the instance, 0 outside (Sec. 3.4).

    Args:
        agreement: (h, w) float, from `average_cuts`.
        instance: (h, w) bool.
        sc_min: minimum confidence.

    Returns:
        (h, w) float32 in {0} or [sc_min, 1].
    """
    return np.where(instance, np.maximum(agreement, sc_min), 0).astype(np.float32)


def mean_confidence(confidence: np.ndarray, instance: np.ndarray) -> np.ndarray:
    """Score of instances: the mean confidence inside each.

    Args:
        confidence: (N, h, w) float.
        instance: (N, h, w) bool.

    Returns:
        (N,) float32; 0 for an empty instance.
    """
    area = instance.sum(axis=(1, 2))
    total = np.where(instance, confidence, 0).sum(axis=(1, 2), dtype=np.float64)
    return (total / np.maximum(area, 1)).astype(np.float32)


def spatial_confidence(
    semantic: np.ndarray,
    instance: np.ndarray,
    terminals: np.ndarray,
    depth: np.ndarray | None,
    *,
    tau_knn: float,
    tau_knn_min: float,
    n_thresholds: int,
    sc_min: float,
    k: int,
    xy_extent: float,
    background_z: float,
    capacity: str,
    maxflow: str,
) -> np.ndarray:
    """Confidence of all instances of an image (Sec. 3.4, Eq. 4), from what `find_instances` found.

    The keywords are those of `find_instances` and of this module; one k-NN query per instance serves all thresholds.

    Args:
        semantic: (N, h, w) bool.
        instance: (N, h, w) bool; an empty one is an empty slot.
        terminals: (N, 2) int, source and sink; a source of -1 means that no cut was made: confidence 1 inside.
        depth: (H, W) float in [0, 1]; None where no instance has a source.

    Returns:
        (N, h, w) float32 in {0} or [sc_min, 1].

    Raises:
        ValueError: an instance that was cut in 3D but no depth, or a depth map that is not (H, W) or not finite.
    """
    confidence = np.zeros(instance.shape, dtype=np.float32)
    points = None
    for slot, (source, sink) in enumerate(np.asarray(terminals).tolist()):
        if not instance[slot].any():
            continue
        if source < 0:
            confidence[slot] = instance[slot]
            continue
        if depth is None:
            raise ValueError(f"depth: expected a map for instance {slot}, which was cut in 3D, got none")
        points = grid_points(depth, semantic[slot].shape, xy_extent=xy_extent) if points is None else points
        graph = semantic_graph(points, semantic[slot], k=k, background_z=background_z, longest=tau_knn)
        agreement = average_cuts(
            graph,
            semantic[slot],
            source,
            sink,
            tau_knn=tau_knn,
            tau_knn_min=tau_knn_min,
            n_thresholds=n_thresholds,
            capacity=capacity,
            maxflow=maxflow,
        )
        confidence[slot] = clamp_confidence(agreement, instance[slot], sc_min=sc_min)
    return confidence
