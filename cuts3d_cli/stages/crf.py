"""Final masks of a shard: CRF at the working size, CutLER's fill and reject, the image's own size, COCO JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cuts3d_cli.core import masks
from cuts3d_cli.core.confidence import mean_confidence
from cuts3d_cli.core.crf import DenseCrf, probability_on_grid, refine_together
from cuts3d_cli.errors import ConfigError
from cuts3d_cli.stages.common import (
    Counts,
    Job,
    Result,
    for_each_image,
    images_fingerprint,
    provenance,
)
from cuts3d_cli.store.coco import annotation, image_entry, write_masks
from cuts3d_cli.store.images import image_sized_mask, working_image
from cuts3d_cli.store.layout import crf_confidence_path
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.store.rows import Rows
from cuts3d_cli.store.zarr_store import StoreWriter, create_store

REFINE = ("unary", "fill_holes", "min_iou")
"""Settings of :func:`core.crf.refine_together`."""

OWN = ("enabled", "image_size", "confidence")
"""Settings of this stage; the remaining ones are those of the CRF itself."""


@dataclass(frozen=True)
class Instances:
    """The instances of an image that are not empty.

    Attributes:
        n_tried: N, how many were tried.
        slots: (M,) int, their places among the N tried.
        masks: (M, G, G) bool.
        confidence: (M, G, G) float32, or None where there is no Spatial Confidence.
        scores: (M,) float32.
    """

    n_tried: int
    slots: np.ndarray
    masks: np.ndarray
    confidence: np.ndarray | None
    scores: np.ndarray


def run(job: Job) -> Counts:
    """Write the shard's masks as COCO JSON; each points to its confidence map where there is one.

    With ``confidence: crf`` a confidence store is written beside (`layout.crf_confidence_path`).

    Raises:
        ConfigError: the unary needs the Spatial Confidence and there is none.
    """
    config = job.section.model_dump()
    if config["unary"] == "confidence" and "confidence" not in job.stores:
        raise ConfigError("crf.unary confidence", expected="Spatial Confidence", found="localcut.local_cut off")
    annotations: list[dict[str, Any]] = []
    store = crf_confidence_path(job.out) if config["confidence"] == "crf" else None
    rows = {
        name: Rows(job.stores[stage].array(name))
        for stage, name in (("localcut", "instance"), ("confidence", "confidence"), ("confidence", "score"))
        if stage in job.stores
    }

    def compute(row: int, record: ImageRecord) -> Result:
        return _masks_of(job, row, record, _instances({name: array[row] for name, array in rows.items()}), store)

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


def _masks_of(job: Job, row: int, record: ImageRecord, found: Instances, store: Path | None) -> Result:
    """The annotations of an image, and for ``store`` their confidence maps in the slots of the instances."""
    size, grid = job.section.image_size, found.masks.shape[1:]
    enlarged = np.array([masks.enlarge(mask, (size, size)) for mask in found.masks], bool).reshape(-1, size, size)
    refined, probability, accepted = _refined(job, record, enlarged, found.confidence)
    confidence, score = np.zeros((found.n_tried, *grid), np.float32), np.zeros(found.n_tried, np.float32)
    annotations = []
    for index in np.flatnonzero(accepted):
        slot = int(found.slots[index])
        full = image_sized_mask(refined[index], (record.height, record.width))
        if not full.any():
            continue
        pointer, value = None, float(found.scores[index])
        if store is not None:
            confidence[slot] = probability_on_grid(
                probability[index], refined[index], grid, sc_min=job.config.confidence.sc_min
            )
            score[slot] = value = float(mean_confidence(confidence[slot][None], confidence[slot][None] > 0)[0])
            pointer = _pointer(job, store, job.fingerprint, row, slot)
        elif found.confidence is not None:
            cuts = job.stores["confidence"]
            pointer = _pointer(job, cuts.path, cuts.fingerprint, row, slot)
        annotations.append(annotation(record.id, full, value, pointer))
    arrays = {"annotations": annotations, "confidence": confidence, "score": score}
    return Result(arrays, no_object=not annotations)


def _refined(
    job: Job, record: ImageRecord, enlarged: np.ndarray, confidence: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Refined masks, the CRF's probability and which are accepted; all as they are where the CRF is off."""
    config = job.section.model_dump()
    # Read in any case: an image that went missing is a failure, whatever was found in it.
    image = working_image(job.image(record), job.section.image_size)
    if not config["enabled"] or not len(enlarged):
        return enlarged, enlarged.astype(np.float32), np.ones(len(enlarged), bool)
    crf = DenseCrf(image, **{name: config[name] for name in config if name not in (*REFINE, *OWN)})
    smooth = None
    if config["unary"] == "confidence":
        smooth = np.stack([masks.resize_inside(c, enlarged.shape[1:]) for c in confidence])
    return refine_together(crf, enlarged, confidence=smooth, **{name: config[name] for name in REFINE})


def _instances(arrays: Mapping[str, np.ndarray]) -> Instances:
    """From an image's ``instance`` (N, G, G) and, where there is Spatial Confidence, ``confidence`` and ``score``."""
    instance = arrays["instance"]
    slots = np.flatnonzero(instance.any(axis=(1, 2)))
    if "confidence" not in arrays:
        return Instances(len(instance), slots, instance[slots], None, np.ones(len(slots), np.float32))
    confidence = arrays["confidence"][slots].astype(np.float32)
    return Instances(len(instance), slots, instance[slots], confidence, arrays["score"][slots])


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
