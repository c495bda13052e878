"""The permutohedral lattice's geometry and the positions of pixels, for `permutohedral` and `permutohedral_torch`."""

from __future__ import annotations

import numpy as np

from cuts3d_cli.errors import Cuts3dError

F32 = np.float32

LARGEST_CODE = 2**62
"""Vertices are identified by one int64."""


def axis_scales(n_dims: int) -> np.ndarray:
    """(d) float32 by which positions are scaled before they are put onto the lattice's hyperplane.

    With them the blur has the variance of the unit Gaussian (Adams et al. 2010, Sec. 3). They are rounded
    twice: a position on the border of simplices falls into one of them by the last bit, and then into the one that
    pydensecrf takes.
    """
    axes = np.arange(1, n_dims + 1)
    return (np.float64(F32(np.sqrt(2 / 3) * (n_dims + 1))) / np.sqrt(axes * (axes + 1))).astype(F32)


def code_steps(extents: np.ndarray, scales: np.ndarray) -> tuple[np.ndarray, int]:
    """What a vertex's code grows by along each direction of the lattice, and how many codes there may be.

    A step along direction j adds d to coordinate j and takes 1 from the others. Every vertex is a sum of steps along 1
    to d, and its code the number whose digits count them; steps along all directions sum up to none.

    Args:
        extents: (d) float, largest less smallest position along each axis.
        scales: of `axis_scales`.

    Returns:
        steps: (d + 1) int64.
        n_codes: bound on the difference of two codes.

    Raises:
        Cuts3dError: more vertices than an int64 can tell apart.
    """
    n_dims = len(scales)
    extents = extents.astype(np.float64) * scales
    # Coordinate j is the sum of the later axes less j times axis j; a vertex is less than d + 1 from its positions, and
    # a neighbour d further.
    later = np.append(np.cumsum(extents[::-1])[::-1], 0)
    spans = later + np.append(0, np.arange(1, n_dims + 1) * extents) + 4 * (n_dims + 1)
    digits = np.ceil((spans[1:] + spans[0]) / (n_dims + 1)) + 1
    if (n_codes := np.prod(digits)) > LARGEST_CODE:
        raise Cuts3dError(
            "the kernels of the CRF are too narrow for the size of the image",
            expected=f"up to {LARGEST_CODE:.1g} lattice points",
            found=f"{n_codes:.1g}",
            hint="use larger standard deviations: crf.bilateral_srgb, bilateral_sxy, gaussian_sxy",
        )
    radix = np.cumprod(np.append(1, digits[:-1])).astype(np.int64)
    return np.append(-radix.sum(), radix), int(n_codes)


def pixel_positions(size_hw: tuple[int, int], deviation: float) -> np.ndarray:
    """x and y of each pixel, row by row, in units of a standard deviation in px: (2, N) float32."""
    y, x = np.indices(size_hw, dtype=F32).reshape(2, -1)
    return np.stack([x, y]) / F32(deviation)


def pixel_features(image: np.ndarray, sxy: float, srgb: float) -> np.ndarray:
    """Place and colour of each pixel of (H, W, 3) uint8, in units of their standard deviations: (5, N) float32."""
    return np.concatenate([pixel_positions(image.shape[:2], sxy), image.reshape(-1, 3).T / F32(srgb)])
