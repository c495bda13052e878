"""The lines of a status."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HELD_OUT = "held-out"


@dataclass(frozen=True)
class Row:
    """One line of the status.

    Attributes:
        stage: a stage, or another step of a run.
        present, current, total: its shards that are there, that need not be made again, and all.
        counts: how the images ended, or what there is.
        why: why it is stale, or what else there is to say.
        method: empty for what all methods share.
        images: ``HELD_OUT``, or empty for the training images.
    """

    stage: str
    present: int
    current: int
    total: int
    counts: str
    why: str
    method: str = ""
    images: str = ""


@dataclass(frozen=True)
class SetStatus:
    """The masks of a set of images.

    Attributes:
        rows: a line for the image list and for each stage.
        stale: the methods whose merged masks are missing or made again.
        relisted: whether the image list is missing or made again.
        images: hash of the images as they are now.
        image_root: their folder, as the image list has it.
    """

    rows: list[Row]
    stale: set[str]
    relisted: bool
    images: str
    image_root: Path = Path()
