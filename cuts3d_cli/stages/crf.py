"""Final masks of a shard: CRF at the working size, CutLER's fill and reject, the image's own size, COCO JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cuts3d_cli.config import check_unary
from cuts3d_cli.core.image_sizes import working_image
from cuts3d_cli.core.segment import Candidates, Refined, candidates, finish, images_at_once, refine
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.pipeline.runner import (
    Earlier,
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
from cuts3d_cli.store.layout import ARRAYS
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.store.masks import PSEUDO_MASKS, Counts, MaskFile, Provenance, read_masks, write_masks
from cuts3d_cli.store.rows import Rows


def run(job: Job) -> Counts:
    """Write the shard's masks as COCO JSON, each with its confidence map where there is one.

    Raises:
        ConfigError: the unary needs the Spatial Confidence and there is none.
        TooManyFailedError: more images failed than ``max_failed`` allows; nothing is written.
    """
    crf = job.config.crf
    check_unary(crf.unary, "confidence" in job.stores)
    annotations: dict[int, list[dict[str, Any]]] = {}
    rows = {
        name: Rows(job.stores[stage].array(name))
        for stage, names in ((job.config.finder, ("instance", "contrast")), ("confidence", ("confidence", "score")))
        for name in names
        if stage in job.stores and name in ARRAYS[stage]
    }

    solver, device = solver_and_device(job.config, crf.solver)

    def refine_rows(some: list[int]) -> list[tuple[Candidates, Refined | Cuts3dError]]:
        found = [candidates(**{name: array[row] for name, array in rows.items()}) for row in some]
        records = [job.source.records[row] for row in some]
        return list(zip(found, _refined(job, records, found, solver, device), strict=True))

    refined_of = ahead(usable_rows(job), images_at_once(crf.image_size, solver), refine_rows)

    def compute(row: int, record: ImageRecord) -> Result:
        found, refined = refined_of(row)
        if isinstance(refined, Cuts3dError):
            raise refined
        made = _annotations(job, record, found, refined)
        return Result({"annotations": made}, no_object=not made)

    def take(row: int, result: Result | None, _failure: str | None) -> None:
        annotations[row] = [] if result is None else result.arrays["annotations"]

    counts = for_each_image("crf", job, compute, take)
    if job.earlier is not None:
        if counts.failures == job.earlier.failures:
            return counts
        annotations |= _kept(job, job.earlier)
    made_from = Provenance(
        fingerprint=job.fingerprint,
        images=images_fingerprint(job.source.records),
        rows=job.row_fingerprints,
        algorithm=job.algorithm,
        config=job.sections,
        inputs={name: store.fingerprint for name, store in job.stores.items()},
    )
    masks_made = MaskFile(
        PSEUDO_MASKS,
        job.source.image_root.resolve(),
        images=[image_entry(record) for record in job.source.records],
        annotations=[entry for row in sorted(annotations) for entry in annotations[row]],
        provenance=made_from,
        counts=counts,
    )
    write_masks(job.out, masks_made)
    return counts


def _kept(job: Job, earlier: Earlier) -> dict[int, list[dict[str, Any]]]:
    """The annotations that are taken from the earlier result, by row."""
    masks = read_masks(job.out, own=True)
    earlier.check(job.out, masks.provenance.fingerprint)
    found, images = masks.by_image(), masks.images
    return {
        row: [{**entry, "image_id": job.source.records[row].id} for entry in found[images[old]["id"]]]
        for row, old in earlier.rows.items()
    }


def _annotations(job: Job, record: ImageRecord, found: Candidates, refined: Refined) -> list[dict[str, Any]]:
    """The annotations of an image, each with its cut and, where there are, its quality and its confidence."""
    sc_min = _least_confidence(job)
    crf, size_hw = job.config.crf.model_dump(), (record.height, record.width)
    final = finish(found, refined, size_hw, crf=crf, confidence={"sc_min": sc_min})
    maps = [None] * len(final.masks) if final.confidence is None else [Confidence(c, sc_min) for c in final.confidence]
    quality = [None if np.isnan(one) else one for one in final.quality]
    return [
        annotation(record.id, mask, float(score), quality=one, cut=slot, confidence=confidence)
        for slot, mask, score, one, confidence in zip(
            final.slots, final.masks, final.scores, quality, maps, strict=True
        )
    ]


def _least_confidence(job: Job) -> float | None:
    """The least value inside an instance: the setting for the CRF's own confidence, else that of the store."""
    if job.config.crf.confidence == "crf":
        return job.config.confidence.sc_min
    return job.stores["confidence"].config["sc_min"] if "confidence" in job.stores else None


def _refined(
    job: Job, records: Sequence[ImageRecord], found: Sequence[Candidates], solver: str, device: str
) -> list[Refined | Cuts3dError]:
    """Each image's refined masks, or why the image cannot be read."""
    crf = {**job.config.crf.model_dump(), "solver": solver}
    results: dict[int, Refined | Cuts3dError] = {}
    images: dict[int, np.ndarray] = {}
    for place, record in enumerate(records):
        try:
            # Read in any case: an image that went missing is a failure, whatever was found in it.
            images[place] = working_image(job.image(record), crf["image_size"])
        except Cuts3dError as error:
            results[place] = error
    refined = refine(list(images.values()), [found[place] for place in images], crf, device=device)
    results.update(zip(images, refined, strict=True))
    return [results[place] for place in range(len(records))]
