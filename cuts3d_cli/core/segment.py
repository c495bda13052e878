"""From features and depth of an image to masks of its size: arrays and settings in, instances out (Sec. 3.1-3.4, 4).

Stages, benchmarks and the library all use these functions, so that an image has the same masks everywhere:

    half             features and depth in half precision, as they are stored
    find             Spatial Importance, NCut and LocalCut: instances on the patch grid
    cut_confidence   Spatial Confidence and scores of those
    candidates       the instances that are not empty
    refine           candidates enlarged to the working size, refined by the CRF, accepted or rejected
    finish           the accepted ones at the size of the image, with scores and quality
    segment          all of these for one image
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cuts3d_cli.core import masks
from cuts3d_cli.core.confidence import mean_confidence, spatial_confidence
from cuts3d_cli.core.crf import DenseCrfs, probability_on_grid, refine_images
from cuts3d_cli.core.find_instances import find_instances
from cuts3d_cli.core.geometry import depth_to_grid
from cuts3d_cli.core.image_sizes import image_sized_mask
from cuts3d_cli.core.quality import quality
from cuts3d_cli.core.spatial_importance import spatial_importance
from cuts3d_cli.core.types import Cuts
from cuts3d_cli.errors import ImageError

Section = Mapping[str, Any]
"""A section of the configuration: its keys and values."""

CUT_SETTINGS = ("tau_knn", "k", "xy_extent", "background_z", "capacity", "maxflow")
"""Keys of the section localcut with which Spatial Confidence repeats the cuts."""

_JUDGING = ("unary", "fill_holes", "min_iou")
"""Keys of the section crf that `crf.refine_images` takes."""

_NOT_OF_THE_CRF = (*_JUDGING, "enabled", "outlines", "image_size", "confidence")
"""Keys of the section crf that `crf.DenseCrfs` does not take."""


@dataclass(frozen=True)
class Settings:
    """Everything that masks depend on, given features: the configuration sections of these names, with all keys.

    Attributes:
        device: where the solvers ``torch`` compute.
    """

    spatial_importance: Section
    localcut: Section
    confidence: Section
    crf: Section
    device: str = "cpu"


@dataclass(frozen=True)
class Found:
    """Instances of an image on the patch grid, and what they were cut with.

    Attributes:
        cuts: masks, terminals and eigenvectors, and the outcome of each attempt.
        importance: (h, w) float32 in [beta, 1]; None without sharpening.
        depth: (h, w) float32 in [0, 1], depth of each patch; None without cuts in 3D.
    """

    cuts: Cuts
    importance: np.ndarray | None
    depth: np.ndarray | None


@dataclass(frozen=True)
class Candidates:
    """The instances of an image that are not empty.

    Attributes:
        n_tried: N, number of attempts.
        slots: (M,) int, their indices among the N attempts.
        masks: (M, h, w) bool.
        confidence: (M, h, w) float32, or None where there is no Spatial Confidence.
        scores: (M,) float32; 1 where there is no Spatial Confidence.
        contrast: (M,) float32 in [0, 1], see `quality.contrast`; NaN where it is not known.
    """

    n_tried: int
    slots: np.ndarray
    masks: np.ndarray
    confidence: np.ndarray | None
    scores: np.ndarray
    contrast: np.ndarray


@dataclass(frozen=True)
class Refined:
    """Candidates of an image at the working size.

    Attributes:
        masks: (M, S, S) bool, with the outlines that ``crf.outlines`` says.
        probability: (M, S, S) float32, the CRF's foreground probability; the mask itself where the CRF is off.
        accepted: (M,) bool.
        agreement: (M,) float64 in [0, 1], IoU of the mask before and after the CRF; 1 where it is off.
    """

    masks: np.ndarray
    probability: np.ndarray
    accepted: np.ndarray
    agreement: np.ndarray


@dataclass(frozen=True)
class Instances:
    """The instances of an image at its own size.

    Attributes:
        slots: (K,) int, their indices among the attempts: the number of the cut, from 0.
        masks: (K, H, W) bool, none of them empty.
        scores: (K,) float32.
        quality: (K,) float32 in [0, 1], see `quality.quality`; NaN where the contrast is not known.
        confidence: (K, h, w) float32 on the patch grid, Spatial Confidence or the CRF's probability (Table 11b); None
            where there is neither.
    """

    slots: np.ndarray
    masks: np.ndarray
    scores: np.ndarray
    quality: np.ndarray
    confidence: np.ndarray | None


@dataclass(frozen=True)
class Segmentation:
    """All results of `segment` for an image.

    Attributes:
        found: the cuts.
        confidence: (N, h, w) float16, Spatial Confidence of each attempt; None without cuts in 3D.
        candidates: the instances that are not empty.
        refined: the candidates at the working size.
        instances: the accepted ones, at the size of the image.
    """

    found: Found
    confidence: np.ndarray | None
    candidates: Candidates
    refined: Refined
    instances: Instances


def segment(
    features: np.ndarray, depth: np.ndarray | None, image: np.ndarray, size_hw: tuple[int, int], settings: Settings
) -> Segmentation:
    """Masks of one image from its features and depth.

    Args:
        features: (C, h, w), see `half`.
        depth: (S, S) float in [0, 1], 0 nearest, see `half`; needed by ``sharpen`` and ``local_cut``.
        image: (S, S, 3) uint8, the working image of ``crf.image_size``, see `image_sizes.working_image`.
        size_hw: size of the image itself.
        settings: the settings.

    Raises:
        ValueError: an input that is missing, of the wrong shape or not finite, or an unknown choice.
        Cuts3dError: the CRF cannot run with these settings.
    """
    found = find(features, depth, settings)
    cuts, confidence, score = found.cuts, None, None
    if settings.localcut["local_cut"]:
        arrays = (cuts.semantic, cuts.instance, cuts.terminals, found.depth)
        confidence, score = cut_confidence(*arrays, localcut=settings.localcut, confidence=settings.confidence)
    chosen = candidates(cuts.instance, confidence, score, cuts.contrast)
    refined = refine([image], [chosen], settings.crf, device=settings.device)[0]
    instances = finish(chosen, refined, size_hw, crf=settings.crf, confidence=settings.confidence)
    return Segmentation(found, confidence, chosen, refined, instances)


def half(values: np.ndarray, what: str = "features") -> np.ndarray:
    """Features or depth in half precision, as they are stored; the values of some networks overflow it.

    Raises:
        ImageError: a value is not finite; ``what`` names them.
    """
    with np.errstate(over="ignore"):
        kept = values.astype(np.float16)
    wrong = np.count_nonzero(~np.isfinite(kept))
    if wrong:
        raise ImageError(
            f"{wrong} of {kept.size} {what} are not finite", expected="numbers within half precision, 65504"
        )
    return kept


def find(features: np.ndarray, depth: np.ndarray | None, settings: Settings) -> Found:
    """Spatial Importance (Sec. 3.3), then NCut and LocalCut (Sec. 3.1-3.2) of one image; arguments as for `segment`."""
    grid_hw = features.shape[1:]
    importance = None
    if settings.localcut["sharpen"]:
        if depth is None:
            raise ValueError("depth: sharpening needs a map (H, W), got None")
        importance = spatial_importance(depth, grid_hw, **settings.spatial_importance)
    on_grid = None
    if settings.localcut["local_cut"] and depth is not None:
        on_grid = depth_to_grid(depth.astype(np.float32), grid_hw)
    found = find_instances(
        features.astype(np.float32), on_grid, importance, device=settings.device, **settings.localcut
    )
    return Found(found, importance, on_grid)


def cut_confidence(
    semantic: np.ndarray,
    instance: np.ndarray,
    terminals: np.ndarray,
    depth: np.ndarray | None,
    *,
    localcut: Section,
    confidence: Section,
) -> tuple[np.ndarray, np.ndarray]:
    """Spatial Confidence (Sec. 3.4, Eq. 4) and score of the instances of an image, from what `find` found.

    Args:
        semantic, instance, terminals, depth: see `confidence.spatial_confidence`.
        localcut: the settings that the instances were cut with.
        confidence: the settings of Spatial Confidence.

    Returns:
        confidence: (N, h, w) float16 in {0} or [sc_min, 1].
        score: (N,) float32, the mean confidence inside, before it was rounded to half precision; 0 for an empty slot.
    """
    settings = {name: localcut[name] for name in CUT_SETTINGS} | dict(confidence)
    found = spatial_confidence(semantic, instance, terminals, depth, **settings)
    return found.astype(np.float16), mean_confidence(found, instance)


def candidates(
    instance: np.ndarray,
    confidence: np.ndarray | None = None,
    score: np.ndarray | None = None,
    contrast: np.ndarray | None = None,
) -> Candidates:
    """The instances that are not empty.

    Args:
        instance: (N, h, w) bool.
        confidence: (N, h, w) float, and
        score: (N,) float, see `cut_confidence`; None without cuts in 3D.
        contrast: (N,) float, see `quality.contrast`; without it no quality is known.
    """
    slots = np.flatnonzero(instance.any(axis=(1, 2)))
    known = np.full(len(slots), np.nan, np.float32) if contrast is None else contrast[slots]
    if confidence is None or score is None:
        return Candidates(len(instance), slots, instance[slots], None, np.ones(len(slots), np.float32), known)
    maps = confidence[slots].astype(np.float32)
    return Candidates(len(instance), slots, instance[slots], maps, score[slots], known)


def refine(
    images: Sequence[np.ndarray], chosen: Sequence[Candidates], crf: Section, *, device: str = "cpu"
) -> list[Refined]:
    """Bring the candidates of some images to the CRF's working size, refine and judge them.

    With ``crf.outlines: grid`` they are judged but stay as they are; where the CRF is off they are only enlarged.

    Args:
        images: (S, S, 3) uint8 each, working images of ``crf.image_size``.
        chosen: the candidates of each.
        crf: the settings.
        device: where the solver ``torch`` computes.

    Raises:
        ValueError: the unary is the confidence and an image has none, or an image of another size.
        Cuts3dError: the CRF cannot run with these settings.
    """
    size_hw = (crf["image_size"], crf["image_size"])
    enlarged = [masks.enlarge_all(own.masks, size_hw) for own in chosen]
    results = [Refined(e, e.astype(np.float32), np.ones(len(e), bool), np.ones(len(e))) for e in enlarged]
    places = [place for place, own in enumerate(enlarged) if crf["enabled"] and len(own)]
    if not places:
        return results
    refined = refine_images(
        DenseCrfs(
            [images[place] for place in places],
            device=device,
            **dense_crf_settings(crf),
        ),
        [enlarged[place] for place in places],
        confidence=[_smooth(chosen[place], size_hw) for place in places] if crf["unary"] == "confidence" else None,
        **{name: crf[name] for name in _JUDGING},
    )
    for place, result in zip(places, refined, strict=True):
        results[place] = Refined(*result)
        if crf["outlines"] == "grid":
            accepted = results[place].agreement >= crf["min_iou"]
            results[place] = replace(results[place], masks=enlarged[place], accepted=accepted)
    return results


def dense_crf_settings(crf: Section) -> dict[str, Any]:
    """The keys of the section crf for the CRF itself, the keywords of `crf.DenseCrfs`."""
    return {name: value for name, value in crf.items() if name not in _NOT_OF_THE_CRF}


def images_at_once(image_size: int, solver: str) -> int:
    """Best number of images of this side per call of `refine`; only the solver ``torch`` gains from more than one."""
    if solver != "torch":
        return 1
    from cuts3d_cli.core.permutohedral_torch import batch_size

    return batch_size(image_size * image_size)


def finish(
    chosen: Candidates, refined: Refined, size_hw: tuple[int, int], *, crf: Section, confidence: Section
) -> Instances:
    """Bring the accepted masks to the size of their image; those that vanish there are dropped.

    Score and confidence are those of the cuts, or with ``crf.confidence: crf`` the CRF's own (Table 11b).

    Args:
        chosen: the candidates.
        refined: the same, refined.
        size_hw: (H, W) of the image.
        crf: the settings of the CRF; ``confidence`` is read.
        confidence: the settings of Spatial Confidence; ``sc_min`` is read.
    """
    full = {index: image_sized_mask(refined.masks[index], size_hw) for index in np.flatnonzero(refined.accepted)}
    kept = [index for index, mask in full.items() if mask.any()]
    maps = None if chosen.confidence is None else chosen.confidence[kept]
    scores = chosen.scores[kept]
    if crf["confidence"] == "crf":
        grid_hw, sc_min = chosen.masks.shape[1:], confidence["sc_min"]
        own = [probability_on_grid(refined.probability[i], refined.masks[i], grid_hw, sc_min=sc_min) for i in kept]
        maps = np.array(own, np.float32).reshape(-1, *grid_hw)
        scores = mean_confidence(maps, maps > 0)
    masks_of_image = np.array([full[index] for index in kept], bool).reshape(-1, *size_hw)
    ranks = quality(chosen.contrast[kept], refined.agreement[kept], masks_of_image)
    return Instances(chosen.slots[kept], masks_of_image, scores, ranks, maps)


def _smooth(chosen: Candidates, size_hw: tuple[int, int]) -> np.ndarray:
    """The confidence (M, S, S) of candidates at the working size."""
    if chosen.confidence is None:
        raise ValueError("confidence: expected a map for each mask, as the unary is the confidence, got none")
    return np.stack([masks.resize_inside(confidence, size_hw) for confidence in chosen.confidence])
