"""What a depth model and a feature model must do, and the table of their names.

A backend is named in the configuration (``depth.backend``, ``features.backend``) or on the
command line. Its module is imported when it is asked for, so that listing names costs nothing and
an installation without torch still runs the embedded backends.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from cuts3d_cli.errors import ConfigError

if TYPE_CHECKING:  # numpy too: the commands' help reads these tables before --threads is known
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
    """Describes each patch of the working image by a vector whose cosine is the affinity (Sec. 3.1)."""

    description: str
    """Model, and which of its tokens the vectors are, in words; stored with the features."""

    def extract(self, working: np.ndarray) -> np.ndarray:
        """Features (C, G, G) float32 of the working image (S, S, 3) uint8, G = S / patch size."""
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


class DepthFeatureBackend(Protocol):
    """As `FeatureBackend`, from the depth of the image as well."""

    description: str

    def extract(self, working: np.ndarray, surface: Surface) -> np.ndarray:
        """Features (C, G, G) float32 of the working image (S, S, 3) uint8 and its depth."""
        ...


class Entry(NamedTuple):
    """A row of the name table: module with a ``load`` function, a line for help texts, whether depth is needed."""

    module: str
    about: str
    needs_depth: bool = False


FEATURES: dict[str, Entry] = {
    "kernel": Entry("features_kernel", "embedded colour kernel; no weights, no download"),
    "geometry": Entry("features_geometry", "shape of what stands on the main plane; needs depth, no weights", True),
    "dino-vits8": Entry("features_vit", "DINO ViT-S/8 keys (timm, Apache-2.0)"),
    "dino-vitb8": Entry("features_vit", "DINO ViT-B/8 keys (timm, Apache-2.0); CutLER's features"),
    "dino-vits16": Entry("features_vit", "DINO ViT-S/16 keys (timm, Apache-2.0)"),
    "dino-vitb16": Entry("features_vit", "DINO ViT-B/16 keys (timm, Apache-2.0)"),
    "diffncuts": Entry("features_vit", "DiffNCuts ViT-S keys, the paper's features; needs features.weights"),
}

DEPTH: dict[str, Entry] = {
    "depth-anything-v2-small": Entry("depth_models", "Depth Anything V2 Small, inverse depth (Apache-2.0)"),
    "depth-anything-v2-base": Entry("depth_models", "Depth Anything V2 Base, inverse depth (CC-BY-NC-4.0)"),
    "depth-anything-v2-large": Entry("depth_models", "Depth Anything V2 Large, inverse depth (CC-BY-NC-4.0)"),
    "depth-anything-v2-metric-indoor": Entry("depth_models", "Depth Anything V2 Small, metres, indoor (Apache-2.0)"),
    "depth-anything-v2-metric-outdoor": Entry("depth_models", "Depth Anything V2 Small, metres, outdoor (Apache-2.0)"),
    "zoedepth": Entry("depth_models", "ZoeDepth NYU+KITTI, metres (MIT); the paper's depth"),
    "midas-dpt-large": Entry("depth_models", "MiDaS DPT-Large, inverse depth (Apache-2.0)"),
}

FILES = "files"
"""The depth backend that reads maps from a folder (``depth_files``) and predicts nothing."""


def feature_names() -> list[str]:
    """Names accepted by ``features.backend``."""
    return list(FEATURES)


def needs_depth(backend: str) -> bool:
    """Whether a feature backend reads the depth of the image; False for a name that is none."""
    return backend in FEATURES and FEATURES[backend].needs_depth


def depth_names() -> list[str]:
    """Names accepted by ``depth.backend``."""
    return [FILES, *DEPTH]


def feature_backend(config: FeaturesConfig, *, device: str = "auto") -> FeatureBackend | DepthFeatureBackend:
    """Build the feature backend that ``config.backend`` names.

    Raises:
        ConfigError: no such name, or a patch size the model does not have.
        ModelError: weights are missing, cannot be fetched or belong to another model.
    """
    entry = _entry(FEATURES, config.backend, "features.backend", feature_names())
    return _module(entry).load(config, device=device)


def depth_backend(config: DepthConfig, *, device: str = "auto") -> DepthBackend:
    """Build the depth model that ``config.backend`` names (any name but ``files``).

    Raises:
        ConfigError: no such name.
        ModelError: weights are missing, cannot be fetched or belong to another model.
    """
    entry = _entry(DEPTH, config.backend, "depth.backend", depth_names())
    return _module(entry).load(config, device=device)


def _entry(table: dict[str, Entry], name: str, key: str, choices: list[str]) -> Entry:
    if name in table:
        return table[name]
    close = get_close_matches(name, choices, n=1)
    raise ConfigError(
        f"config key {key}: no backend has this name",
        expected=f"one of {', '.join(choices)}",
        found=repr(name),
        hint=f"did you mean {close[0]}?" if close else None,
    )


def _module(entry: Entry):
    return import_module(f"cuts3d_cli.backends.{entry.module}")
