"""Final masks of a shard: CRF at the working size, CutLER's fill and reject, the image's own size, COCO JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from cuts3d_cli.core import masks
from cuts3d_cli.core.crf import DenseCrf, refine
from cuts3d_cli.stages.common import Counts, Job, Result, for_each_image
from cuts3d_cli.store.coco import annotation, image_entry, write_masks
from cuts3d_cli.store.images import image_sized_mask, read_image, working_image

REFINE = ("unary", "fill_holes", "min_iou")
"""Settings of :func:`core.crf.refine`; the others but ``enabled`` are those of the CRF itself."""


def run(job: Job) -> Counts:
    """Write the shard's masks as COCO JSON; each points to its Spatial Confidence where there is one."""
    annotations: list[dict[str, Any]] = []
    config = job.section.model_dump()
    own = {name: value for name, value in config.items() if name not in (*REFINE, "enabled")}
    size = job.config.features.image_size

    def compute(row, record):
        image = working_image(read_image(job.source.image_root / record.file_name), size)
        found = []
        crf = DenseCrf(image, **own) if config["enabled"] else None
        for slot, grid_mask, confidence, score in _instances(job, row):
            mask = masks.enlarge(grid_mask, (size, size))
            if crf is not None:
                smooth = None if confidence is None else masks.resize_map(confidence, (size, size))
                mask, _, accepted = refine(crf, mask, confidence=smooth, **{name: config[name] for name in REFINE})
                if not accepted:
                    continue
            full = image_sized_mask(mask, (record.height, record.width))
            if full.any():
                found.append(annotation(record.id, full, score, _pointer(job, row, slot, confidence)))
        return Result({"annotations": found}, no_object=not found)

    def take(row: int, result: Result | None, failure: str | None) -> None:
        if result is not None:
            annotations.extend(result.arrays["annotations"])

    counts = for_each_image("crf", job, compute, take)
    localcut = job.stores["localcut"]
    write_masks(
        job.out,
        kind="pseudo-masks",
        image_root=job.source.image_root.resolve(),
        images=[image_entry(record) for record in job.source.records],
        annotations=annotations,
        info={
            "config": {
                "localcut": localcut.config,
                **_confidence_config(job.stores),
                "crf": job.section.model_dump(mode="json"),
            },
            "fingerprint": job.fingerprint,
            "inputs": {name: store.fingerprint for name, store in job.stores.items()},
            "counts": asdict(counts),
        },
    )
    return counts


def _instances(job: Job, row: int):
    """Slot, grid mask (G, G), confidence (G, G) or None, and score of each instance of an image."""
    instance = job.stores["localcut"].array("instance")[row]
    store = job.stores.get("confidence")
    confidence = store.array("confidence")[row].astype(np.float32) if store else None
    score = store.array("score")[row] if store else np.ones(len(instance), np.float32)
    for slot in np.flatnonzero(instance.any(axis=(1, 2))):
        yield int(slot), instance[slot], None if confidence is None else confidence[slot], float(score[slot])


def _pointer(job: Job, row: int, slot: int, confidence: np.ndarray | None) -> dict[str, Any] | None:
    if confidence is None:
        return None
    path = os.path.relpath(job.stores["confidence"].path.resolve(), job.out.resolve().parent)
    return {"store": path.replace(os.sep, "/"), "row": row, "instance": slot}


def _confidence_config(stores: Mapping) -> dict[str, Any]:
    return {"confidence": stores["confidence"].config} if "confidence" in stores else {}
