"""Score predictions or pseudo-masks against COCO ground truth, class-agnostically (Sec. 4)."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from cuts3d_cli import __version__
from cuts3d_cli.config import EvaluateConfig
from cuts3d_cli.evaluation.coco_eval import evaluate
from cuts3d_cli.evaluation.coco_files import read_json
from cuts3d_cli.evaluation.table import format_table
from cuts3d_cli.log import logger
from cuts3d_cli.store.files import digest_file, write_json

__all__ = ["format_table", "run"]


def run(predictions: Path, annotations: Path, *, config: EvaluateConfig, out: Path | None = None) -> dict[str, Any]:
    """Evaluate a prediction file, with what the numbers were made from beside them.

    Args:
        predictions: COCO JSON of masks (pseudo-masks, predictions), or a COCO results list.
        annotations: COCO ground truth of the same images.
        config: what is compared and at how many detections.
        out: JSON file to write, whole or not at all; None writes nothing.

    Returns:
        The fields of :class:`cuts3d_cli.evaluation.coco_eval.Evaluation` and ``provenance``, JSON-able.

    Raises:
        Cuts3dError: the files cannot be compared.
    """
    predicted, truth = read_json(predictions), read_json(annotations)
    result = evaluate(
        predicted,
        truth,
        max_dets=config.max_dets,
        iou_types=config.iou_types,
        predictions_name=f"predictions {predictions}",
        truth_name=f"ground truth {annotations}",
    )
    for note in result.notes:
        logger.warning("evaluate: %s: %s", predictions, note)
    info = predicted.get("info", {}) if isinstance(predicted, dict) else {}
    document = {
        **result.as_dict(),
        "provenance": {
            "version": __version__,
            "pycocotools": version("pycocotools"),
            "config": config.model_dump(mode="json"),
            "predictions": str(predictions),
            "predictions_digest": digest_file(predictions),
            "predictions_info": {key: info[key] for key in ("kind", "version", "fingerprint") if key in info},
            "annotations": str(annotations),
            "annotations_digest": digest_file(annotations),
        },
    }
    if out is not None:
        write_json(out, document, indent=1)
    return document
