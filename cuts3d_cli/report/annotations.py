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


QUALITY = "quality"
"""What ranks pseudo-masks without labels, see `core.quality`."""


def shown_number(
    qualities: Sequence[float | None], scores: Sequence[float], score: str | None
) -> tuple[str, list[float] | None]:
    """The number that stands on every pseudo-mask of a picture, one rule for all pictures, and its name in words.

    The quality where all masks have one, else the score, else nothing: an empty name and None.

    Args:
        qualities: of each mask, None where it has none.
        scores: of each mask.
        score: what the score is (`score_name`), None where it means nothing.
    """
    known = [float(value) for value in qualities if value is not None]
    if len(known) == len(qualities):
        return QUALITY, known
    return (score.replace("_", " "), [float(value) for value in scores]) if score else ("", None)


def number_of(found: Sequence[Mapping[str, Any]], score: str | None) -> tuple[str, list[float] | None]:
    """`shown_number` of pseudo-masks, COCO annotations."""
    return shown_number([quality_of(entry) for entry in found], [score_of(entry) for entry in found], score)


def buttons_text(found: Sequence[Mapping[str, Any]], number: str) -> str:
    """Caption on the buttons below a picture of pseudo-masks with a number of this name; empty without any."""
    return f"; buttons: cut and {number}" if number and found else ""


def numbers_text(found: Sequence[Mapping[str, Any]], name: str | None) -> str:
    """Quality and score of each mask by the number of its cut, as a caption; empty where there is neither.

    Args:
        found: pseudo-masks of an image.
        name: what their score is (`score_name`), None where they have none.
    """
    lines = []
    for slot, entry in sorted(zip(cut_slots(found), found, strict=True), key=lambda pair: pair[0]):
        quality = quality_of(entry)
        facts = [] if quality is None else [f"{QUALITY} {quality:.2f}"]
        facts += [f"{name.replace('_', ' ')} {score_of(entry):.2f}"] if name else []
        if facts:
            lines.append(f"{slot + 1}: {', '.join(facts)}")
    return "; ".join(lines)


def drawn(
    rgb: np.ndarray,
    found: Sequence[Mapping[str, Any]],
    values: Sequence[float] | None,
    *,
    name: str = "",
) -> np.ndarray:
    """Annotations over a picture (H, W, 3) of any size, in the colours and with the numbers of their cuts.

    Args:
        rgb: the picture.
        found: the annotations.
        values: written on each, None for nothing.
        name: written before them.
    """
    masks = decoded([entry["segmentation"] for entry in found], rgb.shape[:2])
    return drawn_cuts(rgb, masks, cut_slots(found), values, name=name)


def drawn_cuts(
    rgb: np.ndarray, masks: np.ndarray, slots: Sequence[int], values: Sequence[float] | None, *, name: str = ""
) -> np.ndarray:
    """Masks (M, H, W) bool over a picture (H, W, 3), in the colours and with the numbers of their cuts (from 0)."""
    n = max(slots, default=-1) + 1
    by_cut, numbers = np.zeros((n, *rgb.shape[:2]), bool), np.zeros(n)
    for position, slot in enumerate(slots):
        by_cut[slot] = masks[position]
        numbers[slot] = 0 if values is None else values[position]
    return overlay(rgb, by_cut, None if values is None else numbers.tolist(), score_name=name)
