"""Mask R-CNN: the small detector without the cascade."""

from __future__ import annotations

from typing import Any

from cuts3d_cli.config import TrainConfig
from cuts3d_cli.detector.configs import embedded_cascade, parts


def build(train: TrainConfig) -> dict[str, Any]:
    """As :func:`embedded_cascade.build`, with one box stage."""
    return parts.without_cascade(embedded_cascade.build(train))
