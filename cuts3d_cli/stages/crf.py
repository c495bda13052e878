"""Final masks of a shard: CRF at the working size, CutLER's fill and reject, the image's own size, COCO JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cuts3d_cli.config import CrfConfig
from cuts3d_cli.core import masks
from cuts3d_cli.core.confidence import mean_confidence
from cuts3d_cli.core.crf import DenseCrfs, probability_on_grid, refine_images
from cuts3d_cli.errors import ConfigError, Cuts3dError
from cuts3d_cli.pipeline.runner import (
    Counts,
    Job,
    Result,
    ahead,
    for_each_image,
    images_fingerprint,
    solver_and_device,
    usable_rows,
)
from cuts3d_cli.store.coco import annotation, image_entry
from cuts3d_cli.store.confidence import Confidence
from cuts3d_cli.store.images import image_sized_mask, working_image
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.store.masks import PSEUDO_MASKS, MaskFile, Provenance, write_masks
from cuts3d_cli.store.rows import Rows

REFINE = ("unary", "fill_holes", "min_iou")
"""Settings of :func:`core.crf.refine_images`."""

OWN = ("enabled", "image_size", "confidence")
"""Settings of this stage; the remaining ones are those of the CRF itself."""


@dataclass(frozen=True)
class Instances:
    """The instances of an image that are not empty.

    Attributes:
        slots: (M,) int, their places among the N tried.
        masks: (M, G, G) bool.
        confidence: (M, G, G) float32, or None where there is no Spatial Confidence.
        scores: (M,) float32.
    """

    slots: np.ndarray
    masks: np.ndarray
    confidence: np.ndarray | None
    scores: np.ndarray


Refined = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Masks (M, S, S) bool, the CRF's probability (M, S, S) float32, and which masks are accepted (M,) bool."""


def run(job: Job) -> Counts:
    """Write the shard's masks as COCO JSON, each with its confidence map where there is one.

    Raises:
        ConfigError: the unary needs the Spatial Confidence and there is none.
    """
    if job.config.crf.unary == "confidence" and "confidence" not in job.stores:
        raise ConfigError("crf.unary confidence", expected="Spatial Confidence", found="localcut.local_cut off")
    annotations: list[dict[str, Any]] = []
    rows = {
        name: Rows(job.stores[stage].array(name))
        for stage, name in ((job.config.finder, "instance"), ("confidence", "confidence"), ("confidence", "score"))
        if stage in job.stores
    }

    solver, device = solver_and_device(job.config, job.config.crf.solver)

    def refine(some: list[int]) -> list[tuple[Instances, Refined | Cuts3dError]]:
        found = [_instances({name: array[row] for name, array in rows.items()}) for row in some]
        records = [job.source.records[row] for row in some]
        return list(zip(found, _refined(job, records, found, solver, device), strict=True))

    refined_of = ahead(usable_rows(job), images_at_once(job.config.crf.image_size, solver), refine)

    def compute(row: int, record: ImageRecord) -> Result:
        found, refined = refined_of(row)
        if isinstance(refined, Cuts3dError):
            raise refined
        made = _annotations(job, record, found, refined)
        return Result({"annotations": made}, no_object=not made)

    def take(_row: int, result: Result | None, _failure: str | None) -> None:
        if result is not None:
            annotations.extend(result.arrays["annotations"])

    counts = for_each_image("crf", job, compute, take)
    made_from = Provenance(
        fingerprint=job.fingerprint,
        images=images_fingerprint(job.source.records),
        algorithm=job.algorithm,
        config=job.sections,
        inputs={name: store.fingerprint for name, store in job.stores.items()},
    )
    masks_made = MaskFile(
        PSEUDO_MASKS,
        job.source.image_root.resolve(),
        images=[image_entry(record) for record in job.source.records],
        annotations=annotations,
        provenance=made_from,
        counts=counts,
    )
    write_masks(job.out, masks_made)
    return counts


def images_at_once(size: int, solver: str) -> int:
    """Images that are refined together; only torch gains from more than one."""
    if solver != "torch":
        return 1
    from cuts3d_cli.core.permutohedral_torch import batch_size

    return batch_size(size * size)


