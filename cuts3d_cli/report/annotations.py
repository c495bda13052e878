"""COCO annotations over a picture of their image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cuts3d_cli.report.overlay import overlay, resized_masks
from cuts3d_cli.store.coco import cut_of, decode_mask, quality_of, score_of

N_TOP = 5
"""Detections drawn of an image none of whose detections reaches the minimum score."""


def cut_slots(found: Sequence[Mapping[str, Any]]) -> list[int]:
    """Which cut (from 0) each COCO annotation of an image comes from; their order where that is unknown."""
    cuts = [cut_of(entry) for entry in found]
    known = None not in cuts and len(set(cuts)) == len(cuts)
    return cuts if known else list(range(len(found)))


def counted(things: Sequence, name: str) -> str:
    """``1 mask`` or ``3 masks``."""
    return f"{len(things)} {name}" + ("" if len(things) == 1 else "s")


def shown_detections(
    found: Sequence[Mapping[str, Any]], min_score: float, *, limit: str = "report.min_score"
) -> tuple[list[Mapping[str, Any]], str]:
    """The detections of an image to draw, most confident first, and their caption.

    Those with at least ``min_score``, a setting called ``limit``; where none has (`none_reaches`), the `N_TOP` most
    confident, so that a weak detector can be judged too.
    """
    ranked = sorted(found, key=score_of, reverse=True)
    if not none_reaches(found, min_score):
        passed = [entry for entry in ranked if score_of(entry) >= min_score]
        return passed, f"{len(passed)} of {counted(found, 'detection')} shown; {limit} {min_score:g}"
    top = ranked[:N_TOP]
    number = f"{len(top)} " if len(top) > 1 else ""
    return top, (
        f"none of {counted(found, 'detection')} reaches {limit} {min_score:g}, highest "
        f"{score_of(top[0]):.2f}; the {number}most confident drawn"
    )


def none_reaches(found: Sequence[Mapping[str, Any]], min_score: float) -> bool:
    """Whether an image has detections, but none with a score of at least ``min_score``."""
    return bool(found) and max(map(score_of, found)) < min_score


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


def score_text(found: Sequence[Mapping[str, Any]], name: str | None) -> str:
    """Caption on the buttons below a picture of pseudo-masks; empty where they have no score (`score_name`)."""
    return f"; buttons: cut and {name.replace('_', ' ')}" if name and found else ""


def numbers_text(found: Sequence[Mapping[str, Any]], name: str | None) -> str:
    """Quality and score of each mask by the number of its cut, as a caption; empty where there is neither.

    Args:
        found: pseudo-masks of an image.
        name: what their score is (`score_name`), None where they have none.
    """
    lines = []
    for slot, entry in sorted(zip(cut_slots(found), found, strict=True), key=lambda pair: pair[0]):
        quality = quality_of(entry)
        facts = [] if quality is None else [f"quality {quality:.2f}"]
        facts += [f"{name.replace('_', ' ')} {score_of(entry):.2f}"] if name else []
        if facts:
            lines.append(f"{slot + 1}: {', '.join(facts)}")
    return "; ".join(lines)


def drawn(
    rgb: np.ndarray,
    found: Sequence[Mapping[str, Any]],
    *,
    scored: bool = True,
    score_name: str = "",
    by_quality: bool = False,
) -> np.ndarray:
    """Annotations over a picture (H, W, 3) of any size, in the colours and with the numbers of their cuts.

    Args:
        rgb: the picture.
        found: the annotations; one without a score counts as certain.
        scored: write the scores too.
        score_name: what is written before them.
        by_quality: write the quality of each, where all have one, in place of the score.
    """
    qualities = [quality_of(entry) for entry in found]
    values = [score_of(entry) for entry in found]
    if by_quality and None not in qualities:
        values, scored = [value for value in qualities if value is not None], True  # the caption names it
    slots = cut_slots(found)
    n = max(slots, default=-1) + 1
    masks, scores = np.zeros((n, *rgb.shape[:2]), bool), np.zeros(n)
    at_size = decoded([entry["segmentation"] for entry in found], rgb.shape[:2])
    for slot, mask, value in zip(slots, at_size, values, strict=True):
        masks[slot], scores[slot] = mask, value
    return overlay(rgb, masks, scores if scored else None, score_name=score_name)
