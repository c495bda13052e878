"""The embedded features: colour under a Gaussian kernel, background drawn together; no weights, no network.

They stand in for a self-supervised ViT where none can be had. Two patches are alike when their
colours are; what a photograph's border is made of counts as background and is drawn together.

1. Lab colour is smoothed and averaged per patch, lightness weighted down (shading is no object).
2. A patch's *distance from the border* is the colour change that the easiest path from the image
   border must cross (a geodesic distance on the patch grid). Tables, walls and floors reach the
   border and are near it however their colours differ; objects that stand free are far.
3. Descriptors are scaled by that distance, in [0, 1]: background patches fall together, foreground
   patches keep their own colours, and one further channel tells both apart.
4. The feature vectors are the pivoted Cholesky factor of the Gaussian kernel of the descriptors,
   so that the inner product of two patches is their kernel in (0, 1]. Channels belong to their
   image: features of different images cannot be compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cuts3d_cli.config import FeaturesConfig

SMOOTHING_PX = 2.0
"""Standard deviation of the Gaussian over Lab before averaging: against texture, but well below the patch
size, or a fringe of mixed patches around an object becomes a segment of its own."""

QUIET_SHARE = 0.6
"""Colour steps between neighbouring patches up to this quantile are the surfaces' own unrest and
cost nothing on a path from the border."""

PATH_LIGHTNESS = 0.5
"""Weight of lightness on a path from the border; more than among colours, as shadows end softly."""

FAR_SHARE = 0.5
"""A patch is foreground in full at this fraction of the image's largest distances (98th percentile)."""

FAR_LEAST = 10.0
"""... but not below this distance (Lab units): an image without objects has no foreground."""

RARE_SHARE, RARE_LIKE, RARE_RUN = 0.1, 12.0, 4
"""A run of at least RARE_RUN border patches that are like (within RARE_LIKE Lab units) less than
RARE_SHARE of the border is an object cut off by the border, not background."""

FOREGROUND_OFFSET = 5.0
"""Distance (descriptor units) that lies between background and foreground besides their colours."""