def _annotations(job: Job, record: ImageRecord, found: Instances, result: Refined) -> list[dict[str, Any]]:
    """The annotations of an image, each with its cut and, where there is one, its confidence."""
    grid = found.masks.shape[1:]
    refined, probability, accepted = result
    annotations = []
    for index in np.flatnonzero(accepted):
        full = image_sized_mask(refined[index], (record.height, record.width))
        if not full.any():
            continue
        confidence, score = None, float(found.scores[index])
        if job.config.crf.confidence == "crf":
            sc_min = job.config.confidence.sc_min
            values = probability_on_grid(probability[index], refined[index], grid, sc_min=sc_min)
            confidence, score = Confidence(values, sc_min), float(mean_confidence(values[None], values[None] > 0)[0])
        elif found.confidence is not None:
            confidence = Confidence(found.confidence[index], job.stores["confidence"].config["sc_min"])
        annotations.append(annotation(record.id, full, score, cut=found.slots[index], confidence=confidence))
    return annotations


def _refined(
    job: Job, records: Sequence[ImageRecord], found: Sequence[Instances], solver: str, device: str
) -> list[Refined | Cuts3dError]:
    """Each image's refined masks, or why the image cannot be read."""
    section = job.config.crf.model_copy(update={"solver": solver})
    results: list[Refined | Cuts3dError | None] = []
    images: dict[int, np.ndarray] = {}
    for place, record in enumerate(records):
        try:
            # Read in any case: an image that went missing is a failure, whatever was found in it.
            images[place] = working_image(job.image(record), section.image_size)
            results.append(None)
        except Cuts3dError as error:
            results.append(error)
    refined = refined_images(
        list(images.values()),
        [found[place].masks for place in images],
        section,
        confidences=[found[place].confidence for place in images],
        device=device,
    )
    for place, result in zip(images, refined, strict=True):
        results[place] = result
    return results


def refined_images(
    images: Sequence[np.ndarray],
    instances: Sequence[np.ndarray],
    section: CrfConfig,
    *,
    confidences: Sequence[np.ndarray | None] | None = None,
    device: str = "cpu",
) -> list[Refined]:
    """Grid masks of some images at the CRF's working size, refined and judged; only enlarged where the CRF is off.

    Args:
        images: (S, S, 3) uint8 each, working images of ``section.image_size``.
        instances: (M, G, G) bool of each image.
        section: the settings.
        confidences: (M, G, G) float of each image, for the unary ``confidence``.
        device: where the solver torch computes.

    Returns:
        Of each image refined masks (M, S, S) bool, probability (M, S, S) float32 and which are accepted (M,) bool.
    """
    config, size_hw = section.model_dump(), (section.image_size, section.image_size)
    enlarged = [
        np.array([masks.enlarge(mask, size_hw) for mask in of_image], bool).reshape(-1, *size_hw)
        for of_image in instances
    ]
    results: list[Refined] = [(e, e.astype(np.float32), np.ones(len(e), bool)) for e in enlarged]
    chosen = [place for place, masks_of in enumerate(enlarged) if section.enabled and len(masks_of)]
    if not chosen:
        return results
    smooth = None
    if section.unary == "confidence":
        smooth = [np.stack([masks.resize_inside(c, size_hw) for c in confidences[place]]) for place in chosen]
    crf = {name: value for name, value in config.items() if name not in (*REFINE, *OWN)}
    refined = refine_images(
        DenseCrfs([images[place] for place in chosen], device=device, **crf),
        [enlarged[place] for place in chosen],
        confidence=smooth,
        **{name: config[name] for name in REFINE},
    )
    for place, result in zip(chosen, refined, strict=True):
        results[place] = result
    return results


def refined_masks(image: np.ndarray, instances: np.ndarray, section: CrfConfig) -> Refined:
    """`refined_images` of one image (S, S, 3) uint8 with grid masks (M, G, G) bool, without a confidence."""
    return refined_images([image], [instances], section)[0]


def _instances(arrays: Mapping[str, np.ndarray]) -> Instances:
    """From an image's ``instance`` (N, G, G) and, where there is Spatial Confidence, ``confidence`` and ``score``."""
    instance = arrays["instance"]
    slots = np.flatnonzero(instance.any(axis=(1, 2)))
    if "confidence" not in arrays:
        return Instances(slots, instance[slots], None, np.ones(len(slots), np.float32))
    confidence = arrays["confidence"][slots].astype(np.float32)
    return Instances(slots, instance[slots], confidence, arrays["score"][slots])
