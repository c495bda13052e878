"""COCO evaluation of masks and boxes, class-agnostic (Sec. 4) or with classes, with pycocotools as the judge.

Zero-shot evaluation takes all objects as one class; with classes, every metric is the mean over the classes that the
ground truth has, as COCO does. Every AP is read at the last of ``max_dets``: a judge left at its defaults reads some of
them at other numbers of detections as soon as these are not 1, 10 and 100.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cuts3d_cli.errors import CocoError
from cuts3d_cli.evaluation.matching import Matched, match
from cuts3d_cli.store.coco_document import CocoDocument, read_coco
from cuts3d_cli.store.json_files import read_json

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
        n_objects: annotated objects, crowd regions and ignored objects not counted.
        n_crowd: crowd regions.
        n_ignored: objects whose detections count neither way (difficult in VOC).
        n_predictions: predicted instances on the images of the ground truth.
        objects_per_image: ``n_objects / n_images``.
        predictions_per_image: ``n_predictions / n_images``.
        class_agnostic: whether all categories were scored as one.
        per_class: per IoU type and name of a category AP, AP50, AR at the last of ``max_dets`` and its number of
            objects; empty when class-agnostic.
        notes: what a reader has to know, one line each.
    """

    metrics: dict[str, Metrics]
    n_images: int
    n_images_missing: int
    n_images_empty: int
    n_images_left_out: int
    n_objects: int
    n_crowd: int
    n_ignored: int
    n_predictions: int
    objects_per_image: float
    predictions_per_image: float
    class_agnostic: bool
    per_class: dict[str, dict[str, Metrics]]
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
    class_agnostic: bool = True,
    difficult: str = "ignore",
) -> Evaluation:
    """Evaluate a file of predictions; see :func:`evaluate`."""
    return evaluate(
        read_json(predictions),
        read_coco(annotations),
        max_dets=max_dets,
        iou_types=iou_types,
        class_agnostic=class_agnostic,
        difficult=difficult,
        predictions_name=f"predictions {predictions}",
        truth_name=f"ground truth {annotations}",
    )


def evaluate(
    predictions: CocoDocument | Mapping[str, Any] | Sequence[Any],
    truth: CocoDocument | Mapping[str, Any],
    *,
    max_dets: Sequence[int] = (1, 10, 100),
    iou_types: Sequence[str] = ("bbox", "segm"),
    class_agnostic: bool = True,
    difficult: str = "ignore",
    predictions_name: str = "predictions",
    truth_name: str = "ground truth",
) -> Evaluation:
    """Evaluate predictions, all categories taken as one unless ``class_agnostic`` is off.

    Args:
        predictions: COCO JSON (annotations with ``score``; 1.0 where absent), or a COCO results list.
        truth: COCO JSON. Crowd regions are ignored as COCO does; images without prediction count as misses.
        max_dets: detections per image at which AR is taken; AP uses the last.
        iou_types: ``bbox``, ``segm`` or both; masks are omitted, with a note, where the ground truth has boxes only.
        class_agnostic: score all categories as one; else the mean over categories, matched by name or id.
        difficult: ``ignore`` objects that the ground truth flags ``ignore``, or ``count`` them.
        predictions_name: what errors call the predictions.
        truth_name: what errors call the ground truth.

    Raises:
        CocoError: the two cannot be compared, in one line.
    """
    matched = match(
        predictions,
        truth,
        class_agnostic=class_agnostic,
        difficult=difficult,
        predictions_name=predictions_name,
        truth_name=truth_name,
    )
    iou_types = _comparable(matched, iou_types, predictions_name, truth_name)
    judged = {iou_type: judge(matched, iou_type=iou_type, max_dets=max_dets) for iou_type in iou_types}
    n_images = len(matched.images)
    n_crowd, n_ignored = (sum(record[key] for record in matched.truth) for key in ("iscrowd", "ignored"))
    n_objects = len(matched.truth) - n_crowd - n_ignored
    with_prediction = Counter(record["image_id"] for record in matched.predictions)
    return Evaluation(
        metrics={iou_type: metrics for iou_type, (metrics, _) in judged.items()},
        n_images=n_images,
        n_images_missing=matched.n_missing,
        n_images_empty=n_images - len(with_prediction),
        n_images_left_out=matched.n_left_out,
        n_objects=n_objects,
        n_crowd=n_crowd,
        n_ignored=n_ignored,
        n_predictions=len(matched.predictions),
        objects_per_image=n_objects / n_images,
        predictions_per_image=len(matched.predictions) / n_images,
        class_agnostic=class_agnostic,
        per_class={} if class_agnostic else {iou_type: classes for iou_type, (_, classes) in judged.items()},
        notes=matched.notes,
    )


def judge(
    matched: Matched, *, iou_type: str, max_dets: Sequence[int] = (1, 10, 100)
) -> tuple[Metrics, dict[str, Metrics]]:
    """Let pycocotools compare and read every metric off its precision and recall tables.

    For masks the area of a prediction is that of its mask, for boxes that of its box.

    Returns:
        The metrics over all categories, and per category's name AP, AP50, AR and ``n_objects``.
    """
    evaluator = judged(matched, iou_type=iou_type, max_dets=max_dets)
    return read_metrics(evaluator), _read_classes(evaluator, matched)


