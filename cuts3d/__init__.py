"""Unsupervised instance segmentation (CutS3D, ICCV 2025) in three lines.

    import cuts3d

    found = cuts3d.segment("photo.jpg")
    found.masks, found.scores, found.confidence

Names are imported from ``cuts3d_cli.api`` when first used (PEP 562), so that ``import cuts3d`` costs next to nothing.
"""

from typing import TYPE_CHECKING, Any

from cuts3d_cli import __version__
from cuts3d_cli.errors import ConfigError, Cuts3dError, ImageError, ModelError, StoreError

if TYPE_CHECKING:
    from cuts3d_cli.api import (
        Config,
        Detections,
        Detector,
        ImageMasks,
        MaskSet,
        Segmentation,
        load_detector,
        presets,
        read_masks,
        segment,
    )

__all__ = [
    "Config",
    "ConfigError",
    "Cuts3dError",
    "Detections",
    "Detector",
    "ImageError",
    "ImageMasks",
    "MaskSet",
    "ModelError",
    "Segmentation",
    "StoreError",
    "__version__",
    "load_detector",
    "presets",
    "read_masks",
    "segment",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cuts3d_cli import api

    return globals().setdefault(name, getattr(api, name))


def __dir__() -> list[str]:
    return __all__
