"""COCO annotations over a picture of their image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cuts3d_cli.report.overlay import overlay, resized_masks
from cuts3d_cli.store.coco import cut_of, decode_mask, score_of


def cut_slots(found: Sequence[Mapping[str, Any]]) -> list[int]:
    """Which cut (from 0) each COCO annotation of an image comes from; their order where that is unknown."""
    cuts = [cut_of(entry) for entry in found]
    known = None not in cuts and len(set(cuts)) == len(cuts)
    return cuts if known else list(range(len(found)))


def decoded(codes: Sequence[Mapping[str, Any]], size_hw: tuple[int, int]) -> np.ndarray:
    """Run-length masks at the size of a picture, (N, *size_hw) bool."""
    masks = [resized_masks(decode_mask(code)[None], *size_hw)[0] for code in codes]
    return np.array(masks, bool).reshape(-1, *size_hw)


STABILITY = "stability"
"""What the score of pseudo-masks is: the mean Spatial Confidence, how far a cut stays the same as ``tau_knn`` falls
(Eq. 4). It does not tell how likely it is that the mask is an object."""

PROBABILITY = "crf_probability"
"""What it is with ``crf.confidence: crf`` (Table 11b)."""


def score_name(config: Mapping[str, Any]) -> str | None:
    """What the score of pseudo-masks made with these settings (by section) is; None where no depth was used.

    Settings that are not known count as those of CutS3D.
    """
    if config.get("crf", {}).get("confidence") == "crf":
        return PROBABILITY
    return STABILITY if not config or config.get("localcut", {}).get("local_cut") else None


def drawn(
    rgb: np.ndarray, found: Sequence[Mapping[str, Any]], *, scored: bool = True, score_name: str = ""
) -> np.ndarray:
    """Annotations over a picture (H, W, 3) of any size, in the colours and with the numbers of their cuts.

    Args:
        rgb: the picture.
        found: the annotations; one without a score counts as certain.
        scored: write the scores too.
        score_name: what is written before them.
    """
    slots = cut_slots(found)
    n = max(slots, default=-1) + 1
    masks, scores = np.zeros((n, *rgb.shape[:2]), bool), np.zeros(n)
    for slot, mask, entry in zip(slots, decoded([e["segmentation"] for e in found], rgb.shape[:2]), found, strict=True):
        masks[slot], scores[slot] = mask, score_of(entry)
    return overlay(rgb, masks, scores if scored else None, score_name=score_name)
