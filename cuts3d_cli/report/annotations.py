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


def drawn(rgb: np.ndarray, found: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Annotations over a picture (H, W, 3) of any size, in the colours and with the numbers of their cuts.

    An annotation without a score counts as certain.
    """
    slots = cut_slots(found)
    n = max(slots, default=-1) + 1
    masks, scores = np.zeros((n, *rgb.shape[:2]), bool), np.zeros(n)
    for slot, mask, entry in zip(slots, decoded([e["segmentation"] for e in found], rgb.shape[:2]), found, strict=True):
        masks[slot], scores[slot] = mask, score_of(entry)
    return overlay(rgb, masks, scores)
