"""Detect objects in images with a trained detector, and write them as COCO JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cuts3d_cli.config import PredictConfig
from cuts3d_cli.log import logger
from cuts3d_cli.pipeline.runner import check_failed, images_fingerprint
from cuts3d_cli.store.coco import image_entry, score_of
from cuts3d_cli.store.files import fingerprint
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.store.masks import PREDICTIONS, Counts, MaskFile, Provenance, write_masks

SUPERVISED = "predictions of a detector that learned from human labels"
"""What such predictions say of themselves."""


def run(
    checkpoint: Path,
    out: Path,
    *,
    records: Sequence[ImageRecord],
    image_root: Path,
    config: PredictConfig,
    device: str = "auto",
    threads: int | None = None,
    least_score: float = 0.5,
    max_failed: float = 1.0,
) -> Counts:
    """Write the detections of images; one that cannot be read costs that image.

    Args:
        checkpoint: of ``cuts3d train`` or ``cuts3d selftrain``, or one in CutLER's format.
        out: the COCO JSON to write (`store.masks`).
        records: the images, sizes after EXIF rotation.
        image_root: folder their file names are relative to.
        config: the ``predict`` section.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads; by default what the environment says.
        least_score: score that the message counts from; all detections are written.
        max_failed: fraction of the images that may fail.

    Returns:
        How many images are done, hold no detection, or failed.

    Raises:
        ModelError: the checkpoint is missing, damaged or not a detector.
        TooManyFailedError: more images failed than ``max_failed`` allows; an earlier file stays.
    """
    from cuts3d_cli.backends.torch_tools import resolve_device
    from cuts3d_cli.detector.inference import categories_of, load_model, predict_images
    from cuts3d_cli.detector.runner import limit_threads

    limit_threads(threads)
    detector = load_model(checkpoint, config, resolve_device(device))
    annotations, counts = predict_images(detector, records, image_root)
    check_failed(counts, max_failed, "predict")
    masks = MaskFile(
        PREDICTIONS,
        Path(image_root).resolve(),
        images=[image_entry(record) for record in records],
        annotations=annotations,
        categories=categories_of(detector.meta),
        provenance=_provenance(detector.meta["fingerprint"], records, config),
        counts=counts,
        description=SUPERVISED if "labels" in detector.meta else "",
    )
    write_masks(out, masks)
    logger.info("predict: %s; detections: %s, in %s", counts, scores_in_words(annotations, least_score), out)
    return counts


def scores_in_words(annotations: Sequence[Mapping[str, Any]], least_score: float) -> str:
    """How many detections have a score above a limit, and the highest: ``0 of 145 above 0.5, highest 0.34``."""
    scores = [score_of(entry) for entry in annotations]
    if not scores:
        return "none"
    return f"{sum(s >= least_score for s in scores)} of {len(scores)} above {least_score:g}, highest {max(scores):.2f}"


def _provenance(detector: str, records: Sequence[ImageRecord], config: PredictConfig) -> Provenance:
    images, settings = images_fingerprint(records), {"predict": config.model_dump(mode="json")}
    made_from = {"detector": detector}
    return Provenance(
        fingerprint=fingerprint({"inputs": made_from, "images": images, "config": settings}),
        images=images,
        config=settings,
        inputs=made_from,
    )
