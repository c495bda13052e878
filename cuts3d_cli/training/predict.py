"""Detect objects in images with a trained detector, and write them as COCO JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cuts3d_cli.config import PredictConfig
from cuts3d_cli.log import logger
from cuts3d_cli.pipeline.runner import Counts
from cuts3d_cli.store.coco import image_entry, write_masks
from cuts3d_cli.store.manifest import ImageRecord


def run(
    checkpoint: Path,
    out: Path,
    *,
    records: Sequence[ImageRecord],
    image_root: Path,
    config: PredictConfig,
    device: str = "auto",
    threads: int | None = None,
) -> Counts:
    """Write the detections of images; one that cannot be read costs that image.

    Args:
        checkpoint: of ``cuts3d train`` or ``cuts3d selftrain``, or one in CutLER's format.
        out: the COCO JSON to write; ``info.statuses`` counts the images, ``info.failures`` names the failed.
        records: the images, sizes after EXIF rotation.
        image_root: folder their file names are relative to.
        config: the ``predict`` section.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads; by default what the environment says.

    Returns:
        How many images are done, hold no detection, or failed.

    Raises:
        ModelError: the checkpoint is missing, damaged or not a detector.
    """
    from cuts3d_cli.backends.torch_tools import resolve_device
    from cuts3d_cli.detector.inference import categories_of, load_model, predict_images
    from cuts3d_cli.detector.runner import limit_threads

    limit_threads(threads)
    detector = load_model(checkpoint, config, resolve_device(device))
    annotations, counts = predict_images(detector, records, image_root)
    out = Path(out)
    write_masks(
        out,
        kind="predictions",
        image_root=Path(image_root).resolve(),
        images=[image_entry(record) for record in records],
        annotations=annotations,
        info=_info(detector.meta, config, counts),
        categories=categories_of(detector.meta),
    )
    logger.info("predict: %s, %d detections in %s", counts, len(annotations), out)
    return counts


def _info(meta: dict[str, Any], config: PredictConfig, counts: Counts) -> dict[str, Any]:
    supervised = {"description": "predictions of a detector that learned from human labels"} if "labels" in meta else {}
    return {
        **supervised,
        "config": config.model_dump(mode="json"),
        "detector": meta["fingerprint"],
        "statuses": {"done": counts.done, "no object": counts.no_object, "failed": len(counts.failures)},
        "failures": counts.failures,
    }
