"""Final masks of a shard: CRF at the working size, CutLER's fill and reject, the image's own size, COCO JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cuts3d_cli.config import check_unary
from cuts3d_cli.core.image_sizes import working_image
from cuts3d_cli.core.segment import Candidates, Refined, candidates, finish, images_at_once, refine
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.pipeline.runner import (
    Counts,
    Job,
    Result,
    ahead,
    for_each_image,
    images_fingerprint,
    provenance,
    solver_and_device,
    usable_rows,
)
from cuts3d_cli.store.coco import annotation, image_entry, write_masks
from cuts3d_cli.store.layout import crf_confidence_path
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.store.rows import Rows
from cuts3d_cli.store.zarr_store import StoreWriter, create_store


def run(job: Job) -> Counts:
    """Write the shard's masks as COCO JSON; each points to its confidence map where there is one.

    With ``confidence: crf`` a confidence store is written beside (`layout.crf_confidence_path`).

    Raises:
        ConfigError: the unary needs the Spatial Confidence and there is none.
    """
    config = job.section.model_dump()
    check_unary(config["unary"], "confidence" in job.stores)
    annotations: list[dict[str, Any]] = []
    store = crf_confidence_path(job.out) if config["confidence"] == "crf" else None
    rows = {
        name: Rows(job.stores[stage].array(name))
        for stage, name in (("localcut", "instance"), ("confidence", "confidence"), ("confidence", "score"))
        if stage in job.stores
    }

    solver, device = solver_and_device(job.config, job.section.solver)

    def refine_rows(some: list[int]) -> list[tuple[Candidates, Refined | Cuts3dError]]:
        found = [candidates(**{name: array[row] for name, array in rows.items()}) for row in some]
        records = [job.source.records[row] for row in some]
        return list(zip(found, _refined(job, records, found, solver, device), strict=True))

    refined_of = ahead(usable_rows(job), images_at_once(job.section.image_size, solver), refine_rows)

    def compute(row: int, record: ImageRecord) -> Result:
        found, refined = refined_of(row)
        if isinstance(refined, Cuts3dError):
            raise refined
        return _masks_of(job, row, record, found, refined, store)

    with _confidence_writer(job, store) as writer:

        def take(row: int, result: Result | None, failure: str | None) -> None:
            if result is not None:
                annotations.extend(result.arrays["annotations"])
            if writer is not None and result is None:
                writer.fail(row, failure)
            elif writer is not None:
                maps = {name: result.arrays[name] for name in ("confidence", "score")}
                writer.write(row, no_object=result.no_object, **maps)

        counts = for_each_image("crf", job, compute, take)
    write_masks(
        job.out,
        kind="pseudo-masks",
        image_root=job.source.image_root.resolve(),
        images=[image_entry(record) for record in job.source.records],
        annotations=annotations,
        info={
            "config": job.sections("crf"),
            "images": images_fingerprint(job.source.records),
            "fingerprint": job.fingerprint,
            "inputs": _inputs(job),
            "counts": asdict(counts),
        },
    )
    return counts


def _masks_of(
    job: Job, row: int, record: ImageRecord, found: Candidates, refined: Refined, store: Path | None
) -> Result:
    """The annotations of an image, and for ``store`` their confidence maps in the slots of the instances."""
    sections = {"crf": job.section.model_dump(), "confidence": job.config.confidence.model_dump()}
    final = finish(found, refined, (record.height, record.width), **sections)
    confidence = np.zeros((found.n_tried, *found.masks.shape[1:]), np.float32)
    score = np.zeros(found.n_tried, np.float32)
    if store is not None:
        confidence[final.slots], score[final.slots] = final.confidence, final.scores
    annotations = []
    for slot, mask, value in zip(final.slots.tolist(), final.masks, final.scores, strict=True):
        pointer = None
        if store is not None:
            pointer = _pointer(job, store, job.fingerprint, row, slot)
        elif final.confidence is not None:
            cuts = job.stores["confidence"]
            pointer = _pointer(job, cuts.path, cuts.fingerprint, row, slot)
        annotations.append(annotation(record.id, mask, float(value), pointer))
    arrays = {"annotations": annotations, "confidence": confidence, "score": score}
    return Result(arrays, no_object=not annotations)


def _refined(
    job: Job, records: Sequence[ImageRecord], found: Sequence[Candidates], solver: str, device: str
) -> list[Refined | Cuts3dError]:
    """Each image's refined masks, or why the image cannot be read."""
    crf = {**job.section.model_dump(), "solver": solver}
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


def _confidence_writer(job: Job, path: Path | None) -> AbstractContextManager[StoreWriter | None]:
    """The store of the CRF's probabilities; read like that of the confidence stage."""
    if path is None:
        return nullcontext()
    ids = [record.id for record in job.source.records]
    config = {**job.section.model_dump(mode="json"), "sc_min": job.config.confidence.sc_min}
    return create_store(
        path,
        "confidence",
        ids,
        config=config,
        inputs=_inputs(job),
        fingerprint=job.fingerprint,
        attrs={**provenance("crf", job), "made_by": "crf"},
    )


def _inputs(job: Job) -> dict[str, str]:
    return {name: store.fingerprint for name, store in job.stores.items()}


def _pointer(job: Job, store: Path, fingerprint: str, row: int, slot: int) -> dict[str, Any]:
    path = os.path.relpath(store.resolve(), job.out.resolve().parent)
    return {"store": path.replace(os.sep, "/"), "fingerprint": fingerprint, "row": row, "instance": slot}
