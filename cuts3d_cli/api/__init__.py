"""The library: masks of an image, a trained detector and mask files, in a few lines; importable as ``cuts3d``.

Models and everything heavy are imported where they are needed. Errors that a caller can act on are `Cuts3dError` and
its kinds (`ConfigError`, `ImageError`, `StoreError`, `ModelError`), one line each.
"""

from cuts3d_cli.api.detection import Detections, Detector, load_detector
from cuts3d_cli.api.masks import ImageMasks, MaskSet, read_masks
from cuts3d_cli.api.segmentation import Segmentation, mask_settings, segment
from cuts3d_cli.config import Config, preset_names

__all__ = [
    "Config",
    "Detections",
    "Detector",
    "ImageMasks",
    "MaskSet",
    "Segmentation",
    "load_detector",
    "mask_settings",
    "presets",
    "read_masks",
    "segment",
]


def presets() -> list[str]:
    """Names of the shipped presets."""
    return preset_names()
