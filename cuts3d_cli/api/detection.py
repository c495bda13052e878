"""A trained detector on single images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cuts3d_cli.api.inputs import ImageLike, described, pixels
from cuts3d_cli.config import resolve
from cuts3d_cli.errors import missing_package

if TYPE_CHECKING:
    from cuts3d_cli.detector import inference


@dataclass(frozen=True, repr=False, eq=False)
class Detections:
    """What a detector found in an image, best first.

    Attributes:
        rgb: (H, W, 3) uint8, the image.
        masks: (M, H, W) bool; none is empty.
        scores: (M,) float32 in [0, 1].
        boxes: (M, 4) float64: left, top, width, height in px, as detected.
        labels: (M,) int64, places in ``classes``; all 0 for a class-agnostic detector.
        classes: names of the detector's classes.
    """

    rgb: np.ndarray
    masks: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.masks)

    def __repr__(self) -> str:
        return f"<Detections {described(self.masks, self.scores)}>"

    def overlay(self) -> np.ndarray:
        """The image with its masks and scores drawn over it, (H, W, 3) uint8."""
        from cuts3d_cli.report.overlay import overlay

        return overlay(self.rgb, self.masks, self.scores.tolist())


@dataclass(frozen=True)
class Detector:
    """A trained detector; `load_detector` makes one.

    Attributes:
        classes: names of its classes; one of a class-agnostic detector.
        meta: how it was trained.
    """

    classes: tuple[str, ...]
    meta: Mapping[str, Any] = field(repr=False)
    _model: inference.Detector = field(repr=False)

    def predict(self, rgb: ImageLike) -> Detections:
        """Detect the objects of an image: (H, W, 3) uint8 RGB, a Pillow image, or the path of an image file.

        Raises:
            ImageError: the image cannot be used.
        """
        from cuts3d_cli.detector.inference import detections_of

        image = pixels(rgb)
        found = detections_of(self._model, image)
        return Detections(image, found.masks, found.scores, found.boxes, found.labels, self.classes)


def load_detector(path: str | os.PathLike[str], *, device: str = "auto", **settings: Any) -> Detector:
    """Load a detector that ``cuts3d train``, ``selftrain`` or ``compare`` wrote, or one in CutLER's format.

    Args:
        path: checkpoint.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        settings: of the section ``predict``: ``score_threshold``, below which detections are omitted, and
            ``max_detections``, those kept per image.

    Raises:
        ConfigError: an unknown setting or device.
        ModelError: the checkpoint is missing, damaged or not a detector.
        Cuts3dError: a package is missing.
    """
    predict = resolve({"preset": "embedded", "predict": settings}, source="settings").predict
    try:
        from cuts3d_cli.backends.torch_tools import resolve_device
        from cuts3d_cli.detector.inference import categories_of, load_model

        model = load_model(Path(path), predict, resolve_device(device))
    except ModuleNotFoundError as error:
        raise missing_package(error) from error
    return Detector(tuple(category["name"] for category in categories_of(model.meta)), model.meta, model)
