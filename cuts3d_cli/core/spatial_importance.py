"""Spatial Importance: where depth changes (Sec. 3.3, Eq. 1-2)."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from cuts3d_cli.core.geometry import check_depth, depth_to_grid
from cuts3d_cli.core.masks import resize_map

FLAT = 1e-6
"""A range of depth change up to this (depth is in [0, 1]) is the rounding of float32, not a change."""


def spatial_importance(
    depth: np.ndarray, grid_hw: tuple[int, int], *, beta: float, sigma: float, resolution: str
) -> np.ndarray:
    """Importance of every patch: dD = |G_sigma * D - D| (Eq. 1), normalised to [beta, 1] (Eq. 2).

    At resolution ``image``, Eq. 1 runs on the depth map and a patch takes the mean over its pixels, so that an edge
    counts wherever it crosses the patch; at ``grid`` it runs on depth at grid resolution. Eq. 2 follows on the grid,
    where its minimum and maximum are therefore taken. Multiplying depth by a constant changes nothing.

    Args:
        depth: (H, W) float, 0 nearest.
        grid_hw: rows and columns of the patch grid.
        beta: minimum importance, in (0, 1].
        sigma: standard deviation of the Gaussian in pixels of the resolution.
        resolution: image or grid.

    Returns:
        grid_hw float32 in [beta, 1]; beta everywhere where depth is flat.

    Raises:
        ValueError: a depth map that is not (H, W) or not finite, or an unknown resolution.
    """
    if resolution not in ("image", "grid"):
        raise ValueError(f"resolution: expected image or grid, got {resolution!r}")
    check_depth(depth)
    depth = depth.astype(np.float32) if resolution == "image" else depth_to_grid(depth, grid_hw)
    change = np.abs(gaussian_filter(depth, sigma, mode="nearest") - depth)  # Eq. 1
    if resolution == "image":
        change = resize_map(change, grid_hw)
    low, high = float(change.min()), float(change.max())
    if high - low <= FLAT:
        return np.full(grid_hw, beta, dtype=np.float32)
    importance = (1 - beta) * (change - low) / (high - low) + beta  # Eq. 2
    return np.clip(importance, beta, 1).astype(np.float32)
