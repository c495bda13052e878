"""Class-agnostic COCO evaluation of masks and boxes, with pycocotools as the judge (Sec. 4).

All objects are of one class. Every AP is read at the last of ``max_dets``: a judge left at its defaults reads some of
them at other numbers of detections as soon as these are not 1, 10 and 100.
"""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cuts3d_cli.evaluation.coco_files import CocoError, Matched, match, read_json

CATEGORY = 1
AREA_METRICS = {"APs": "small", "APm": "medium", "APl": "large"}

Metrics = dict[str, float | None]


@dataclass(frozen=True)
class Evaluation:
    """Scores of one prediction file against one ground truth.

    Attributes:
        metrics: per IoU type (``bbox``, ``segm``) the values of :func:`metric_names`, fractions in [0, 1];
            None where the ground truth has no object of that size.
        n_images: images of the ground truth, all of which count.
        n_images_missing: those that the predictions do not list.
        n_images_empty: those without any predicted instance, missing ones included.
        n_images_left_out: images of the predictions that the ground truth lacks.
        n_objects: annotated objects, crowd regions not counted.
        n_crowd: crowd regions.
        n_predictions: predicted instances on the images of the ground truth.
        objects_per_image: ``n_objects / n_images``.
        predictions_per_image: ``n_predictions / n_images``.
        notes: what a reader has to know, one line each.
    """

    metrics: dict[str, Metrics]
    n_images: int
    n_images_missing: int
    n_images_empty: int
    n_images_left_out: int
    n_objects: int
    n_crowd: int
    n_predictions: int
    objects_per_image: float
    predictions_per_image: float
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain JSON-able values."""
        return asdict(self)


def metric_names(max_dets: Sequence[int] = (1, 10, 100)) -> list[str]:
    """Metrics in the order of tables: AP over IoU 0.5 to 0.95, at 0.5, at 0.75, by size, AR, recall at IoU 0.5."""
    return ["AP", "AP50", "AP75", *AREA_METRICS, *(f"AR{n}" for n in sorted(max_dets)), "R50"]


def evaluate_files(
    predictions: str | Path,
    annotations: str | Path,
    *,
    max_dets: Sequence[int] = (1, 10, 100),
    iou_types: Sequence[str] = ("bbox", "segm"),
) -> Evaluation:
    """Evaluate a file of predictions; see :func:`evaluate`."""
    return evaluate(
        read_json(predictions),
        read_json(annotations),
        max_dets=max_dets,
        iou_types=iou_types,
        predictions_name=f"predictions {predictions}",
        truth_name=f"ground truth {annotations}",
    )


def evaluate(
    predictions: Any,
    truth: Any,
    *,
    max_dets: Sequence[int] = (1, 10, 100),
    iou_types: Sequence[str] = ("bbox", "segm"),
    predictions_name: str = "predictions",
    truth_name: str = "ground truth",
) -> Evaluation:
    """Evaluate predictions, all categories taken as one.

    Args:
        predictions: COCO JSON (annotations with ``score``; 1.0 where absent), or a COCO results list.
        truth: COCO JSON. Crowd regions are ignored as COCO does; images without prediction count as misses.
        max_dets: detections per image at which AR is taken; AP uses the last.
        iou_types: ``bbox``, ``segm`` or both.
        predictions_name: what errors call the predictions.
        truth_name: what errors call the ground truth.

    Raises:
        CocoError: the two cannot be compared, in one line.
    """
    matched = match(predictions, truth, predictions_name=predictions_name, truth_name=truth_name)
    if "segm" in iou_types:
        _require_masks(matched.predictions, predictions_name)
        _require_masks(matched.truth, truth_name)
    metrics = {iou_type: judge(matched, iou_type=iou_type, max_dets=max_dets) for iou_type in iou_types}
    n_images, n_crowd = len(matched.images), sum(record["iscrowd"] for record in matched.truth)
    with_prediction = Counter(record["image_id"] for record in matched.predictions)
    return Evaluation(
        metrics=metrics,
        n_images=n_images,
        n_images_missing=matched.n_missing,
        n_images_empty=n_images - len(with_prediction),
        n_images_left_out=matched.n_left_out,
        n_objects=len(matched.truth) - n_crowd,
        n_crowd=n_crowd,
        n_predictions=len(matched.predictions),
        objects_per_image=(len(matched.truth) - n_crowd) / n_images,
        predictions_per_image=len(matched.predictions) / n_images,
        notes=matched.notes,
    )


def judge(matched: Matched, *, iou_type: str, max_dets: Sequence[int] = (1, 10, 100)) -> Metrics:
    """Let pycocotools compare and read every metric off its precision and recall tables.

    For masks the area of a prediction is that of its mask, for boxes that of its box.
    """
    predictions = [
        {**record, "area": _predicted_area(record, iou_type), "iscrowd": 0} for record in matched.predictions
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOeval(_coco(matched.images, matched.truth), _coco(matched.images, predictions), iou_type)
        evaluator.params.maxDets = sorted(max_dets)
        evaluator.evaluate()
        evaluator.accumulate()
    return _read_metrics(evaluator)


def _read_metrics(evaluator: COCOeval) -> Metrics:
    parameters = evaluator.params
    precision = evaluator.eval["precision"][:, :, 0, :, -1]  # IoU threshold, recall, area range
    recall = evaluator.eval["recall"][:, 0]  # IoU threshold, area range, max_dets
    at = {iou: int(np.flatnonzero(np.isclose(parameters.iouThrs, iou))[0]) for iou in (0.5, 0.75)}
    area = {label: index for index, label in enumerate(parameters.areaRngLbl)}
    metrics = {"AP": _mean(precision[..., area["all"]])}
    metrics |= {f"AP{round(100 * iou)}": _mean(precision[index, :, area["all"]]) for iou, index in at.items()}
    metrics |= {name: _mean(precision[..., area[label]]) for name, label in AREA_METRICS.items()}
    metrics |= {f"AR{n}": _mean(recall[:, area["all"], index]) for index, n in enumerate(parameters.maxDets)}
    metrics["R50"] = _mean(recall[at[0.5], area["all"], -1:])
    return metrics


def _mean(values: np.ndarray) -> float | None:
    """Mean of the values that exist; pycocotools writes -1 where the ground truth has nothing."""
    values = values[values > -1]
    return float(values.mean()) if values.size else None


def _predicted_area(record: dict[str, Any], iou_type: str) -> float:
    return float(rle.area(record["segmentation"])) if iou_type == "segm" else record["bbox"][2] * record["bbox"][3]


def _coco(images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> COCO:
    """A pycocotools data set of one category; ids start at 1, since its matching takes an id of 0 for "none"."""
    coco = COCO()
    coco.dataset = {
        "images": images,
        "categories": [{"id": CATEGORY, "name": "object"}],
        "annotations": [{**record, "id": i, "category_id": CATEGORY} for i, record in enumerate(annotations, start=1)],
    }
    coco.createIndex()
    return coco


def _require_masks(records: list[dict[str, Any]], name: str) -> None:
    if any("segmentation" not in record for record in records):
        raise CocoError(
            f"{name}: annotations without segmentation",
            expected="masks",
            hint="set evaluate.iou_types to [bbox] to compare boxes only",
        )
