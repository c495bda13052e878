"""Mask R-CNN: the paper's detector without the cascade, as CutLER's second configuration."""

from __future__ import annotations

from typing import Any

from cuts3d_cli.config import TrainConfig
from cuts3d_cli.detector.configs import paper_cascade, parts


def build(train: TrainConfig) -> dict[str, Any]:
    """As :func:`paper_cascade.build`, with one box stage."""
    return parts.without_cascade(paper_cascade.build(train))
