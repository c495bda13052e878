"""Features out of the shape of the scene, by itself or joined with a ViT: see `core.geometry_features`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cuts3d_cli.backends.base import FeatureBackend, Surface, feature_backend
from cuts3d_cli.config import FeaturesConfig
from cuts3d_cli.core.geometry import depth_to_grid
from cuts3d_cli.core.geometry_features import geometry_features


class GeometryFeatures:
    """Feature backend ``geometry``.

    Args:
        grid: patches along a side.
        focal: focal length as a fraction of the image's longer side.
        semantic: a backend on the same grid, whose cosine weighs neighbouring patches too; or None.
    """

    def __init__(self, *, grid: int, focal: float, semantic: FeatureBackend | None = None):
        self.grid, self.focal, self.semantic = grid, focal, semantic
        joined = "" if semantic is None else f", joined with {semantic.description}"
        self.batch_size = 1
        self.description = f"geometry: parts of what stands on the main plane{joined}"

    def extract(self, working: np.ndarray, surface: Surface) -> np.ndarray:
        """Features (C, G, G) float32 of the working image (S, S, 3) uint8 and its depth; see `geometry_features`."""
        likeness = None if self.semantic is None else self.semantic.extract(working)
        distance = patch_distance(surface, self.grid)
        return geometry_features(distance, focal=self.focal, aspect=surface.aspect, likeness=likeness)

    def extract_batch(self, working: np.ndarray, surfaces: Sequence[Surface]) -> np.ndarray:
        """Features (B, C, G, G) float32 of the working images (B, S, S, 3) uint8 and their depth."""
        return np.stack([self.extract(image, surface) for image, surface in zip(working, surfaces, strict=True)])


def load(config: FeaturesConfig, *, device: str = "auto") -> GeometryFeatures:
    """The backend with the settings of ``config``; ``device`` is for the backend it joins.

    Raises:
        ConfigError: the backend that ``config.join`` names does not fit the patch size.
        ModelError: weights are missing, cannot be fetched or belong to another model.
    """
    semantic = None
    if config.join is not None:
        joined = {**config.model_dump(), "backend": config.join, "join": None}
        semantic = feature_backend(FeaturesConfig.model_validate(joined), device=device)
    return GeometryFeatures(grid=config.grid, focal=config.focal, semantic=semantic)


def patch_distance(surface: Surface, grid: int) -> np.ndarray:
    """Distance of every patch: the median of its pixels.

    Args:
        surface: depth of the working image.
        grid: patches along a side.

    Returns:
        (grid, grid) float32; NaN where less than half of a patch's pixels have a reading.
    """
    read = depth_to_grid(surface.reading.astype(np.float32), (grid, grid)) >= 0.5
    return np.where(read, depth_to_grid(surface.distance, (grid, grid)), np.float32(np.nan))
