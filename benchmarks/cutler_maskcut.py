"""The original MaskCut's computation, as a baseline: dense eigensolver, a CRF built for every mask."""

from __future__ import annotations

import numpy as np
from measuring import Stopwatch
from scipy.linalg import eigh

from cuts3d_cli.core.masks import fill_holes, mask_iou
from cuts3d_cli.core.ncut import bipartition, canonical_sign


def graph_of(features: np.ndarray, tau_ncut: float) -> np.ndarray:
    """(n, n) float64 of 1 and 1e-5: cosine above the threshold or not; features (C, h, w)."""
    flat = features.reshape(len(features), -1)
    flat = flat / np.maximum(np.linalg.norm(flat, axis=0), 1e-12)
    return np.where(flat.T @ flat > tau_ncut, 1.0, 1e-5)


def dense_eigenvector(weights: np.ndarray) -> np.ndarray:
    """Second generalised eigenvector of (Z - W, Z) in float64 by LAPACK, as the original code requests it."""
    degrees = np.diag(weights.sum(axis=1))
    return eigh(degrees - weights, degrees, subset_by_index=[1, 1])[1][:, 0]


def maskcut(features: np.ndarray, tau_ncut: float, n_instances: int, watch: Stopwatch) -> list[np.ndarray]:
    """Masks (h, w) bool of ``n_instances`` NCuts; what is found has its features zeroed.

    The sign of an eigenvector, which LAPACK leaves open, is ours, so that both find the same.
    """
    features, found = features.astype(np.float32), []
    painted = np.zeros(features.shape[1:], dtype=bool)
    for _ in range(n_instances):
        with watch.part("affinity and graph"):
            weights = graph_of(features * ~painted, tau_ncut)
        with watch.part("second eigenvector"):
            x = dense_eigenvector(weights)
        with watch.part("bipartition"):
            mask = bipartition(canonical_sign(x).reshape(painted.shape), corners=3, component="seed").semantic
        if found and (mask_iou(mask[None], found[-1][None])[0, 0] > 0.5 or mask.mean() <= 0.01):
            mask = np.zeros_like(mask)
        found.append(mask & ~painted)
        painted |= mask
    return [mask for mask in found if mask.any()]


def crf(image: np.ndarray, mask: np.ndarray, watch: Stopwatch) -> tuple[np.ndarray, bool]:
    """A mask (H, W) refined with CutLER's numbers, filled, and whether it still is the mask it was."""
    from pydensecrf.densecrf import DenseCRF2D

    with watch.part("CRF: build"):
        inside = 1 / (1 + np.exp(-1.0))
        probability = np.where(mask, inside, 1 - inside).ravel()
        model = DenseCRF2D(image.shape[1], image.shape[0], 2)
        model.setUnaryEnergy(np.ascontiguousarray(-np.log(np.stack([1 - probability, probability])), dtype=np.float32))
        model.addPairwiseGaussian(sxy=3, compat=7)
        model.addPairwiseBilateral(sxy=50, srgb=5, rgbim=np.ascontiguousarray(image), compat=10)
    with watch.part("CRF: inference, fill, judge"):
        refined = fill_holes(np.argmax(np.array(model.inference(10)), axis=0).reshape(mask.shape) == 1)
        return refined, bool(refined.any() and mask_iou(refined[None], mask[None])[0, 0] >= 0.5)
