"""Predictions and ground truth brought together: the same images, the same categories, ready to be scored.

Nothing here computes a score; :mod:`cuts3d_cli.evaluation.coco_eval` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pycocotools import mask as rle

from cuts3d_cli.errors import CocoError
from cuts3d_cli.evaluation.pairing import (
    categories_of,
    paired_categories,
    paired_images,
    with_categories,
    wrong_sizes,
)
from cuts3d_cli.store.coco import CATEGORIES, run_lengths, score_of
from cuts3d_cli.store.coco_document import CocoDocument, Record, check_annotations, check_categories, check_coco


@dataclass(frozen=True)
class Matched:
    """Predictions and ground truth of the same images, ready for the judge.

    Attributes:
        images: the ground truth's images, in its order and with its ids.
        truth: annotations with ``image_id``, ``category_id``, ``bbox``, ``area``, ``iscrowd``, ``ignored`` (1 for an
            object whose detections count neither way) and, where given, ``segmentation``.
        predictions: the same with ``score``; ``image_id`` and ``category_id`` are the ground truth's.
        categories: the ground truth's categories, or the one that stands for all.
        n_missing: images of the ground truth that the predictions do not list.
        n_left_out: images of the predictions that the ground truth lacks.
        notes: what a reader of the numbers has to know, one line each.
    """

    images: list[Record]
    truth: list[Record]
    predictions: list[Record]
    categories: list[Record]
    n_missing: int
    n_left_out: int
    notes: list[str] = field(default_factory=list)


def match(
    predictions: CocoDocument | Mapping[str, Any] | Sequence[Any],
    truth: CocoDocument | Mapping[str, Any],
    *,
    class_agnostic: bool = True,
    difficult: str = "ignore",
    predictions_name: str = "predictions",
    truth_name: str = "ground truth",
) -> Matched:
    """Check both files' content, pair their images and bring everything to the same categories.

    Images are paired by file name, never by id or order; a plain results list holds no file names and is
    paired by id. Annotations are copied, the inputs stay as they are.

    Args:
        predictions: COCO JSON with images and annotations, or a COCO results list; checked here unless it is a
            `CocoDocument`.
        truth: COCO JSON; checked here unless it is a `CocoDocument`.
        class_agnostic: take all categories as one; else they are matched by name, or by id where the predictions
            name none.
        difficult: ``ignore`` objects flagged ``ignore`` in the ground truth, or ``count`` them.
        predictions_name: what errors call the predictions.
        truth_name: what errors call the ground truth.

    Raises:
        CocoError: a wrong structure, an empty ground truth, no common image or category, or sizes that differ.
    """
    truth = truth if isinstance(truth, CocoDocument) else check_coco(truth, truth_name)
    notes = list(truth.notes)
    images = {image["id"]: image for image in truth.images}
    categories = CATEGORIES if class_agnostic else categories_of(truth, truth_name)
    truth_annotations = _truth_annotations(truth, images, truth_name, notes, categories, difficult)
    if isinstance(predictions, list | tuple):
        found, more = check_annotations(predictions, truth.images, predictions_name, unlisted=True)
        pairs, named = {image_id: image_id for image_id in images}, []
        listed = {record["image_id"] for record in found}
        n_left_out = len(listed - set(images))
        notes += [*more, "the predictions are a plain results list without file names: images were paired by id"]
    else:
        if not isinstance(predictions, CocoDocument):
            predictions = check_coco(predictions, predictions_name)
        notes += predictions.notes
        predicted_images = {image["id"]: image for image in predictions.images}
        pairs = paired_images(predicted_images, images, predictions_name, truth_name, notes)
        found, named = predictions.annotations, predictions.categories
        listed = set(pairs.values())
        n_left_out = len(predicted_images) - len(pairs)
        boxes_only = not any("segmentation" in record for record in truth_annotations)
        wrong = wrong_sizes(predicted_images, images, pairs, predictions_name, truth_name, notes, boxes_only)
        if wrong:
            images = {image_id: record for image_id, record in images.items() if image_id not in wrong}
            truth_annotations = [record for record in truth_annotations if record["image_id"] not in wrong]
            pairs = {image_id: truth_id for image_id, truth_id in pairs.items() if truth_id not in wrong}
    if found and not listed & set(images):
        raise CocoError(
            f"{predictions_name} and {truth_name} share no image", hint="check that both are for the same images"
        )
    kept = _predicted_annotations(found, pairs, images, notes)
    category_ids = None if class_agnostic else paired_categories(named, categories, predictions_name, truth_name)
    n_categories = len({record["category_id"] for record in kept if "category_id" in record})
    kept = with_categories(kept, category_ids, predictions_name, truth_name, notes)
    if class_agnostic and n_categories > 1 and len({record.get("category_id") for record in truth.annotations}) > 1:
        notes.append(f"the predictions' {n_categories} classes count as one, as do those of the ground truth; "
                     "--no-class-agnostic scores them apart")  # fmt: skip
    n_missing = len(set(images) - listed)
    if n_missing:
        notes.append(f"{n_missing} of {len(images)} images have no prediction and count as misses")
    if n_left_out:
        notes.append(f"predictions on {n_left_out} images that the ground truth lacks were skipped")
    return Matched(list(images.values()), truth_annotations, kept, categories, n_missing, n_left_out, notes)


def _truth_annotations(
    truth: CocoDocument,
    images: dict[Any, Record],
    name: str,
    notes: list[str],
    categories: list[Record],
    difficult: str,
) -> list[Record]:
    class_agnostic = categories is CATEGORIES
    if not class_agnostic:
        check_categories(truth.annotations, categories, name)
    result = []
    for record in truth.annotations:
        segmentation = _run_lengths(record, images[record["image_id"]])
        crowd = record.get("iscrowd", 0)
        result.append(
            {
                "image_id": record["image_id"],
                "category_id": CATEGORIES[0]["id"] if class_agnostic else record["category_id"],
                "bbox": _box(record, segmentation),
                "area": record.get("area") or _area(record, segmentation),  # some tools write 0 for all
                "iscrowd": crowd,
                "ignored": int(difficult == "ignore" and bool(record.get("ignore")) and not crowd),
                **({"segmentation": segmentation} if segmentation else {}),
            }
        )
    n_crowd, n_ignored = (sum(record[key] for record in result) for key in ("iscrowd", "ignored"))
    if len(result) == n_crowd + n_ignored:
        raise CocoError(
            f"{name}: no object to find", expected="annotations that are neither crowd nor ignored", found=len(result)
        )
    if n_crowd:
        notes.append(f"{n_crowd} crowd regions of the ground truth are ignored: detections on them count neither way")
    if n_ignored:
        notes.append(
            f"{n_ignored} objects flagged difficult or ignore count neither way; evaluate.difficult = count counts them"
        )
    masks = [record["segmentation"] for record in result if "segmentation" in record and not record["iscrowd"]]
    if n_empty := sum(rle.area(mask) == 0 for mask in masks):
        notes.append(f"the masks of {n_empty} objects of the ground truth have no pixel: no mask can find them")
    return result


def _predicted_annotations(
    found: Sequence[Record], pairs: dict[Any, Any], images: dict[Any, Record], notes: list[str]
) -> list[Record]:
    result, n_without_score = [], 0
    for record in found:
        image_id = pairs.get(record["image_id"])
        if image_id is None:
            continue
        segmentation = _run_lengths(record, images[image_id])
        n_without_score += "score" not in record
        result.append(
            {
                "image_id": image_id,
                "category_id": record.get("category_id"),
                "bbox": _box(record, segmentation),
                "score": score_of(record),
                **({"segmentation": segmentation} if segmentation else {}),
            }
        )
    if n_without_score:
        notes.append(f"{n_without_score} of {len(result)} predictions have no score; it was taken as 1.0")
    return result


def _run_lengths(record: Record, image: Record) -> Record | None:
    """Compressed run-length code of a checked annotation, or None where it has no mask."""
    mask = record.get("segmentation")
    return None if mask is None else run_lengths(mask, (image["height"], image["width"]))


def _box(record: Record, segmentation: Record | None) -> list[float]:
    return [float(value) for value in (record["bbox"] if "bbox" in record else rle.toBbox(segmentation))]


def _area(record: Record, segmentation: Record | None) -> float:
    return float(rle.area(segmentation)) if segmentation else float(record["bbox"][2] * record["bbox"][3])
