"""Predictions and ground truth brought together: the same images, the same categories, ready to be scored.

Nothing here computes a score; :mod:`cuts3d_cli.evaluation.coco_eval` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cuts3d_cli.evaluation.coco_files import (
    ONE_CATEGORY,
    CocoError,
    Record,
    area_of,
    box_of,
    categories_of,
    check_references,
    field_of,
    images_by_id,
    kind_of,
    segmentation_of,
    truth_images,
)
from cuts3d_cli.evaluation.pairing import paired_categories, paired_images, with_categories, wrong_sizes


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
    predictions: Any,
    truth: Any,
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
        predictions: COCO JSON with images and annotations, or a COCO results list.
        truth: COCO JSON.
        class_agnostic: take all categories as one; else they are matched by name, or by id where the predictions
            name none.
        difficult: ``ignore`` objects flagged ``ignore`` in the ground truth, or ``count`` them.
        predictions_name: what errors call the predictions.
        truth_name: what errors call the ground truth.

    Raises:
        CocoError: a wrong structure, an empty ground truth, no common image or category, or sizes that differ.
    """
    notes: list[str] = []
    images = truth_images(truth, truth_name)
    categories = ONE_CATEGORY if class_agnostic else categories_of(truth, truth_name)
    truth_annotations = _truth_annotations(truth, images, truth_name, notes, categories, difficult)
    if isinstance(predictions, list):
        pairs = {image_id: image_id for image_id in images}
        found = predictions
        listed = {field_of(record, "image_id", predictions_name) for record in found}
        n_left_out = len(listed - set(images))
        notes.append("the predictions are a plain results list without file names: images were paired by id")
    elif isinstance(predictions, dict) and isinstance(predictions.get("annotations"), list):
        predicted_images = images_by_id(predictions, predictions_name)
        pairs = paired_images(predicted_images, images, predictions_name, truth_name, notes)
        found = predictions["annotations"]
        check_references(found, predicted_images, predictions_name)
        listed = set(pairs.values())
        n_left_out = len(predicted_images) - len(pairs)
        boxes_only = not any("segmentation" in record for record in truth_annotations)
        wrong = wrong_sizes(predicted_images, images, pairs, found, predictions_name, truth_name, notes, boxes_only)
        if wrong:
            images = {image_id: record for image_id, record in images.items() if image_id not in wrong}
            truth_annotations = [record for record in truth_annotations if record["image_id"] not in wrong]
            pairs = {image_id: truth_id for image_id, truth_id in pairs.items() if truth_id not in wrong}
    else:
        raise CocoError(
            predictions_name,
            expected="COCO JSON with images and annotations, or a results list",
            found=kind_of(predictions),
        )
    if found and not listed & set(images):
        raise CocoError(
            f"{predictions_name} and {truth_name} share no image", hint="check that both are for the same images"
        )
    kept = _predicted_annotations(found, pairs, images, predictions_name, truth_name, notes)
    category_ids = None if class_agnostic else paired_categories(predictions, categories, predictions_name, truth_name)
    n_categories = len({record["category_id"] for record in kept})
    kept = with_categories(kept, category_ids, predictions_name, truth_name, notes)
    if class_agnostic and n_categories > 1 and len({record.get("category_id") for record in truth["annotations"]}) > 1:
        notes.append(f"the predictions' {n_categories} classes count as one, as do those of the ground truth; "
                     "--no-class-agnostic scores them apart")  # fmt: skip
    n_missing = len(set(images) - listed)
    if n_missing:
        notes.append(f"{n_missing} of {len(images)} images have no prediction and count as misses")
    if n_left_out:
        notes.append(f"predictions on {n_left_out} images that the ground truth lacks were skipped")
    return Matched(list(images.values()), truth_annotations, kept, categories, n_missing, n_left_out, notes)


def _truth_annotations(
    truth: Record, images: dict[Any, Record], name: str, notes: list[str], categories: list[Record], difficult: str
) -> list[Record]:
    check_references(truth["annotations"], images, name)
    class_agnostic, known = categories is ONE_CATEGORY, {record["id"] for record in categories}
    result = []
    for record in truth["annotations"]:
        image = images[record["image_id"]]
        segmentation = segmentation_of(record, image, name, name)
        category_id = ONE_CATEGORY[0]["id"] if class_agnostic else field_of(record, "category_id", name)
        if category_id not in known:
            raise CocoError(f"{name}: an annotation of category id {category_id}, which is not listed")
        result.append(
            {
                "image_id": record["image_id"],
                "category_id": category_id,
                "bbox": box_of(record, segmentation, name),
                "area": record.get("area", area_of(record, segmentation)),
                "iscrowd": int(record.get("iscrowd") or 0),
                "ignored": int(difficult == "ignore" and bool(record.get("ignore")) and not record.get("iscrowd")),
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
    return result


def _predicted_annotations(
    found: list[Record], pairs: dict[Any, Any], images: dict[Any, Record], name: str, truth_name: str, notes: list[str]
) -> list[Record]:
    result, n_without_score = [], 0
    for record in found:
        image_id = pairs.get(record["image_id"])
        if image_id is None:
            continue
        segmentation = segmentation_of(record, images[image_id], name, truth_name)
        n_without_score += "score" not in record
        result.append(
            {
                "image_id": image_id,
                "category_id": record.get("category_id"),
                "bbox": box_of(record, segmentation, name),
                "score": float(record.get("score", 1.0)),
                **({"segmentation": segmentation} if segmentation else {}),
            }
        )
    if n_without_score:
        notes.append(f"{n_without_score} of {len(result)} predictions have no score; it was taken as 1.0")
    return result
