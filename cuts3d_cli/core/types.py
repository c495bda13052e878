"""The cuts of one image and the outcome of each attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Outcome = Literal["kept", "overlap", "small", "covered", "rest", "uniform", "few", "stopped"]
"""Outcome of an attempt: ``kept``; rejected for its ``overlap`` with the previous mask, as too ``small``, or as
``covered`` by earlier ones; the end of the search because only the ``rest`` of the image was left, the graph was
``uniform`` or too ``few`` patches remained; ``stopped``: not attempted, as the search had ended."""


@dataclass(frozen=True)
class Attempt:
    """One of the N attempts: its outcome, the eigensolver that ran, named as in `ncut.second_eigenvector` (None: none
    ran), whether the corner rule flipped the sides, and the fraction of the patches that its candidate covered."""

    outcome: Outcome
    solver: str | None = None
    flipped: bool = False
    area: float = 0.0


@dataclass(frozen=True)
class Cuts:
    """Instances of one image on the patch grid; an empty slot is an all-False mask.

    Attributes:
        semantic: (N, h, w) bool, NCut's foreground; kept for rejected attempts too.
        instance: (N, h, w) bool, the instance within it; the instances are disjoint.
        terminals: (N, 2) int32, flat indices of source and sink; -1: none.
        fiedler: (N, h, w) float32, second eigenvector, max |x| = 1; 0 at removed patches and in slots not attempted.
        contrast: (N,) float32, see `quality.contrast`; 0 in an empty slot.
        info: N attempts.
    """

    semantic: np.ndarray
    instance: np.ndarray
    terminals: np.ndarray
    fiedler: np.ndarray
    contrast: np.ndarray
    info: tuple[Attempt, ...]

    def __post_init__(self) -> None:
        n, h, w = self.instance.shape
        expected = {
            "semantic": ((n, h, w), np.bool_),
            "instance": ((n, h, w), np.bool_),
            "terminals": ((n, 2), np.int32),
            "fiedler": ((n, h, w), np.float32),
            "contrast": ((n,), np.float32),
        }
        for name, (shape, dtype) in expected.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(f"{name}: expected {shape} {np.dtype(dtype)}, got {array.shape} {array.dtype}")
        if len(self.info) != n:
            raise ValueError(f"info: expected {n} attempts, got {len(self.info)}")

    @property
    def found(self) -> np.ndarray:
        """(N,) bool: the slots that hold an instance."""
        return np.asarray(self.instance.any(axis=(1, 2)))