def judged(matched: Matched, *, iou_type: str, max_dets: Sequence[int] = (1, 10, 100)) -> Judge:
    """pycocotools' comparison, done; `judge` reads it."""
    predictions = [
        {**record, "area": _predicted_area(record, iou_type), "iscrowd": 0} for record in matched.predictions
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = Judge(_coco(matched, matched.truth), _coco(matched, predictions), iou_type)
        evaluator.params.maxDets = sorted(max_dets)
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator


class Judge(COCOeval):
    """pycocotools' evaluation that also ignores objects flagged ``ignored``.

    pycocotools overwrites its own flag by ``iscrowd``; a crowd region is another thing, as it takes in any detection
    that lies inside it and any number of them.
    """

    def _prepare(self) -> None:
        super()._prepare()
        for records in self._gts.values():
            for record in records:
                record["ignore"] = record["ignore"] or record["ignored"]

    def on_images(self, rows: np.ndarray) -> Metrics:
        """AP and AP50 over some of the images, one as often as it is named; objects of all sizes and one category.

        The comparison of each image is kept: only precision and recall are accumulated again, as in pycocotools.

        Args:
            rows: (n,) int, numbers of the images in the order of their ids, from 0.
        """
        part = Judge(iouType=self.params.iouType)
        part.params = copy.copy(self.params)
        part.params.areaRng, part.params.areaRngLbl = self.params.areaRng[:1], self.params.areaRngLbl[:1]
        part.params.maxDets, part.params.imgIds = self.params.maxDets[-1:], list(range(len(rows)))
        part._paramsEval = part.params
        part.evalImgs = [self.evalImgs[row] for row in rows]  # of the first area range: all
        with contextlib.redirect_stdout(io.StringIO()):
            part.accumulate()
        precision = part.eval["precision"]
        return {"AP": _mean(precision), "AP50": _mean(precision[_thresholds(part)[0.5]])}


def read_metrics(evaluator: COCOeval) -> Metrics:
    """The values of `metric_names`, off precision and recall."""
    parameters = evaluator.params
    precision = evaluator.eval["precision"][..., -1]  # IoU threshold, recall, category, area range
    recall = evaluator.eval["recall"]  # IoU threshold, category, area range, max_dets
    at = _thresholds(evaluator)
    area = {label: index for index, label in enumerate(parameters.areaRngLbl)}
    metrics = {"AP": _mean(precision[..., area["all"]])}
    metrics |= {f"AP{round(100 * iou)}": _mean(precision[index, ..., area["all"]]) for iou, index in at.items()}
    metrics |= {name: _mean(precision[..., area[label]]) for name, label in AREA_METRICS.items()}
    metrics |= {f"AR{n}": _mean(recall[..., area["all"], index]) for index, n in enumerate(parameters.maxDets)}
    metrics["R50"] = _mean(recall[at[0.5], :, area["all"], -1])
    return metrics


def _read_classes(evaluator: COCOeval, matched: Matched) -> dict[str, Metrics]:
    """AP, AP50, AR at the last number of detections and number of objects of each category, in the truth's order."""
    precision, recall = evaluator.eval["precision"][:, :, :, 0, -1], evaluator.eval["recall"][:, :, 0, -1]
    at, n_dets = _thresholds(evaluator), evaluator.params.maxDets[-1]
    column = {category_id: index for index, category_id in enumerate(evaluator.params.catIds)}
    n_objects = Counter(r["category_id"] for r in matched.truth if not r["iscrowd"] and not r["ignored"])
    return {
        category["name"]: {
            "AP": _mean(precision[..., column[category["id"]]]),
            "AP50": _mean(precision[at[0.5], :, column[category["id"]]]),
            f"AR{n_dets}": _mean(recall[:, column[category["id"]]]),
            "n_objects": n_objects[category["id"]],
        }
        for category in matched.categories
    }


def _thresholds(evaluator: COCOeval) -> dict[float, int]:
    """Index of the IoU thresholds 0.5 and 0.75."""
    return {iou: int(np.flatnonzero(np.isclose(evaluator.params.iouThrs, iou))[0]) for iou in (0.5, 0.75)}


def _mean(values: np.ndarray) -> float | None:
    """Mean of the values that exist; pycocotools writes -1 where the ground truth has nothing."""
    values = values[values > -1]
    return float(values.mean()) if values.size else None


def _predicted_area(record: dict[str, Any], iou_type: str) -> float:
    return float(rle.area(record["segmentation"])) if iou_type == "segm" else record["bbox"][2] * record["bbox"][3]


def _coco(matched: Matched, annotations: list[dict[str, Any]]) -> COCO:
    """A pycocotools dataset; ids start at 1, since its matching takes an id of 0 for "none"."""
    coco = COCO()
    coco.dataset = {
        "images": matched.images,
        "categories": matched.categories,
        "annotations": [{**record, "id": i} for i, record in enumerate(annotations, start=1)],
    }
    coco.createIndex()
    return coco


def _comparable(matched: Matched, iou_types: Sequence[str], predictions_name: str, truth_name: str) -> list[str]:
    """The IoU types that can be compared: masks fall away, with a note, where the ground truth has none at all."""
    if "segm" not in iou_types:
        return list(iou_types)
    if "bbox" in iou_types and not any("segmentation" in record for record in matched.truth):
        matched.notes.append("the ground truth has boxes only: masks were not compared")
        return ["bbox"]
    _require_masks(matched.truth, truth_name)
    _require_masks(matched.predictions, predictions_name)
    return list(iou_types)


def _require_masks(records: list[dict[str, Any]], name: str) -> None:
    if n := sum("segmentation" not in record for record in records):
        raise CocoError(
            f"{name}: {n} of {len(records)} annotations without segmentation",
            expected="masks",
            hint="evaluate.iou_types = bbox compares boxes only",
        )