class KernelFeatures:
    """Feature backend ``kernel``; the keywords are those of ``config.features``.

    Args:
        patch_size: side of a patch in pixels.
        kernel_width: standard deviation of the Gaussian kernel in Lab units.
        kernel_lightness: weight of lightness against the two colour axes.
        kernel_background: how far background patches are drawn together, 0 (not) to 1 (to a point).
        kernel_dims: channels, the rank of the kernel's approximation.
    """

    description = "kernel: colour under a Gaussian kernel, background drawn together"
    batch_size = 1

    def __init__(
        self,
        *,
        patch_size: int,
        kernel_width: float,
        kernel_lightness: float,
        kernel_background: float,
        kernel_dims: int,
    ):
        self.patch_size = patch_size
        self.kernel_width, self.kernel_dims = kernel_width, kernel_dims
        self.kernel_lightness, self.kernel_background = kernel_lightness, kernel_background

    def extract(self, working: np.ndarray) -> np.ndarray:
        """Features (C, G, G) float32 of the working image (S, S, 3) uint8; inner products in (0, 1]."""
        grid = working.shape[0] // self.patch_size
        points = self.descriptors(working).reshape(grid * grid, -1) / self.kernel_width
        return gaussian_factor(points, self.kernel_dims).T.reshape(-1, grid, grid)

    def extract_batch(self, working: np.ndarray) -> np.ndarray:
        """Features (B, C, G, G) float32 of the working images (B, S, S, 3) uint8."""
        return np.stack([self.extract(image) for image in working])

    def descriptors(self, working: np.ndarray) -> np.ndarray:
        """Descriptors (G, G, 4) float32 in Lab units, whose distances the kernel takes."""
        colour = patch_colour(working, working.shape[0] // self.patch_size)
        own = colour * np.float32([self.kernel_lightness, 1, 1])
        far = foreground(colour)[..., None]
        middle = np.median(own[far[..., 0] <= np.median(far)], axis=0)
        scale = 1 - self.kernel_background * (1 - far)
        offset = self.kernel_background * FOREGROUND_OFFSET * far
        return np.concatenate([scale * (own - middle), offset], axis=2)


def load(config: FeaturesConfig, *, device: str = "auto") -> KernelFeatures:
    """The backend with the settings of ``config``; runs on the CPU whatever ``device`` says."""
    return KernelFeatures(
        patch_size=config.patch_size,
        kernel_width=config.kernel_width,
        kernel_lightness=config.kernel_lightness,
        kernel_background=config.kernel_background,
        kernel_dims=config.kernel_dims,
    )


def patch_colour(rgb: np.ndarray, grid: int) -> np.ndarray:
    """Smoothed Lab colour (L 0 to 100) of every patch.

    Args:
        rgb: (S, S, 3) uint8.
        grid: patches along a side.

    Returns:
        (grid, grid, 3) float32.
    """
    import cv2

    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return cv2.resize(cv2.GaussianBlur(lab, (0, 0), SMOOTHING_PX), (grid, grid), interpolation=cv2.INTER_AREA)


def foreground(colour: np.ndarray) -> np.ndarray:
    """How far each patch is from the image border in terms of colour, 0 (background) to 1.

    Args:
        colour: (G, G, 3) Lab per patch.

    Returns:
        (G, G) float32 in [0, 1].
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    grid = colour.shape[0]
    points = (colour * np.float32([PATH_LIGHTNESS, 1, 1])).reshape(grid * grid, -1)
    if grid < 3:
        return np.zeros((grid, grid), np.float32)
    start, end = _neighbours(grid)
    step = np.linalg.norm(points[start] - points[end], axis=1)
    # A sparse graph drops edges of weight 0, hence the least cost.
    cost = np.maximum(step - np.quantile(step, QUIET_SHARE), 1e-4)
    graph = csr_array((cost, (start, end)), shape=(grid * grid, grid * grid))
    distance = dijkstra(graph, directed=False, indices=_background_border(points, grid), min_only=True)
    reference = max(FAR_SHARE * np.quantile(distance, 0.98), FAR_LEAST)
    return np.clip(distance / reference, 0, 1).reshape(grid, grid).astype(np.float32)


def gaussian_factor(points: np.ndarray, rank: int) -> np.ndarray:
    """Pivoted Cholesky factor F of the Gaussian kernel exp(-|p - q|^2 / 2), so that F F^T approximates it.

    Each step takes the point that is represented worst and makes it exact; the error of any entry
    is at most the largest residual left.

    Args:
        points: (n, d).
        rank: columns of the factor; zero where fewer suffice.

    Returns:
        (n, rank) float32.
    """
    points = points.astype(np.float64)
    factor = np.zeros((len(points), rank))
    residual = np.ones(len(points))
    for column in range(min(rank, len(points))):
        pivot = int(np.argmax(residual))
        if residual[pivot] < 1e-8:
            break
        kernel = np.exp(-0.5 * ((points - points[pivot]) ** 2).sum(axis=1))
        kernel -= factor[:, :column] @ factor[pivot, :column]
        factor[:, column] = kernel / np.sqrt(residual[pivot])
        residual = np.maximum(residual - factor[:, column] ** 2, 0)
    return factor.astype(np.float32)


def _neighbours(grid: int) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of the eight-neighbourhood of a square grid, once, as flat indices."""
    index = np.arange(grid * grid).reshape(grid, grid)
    pairs = [
        (index[:, :-1], index[:, 1:]),
        (index[:-1], index[1:]),
        (index[:-1, :-1], index[1:, 1:]),
        (index[:-1, 1:], index[1:, :-1]),
    ]
    return tuple(np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))


def _background_border(points: np.ndarray, grid: int) -> np.ndarray:
    """Flat indices of the border patches, less those of objects that the border cuts off."""
    from scipy.ndimage import binary_opening

    index = np.arange(grid * grid).reshape(grid, grid)
    ring = np.concatenate([index[0], index[1:, -1], index[-1, -2::-1], index[-2:0:-1, 0]])
    apart = np.linalg.norm(points[ring][:, None] - points[ring][None], axis=2)
    rare = (apart < RARE_LIKE).mean(axis=1) < RARE_SHARE
    if rare.all():
        return ring
    # Thrice around, so that runs across the ring's ends count whole; short ones are mixed patches.
    rare = binary_opening(np.tile(rare, 3), np.ones(RARE_RUN))[len(ring) : 2 * len(ring)]
    return ring[~rare]
