"""How well the masks of single images fit their ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from pycocotools import mask as mask_api

from cuts3d_cli.errors import Cuts3dError

MATCHED_AT = 0.5
"""IoU from which an object counts as matched."""

T = TypeVar("T")


@dataclass(frozen=True)
class Fit:
    """Masks of an image against its ground truth.

    Attributes:
        overlap: mean over the objects of the highest IoU that any mask has with the object.
        n_matched: objects with a mask of IoU 0.5 or more.
        n_objects: objects.
    """

    overlap: float
    n_matched: int
    n_objects: int

    def __str__(self) -> str:
        return f"overlap {self.overlap:.2f}, {self.n_matched} of {self.n_objects} objects matched"


def fit(masks: Sequence[Mapping[str, Any]], truth: Sequence[Mapping[str, Any]]) -> Fit | None:
    """Compare run-length masks with those of the ground truth; None without objects.

    Raises:
        Cuts3dError: masks of another size than the ground truth's.
    """
    if not truth:
        return None
    sizes = {tuple(code["size"]) for code in (*masks, *truth)}
    if len(sizes) > 1:
        raise Cuts3dError("masks of another size than the ground truth", found=sorted(sizes))
    if not masks:
        return Fit(0.0, 0, len(truth))
    best = np.asarray(mask_api.iou(list(masks), list(truth), [0] * len(truth))).max(axis=0)
    return Fit(float(best.mean()), int((best >= MATCHED_AT).sum()), len(truth))


def best_and_worst(scored: Iterable[tuple[T, Fit]], n: int) -> tuple[list[tuple[T, Fit]], list[tuple[T, Fit]]]:
    """The ``n`` best, best first, and the ``n`` worst, worst first; none is in both."""
    ranked = sorted(scored, key=lambda item: -item[1].overlap)
    n_worst = min(n, len(ranked) // 2)
    return ranked[: min(n, len(ranked) - n_worst)], ranked[::-1][:n_worst]
