"""Points of the patch grid in 3D (Sec. 3.2)."""

from __future__ import annotations

import numpy as np


def check_depth(depth: np.ndarray) -> None:
    """Raise ValueError unless ``depth`` is a finite map (H, W)."""
    if depth.ndim != 2 or 0 in depth.shape:
        raise ValueError(f"depth: expected (H, W), got shape {depth.shape}")
    if not np.isfinite(depth).all():
        raise ValueError("depth: expected finite values, got NaN or infinity")


def nearest_indices(length: int, new_length: int) -> np.ndarray:
    """Where each of ``new_length`` samples reads among ``length``: the one that holds its centre, (new_length,) int."""
    return (2 * np.arange(new_length) + 1) * length // (2 * new_length)


def depth_to_grid(depth: np.ndarray, grid_hw: tuple[int, int]) -> np.ndarray:
    """Depth of every patch: the median of its pixels.

    The mean of a patch on a depth edge lies between two surfaces and would bridge them in the k-NN graph;
    the median takes the surface that holds more of the patch.

    Args:
        depth: (H, W) float. Where H is no multiple of h, rows are repeated evenly (nearest) to reach one;
            so for columns.
        grid_hw: rows h and columns w of the patch grid.

    Returns:
        (h, w) float32.

    Raises:
        ValueError: a depth map that is not (H, W) or not finite.
    """
    check_depth(depth)
    if depth.shape == tuple(grid_hw):
        return depth.astype(np.float32)
    (h, w), (height, width) = grid_hw, depth.shape
    rows_each, columns_each = -(-height // h), -(-width // w)
    rows, columns = nearest_indices(height, h * rows_each), nearest_indices(width, w * columns_each)
    whole = depth if len(rows) == height and len(columns) == width else depth[np.ix_(rows, columns)]
    blocks = whole.astype(np.float32).reshape(h, rows_each, w, columns_each).swapaxes(1, 2)
    return np.median(blocks.reshape(h, w, -1), axis=2).astype(np.float32)


def to_distance(depth: np.ndarray, near_far: np.ndarray, *, relative_range: float) -> np.ndarray:
    """Distances along the optical axis out of normalised depth.

    Args:
        depth: (H, W) float in [0, 1].
        near_far: (2,) the distances that 0 and 1 stand for; NaN where depth is 1 - inverse depth, normalised, as models
            of relative depth and disparity give it: known up to the scale and shift of its inverse.
        relative_range: distance of 1 over that of 0, assumed in that case. A wrong one bends no plane, since planes are
            planes in inverse depth too; it stretches the scene in depth.

    Returns:
        (H, W) float, in the unit of ``near_far``, or in distances of the nearest point.
    """
    near, far = near_far
    if np.isfinite(near):
        return near + depth * (far - near)
    return 1 / (1 - depth * (1 - 1 / relative_range))


def grid_points(depth: np.ndarray, grid_hw: tuple[int, int], *, xy_extent: float) -> np.ndarray:
    """Unproject the patch grid: x and y even over [0, xy_extent], z the depth of the patch (Sec. 3.2).

    Args:
        depth: (H, W) float in [0, 1].
        grid_hw: rows and columns of the patch grid.
        xy_extent: extent of x and y relative to z.

    Returns:
        (n, 3) float64: x, y, z of the patches, row by row.

    Raises:
        ValueError: a depth map that is not (H, W) or not finite.
    """
    h, w = grid_hw
    y, x = np.meshgrid(np.linspace(0, xy_extent, h), np.linspace(0, xy_extent, w), indexing="ij")
    return np.stack([x.ravel(), y.ravel(), depth_to_grid(depth, grid_hw).ravel()], axis=1).astype(np.float64)


def to_background(points: np.ndarray, inside: np.ndarray, *, background_z: float) -> np.ndarray:
    """Move the points outside a mask to the background plane (Sec. 3.2).

    Args:
        points: (n, 3).
        inside: (n,) or (h, w) bool, the semantic mask.
        background_z: depth of the plane.

    Returns:
        (n, 3), a copy.
    """
    moved = points.copy()
    moved[~np.ravel(inside), 2] = background_z
    return moved
