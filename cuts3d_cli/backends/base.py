"""The protocols of depth and feature models, and building the one that a configuration names.

The module of a backend is imported on demand, so that an installation without torch can run the
embedded backends.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from cuts3d_cli.config.backends import AUTO, EMBEDDED, Entry, entry_of
from cuts3d_cli.errors import ModelError

if TYPE_CHECKING:
    import numpy as np

    from cuts3d_cli.config import DepthConfig, FeaturesConfig

Convention = Literal["metric", "inverse"]
"""``metric``: depth, far is large, any unit. ``inverse``: inverse depth or disparity, near is large."""


class DepthBackend(Protocol):
    """Predicts depth from one colour image (Sec. 3.1)."""

    description: str
    """Model, in words; stored with the depth."""
    convention: Convention

    def predict(self, rgb: np.ndarray, size: int) -> np.ndarray:
        """Raw depth of ``rgb`` (H, W, 3) uint8, as (size, size) float32 in the backend's convention."""
        ...


class FeatureBackend(Protocol):
    """Describes each patch of the working image by a vector whose cosine similarity is the affinity (Sec. 3.1)."""

    description: str
    """Model, and which of its tokens the vectors are, in words; stored with the features."""
    batch_size: int
    """Preferred batch size in images."""

    def extract(self, working: np.ndarray) -> np.ndarray:
        """Features (C, G, G) float32 of the working image (S, S, 3) uint8, G = S / patch size."""
        ...

    def extract_batch(self, working: np.ndarray) -> np.ndarray:
        """Features (B, C, G, G) float32 of the working images (B, S, S, 3) uint8."""
        ...


class Surface(NamedTuple):
    """Depth of a working image, for the backends that need it.

    Attributes:
        distance: (S, S) float32 along the optical axis, in any unit.
        reading: (S, S) bool, False where the distance is filled in.
        aspect: width of the image over its height, which the square working image has lost.
    """

    distance: np.ndarray
    reading: np.ndarray
    aspect: float


def surface_of(
    depth: np.ndarray, near_far: np.ndarray, reading: np.ndarray, *, relative_range: float, aspect: float
) -> Surface:
    """The surface of a working image from its normalised depth, as distances again.

    Args:
        depth: (S, S) float in [0, 1], 0 nearest, in the precision it is kept in.
        near_far: (2,) what 0 and 1 stand for; see `core.geometry.to_distance`.
        reading: (S, S) bool, False where the depth is filled in.
        relative_range: see `core.geometry.to_distance`.
        aspect: width of the image over its height.
    """
    from cuts3d_cli.core.geometry import to_distance

    distance = to_distance(depth.astype("float32"), near_far, relative_range=relative_range)
    return Surface(distance, reading & (distance > 0), aspect)


class DepthFeatureBackend(Protocol):
    """As `FeatureBackend`, from the depth of the image as well."""

    description: str
    batch_size: int

    def extract(self, working: np.ndarray, surface: Surface) -> np.ndarray:
        """Features (C, G, G) float32 of the working image (S, S, 3) uint8 and its depth."""
        ...

    def extract_batch(self, working: np.ndarray, surfaces: Sequence[Surface]) -> np.ndarray:
        """Features (B, C, G, G) float32 of the working images (B, S, S, 3) uint8 and their depth."""
        ...


WITHOUT_MODEL = "or take the package's own model (--set depth.backend=embedded), or the 2D method (--method maskcut)"
"""What remains where a depth model or a depth map is missing."""

EMBEDDED_WEIGHTS = Path(__file__).parent / "weights" / "depth_embedded.safetensors"
"""The head of the embedded depth model."""


def feature_backend(config: FeaturesConfig, *, device: str = "auto") -> FeatureBackend | DepthFeatureBackend:
    """Build the feature backend that ``config.backend`` names.

    Raises:
        ConfigError: an unknown name, or a patch size that the model does not support.
        ModelError: weights are missing, cannot be downloaded or belong to another model.
    """
    from cuts3d_cli.backends import architectures

    entry = entry_of("features", config.backend)
    if entry.module == "features_vit":
        architectures.ask_ahead(config.backend, config.weights)
    elif "join" in entry.uses and config.join:
        architectures.ask_ahead(config.join, config.weights)
    return _module(entry).load(config, device=device)


def missing_features(config: FeaturesConfig) -> ModelError | None:
    """Why the weights of the feature backend are not to be had, so far as it can be told at once; None otherwise."""
    name = config.join or config.backend
    if entry_of("features", name).module != "features_vit":
        return None
    from cuts3d_cli.backends import architectures

    return architectures.missing(name, config.weights)


def depth_backend(config: DepthConfig, *, device: str = "auto") -> DepthBackend:
    """Build the depth model that ``config.backend`` names; ``auto`` names the embedded one.

    Raises:
        ConfigError: an unknown name, or ``files``.
        ModelError: weights are missing, cannot be downloaded or belong to another model.
    """
    name = EMBEDDED if config.backend == AUTO else config.backend
    entry = entry_of("depth", name)
    from cuts3d_cli.backends import architectures, network

    if name == EMBEDDED:
        architectures.ask_ahead(architectures.EMBEDDED_BACKBONE)
    elif config.weights is None and (url := network.hub_to_ask()) is not None:
        network.begin_to_ask(url)
    return _module(entry).load(config, device=device)


def _module(entry: Entry):
    return import_module(f"cuts3d_cli.backends.{entry.module}")
