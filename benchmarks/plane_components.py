"""The simple baseline for sensor depth: fit the dominant plane, split what stands on it at depth discontinuities."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from cuts3d_cli.core.geometry_features import main_plane, unproject

ABOVE_M = 0.008
"""Height from which a pixel stands on the plane."""

STEP_M = 0.015
"""Difference of depth between neighbouring pixels that separates them."""

LEAST = 0.002
"""Smallest fraction of the image that is an object."""

REACH_PX = 6
"""How far a component grows back over the pixels beside steps."""


def plane_components(depth_m: np.ndarray, *, focal: float) -> list[np.ndarray]:
    """Objects of a depth map, the largest first.

    Args:
        depth_m: (H, W) in metres, 0 where there is no reading.
        focal: focal length as a fraction of the image's longer side.

    Returns:
        (H, W) bool each.
    """
    read = depth_m > 0
    points = unproject(np.where(read, depth_m, 1.0), focal=focal, aspect=depth_m.shape[1] / depth_m.shape[0])
    plane = main_plane(points[read][:: max(1, np.count_nonzero(read) // 5000)])
    if plane is None:
        return []
    standing = read & (plane.height(points) > ABOVE_M)
    inner = ndimage.binary_opening(standing & ~_steps(np.where(read, depth_m, np.nan)), np.ones((3, 3)))
    label, n = ndimage.label(inner)
    away, nearest = ndimage.distance_transform_edt(label == 0, return_indices=True)
    label = np.where(standing & (away < REACH_PX), label[tuple(nearest)], 0)
    found = [label == number for number in range(1, n + 1)]
    return sorted((mask for mask in found if mask.mean() > LEAST), key=np.count_nonzero, reverse=True)


def _steps(depth_m: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels on either side of a step."""
    steps = np.zeros(depth_m.shape, dtype=bool)
    down, right = np.abs(np.diff(depth_m, axis=0)) > STEP_M, np.abs(np.diff(depth_m, axis=1)) > STEP_M
    steps[1:] |= down
    steps[:-1] |= down
    steps[:, 1:] |= right
    steps[:, :-1] |= right
    return steps
