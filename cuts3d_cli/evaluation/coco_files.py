"""Predictions and ground truth as COCO JSON: reading, checking, and pairing their images by file name.

Nothing here computes a score; :mod:`cuts3d_cli.evaluation.coco_eval` does.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pycocotools import mask as rle

from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.store.coco import run_lengths

Record = dict[str, Any]

ONE_CATEGORY = [{"id": 1, "name": "object"}]
MAX_LEFT_OUT = 0.01
"""Largest share of box-annotated images that may be left out for another size (rotation flags, wrong records)."""


class CocoError(Cuts3dError):
    """A prediction or ground-truth file that cannot be evaluated."""


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


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        CocoError: there is none, or it is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise CocoError(f"file {path}", expected="COCO JSON", found="no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CocoError(f"file {path}", expected="COCO JSON", found=f"something else ({error})") from None


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
    images = _truth_images(truth, truth_name)
    categories = ONE_CATEGORY if class_agnostic else _categories(truth, truth_name)
    truth_annotations = _truth_annotations(truth, images, truth_name, notes, categories, difficult)
    if isinstance(predictions, list):
        pairs = {image_id: image_id for image_id in images}
        found = predictions
        listed = {_field(record, "image_id", predictions_name) for record in found}
        n_left_out = len(listed - set(images))
        notes.append("the predictions are a plain results list without file names: images were paired by id")
    elif isinstance(predictions, dict) and isinstance(predictions.get("annotations"), list):
        predicted_images = _images_by_id(predictions, predictions_name)
        pairs = _pair_by_name(predicted_images, images, predictions_name, truth_name, notes)
        found = predictions["annotations"]
        _check_references(found, predicted_images, predictions_name)
        listed = set(pairs.values())
        n_left_out = len(predicted_images) - len(pairs)
        boxes_only = not any("segmentation" in record for record in truth_annotations)
        wrong = _check_records(predicted_images, images, pairs, found, predictions_name, truth_name, notes, boxes_only)
        if wrong:
            images = {image_id: record for image_id, record in images.items() if image_id not in wrong}
            truth_annotations = [record for record in truth_annotations if record["image_id"] not in wrong]
            pairs = {image_id: truth_id for image_id, truth_id in pairs.items() if truth_id not in wrong}
    else:
        raise CocoError(
            predictions_name,
            expected="COCO JSON with images and annotations, or a results list",
            found=_kind(predictions),
        )
    if found and not listed & set(images):
        raise CocoError(
            f"{predictions_name} and {truth_name} share no image", hint="check that both belong to the same images"
        )
    kept = _predicted_annotations(found, pairs, images, predictions_name, truth_name, notes)
    category_ids = None if class_agnostic else _paired_categories(predictions, categories, predictions_name, truth_name)
    kept = _with_categories(kept, category_ids, predictions_name, truth_name, notes)
    n_missing = len(set(images) - listed)
    if n_missing:
        notes.append(f"{n_missing} of {len(images)} images have no prediction and count as misses")
    if n_left_out:
        notes.append(f"predictions on {n_left_out} images that the ground truth lacks were left out")
    return Matched(list(images.values()), truth_annotations, kept, categories, n_missing, n_left_out, notes)


def masks_by_name(truth: Any, names: Collection[str], *, name: str = "ground truth") -> dict[str, list[Record]]:
    """Run-length masks of the objects of some images, by normal file name; crowd regions are left out.

    Args:
        truth: COCO JSON.
        names: normal file names (:func:`normal_name`) of the images wanted.
        name: what errors call the file.

    Raises:
        CocoError: a wrong structure.
    """
    images = {key: record for key, record in _truth_images(truth, name).items()
              if normal_name(record["file_name"]) in names}  # fmt: skip
    masks: dict[str, list[Record]] = {normal_name(record["file_name"]): [] for record in images.values()}
    for record in truth["annotations"]:
        image = images.get(_field(record, "image_id", name))
        if image is not None and not record.get("iscrowd", 0) and record.get("segmentation"):
            masks[normal_name(image["file_name"])].append(_segmentation(record, image, name, name))
    return masks


def normal_name(file_name: str) -> str:
    """A file name as POSIX path without ``./``; names that differ in spelling only become equal."""
    return str(PurePosixPath(str(file_name).replace("\\", "/")))


def _kind(value: Any) -> str:
    if not isinstance(value, dict):
        return type(value).__name__
    return f"an object with keys {', '.join(map(str, value)) or 'none'}"


def _field(record: Any, key: str, name: str) -> Any:
    if not isinstance(record, dict) or key not in record:
        raise CocoError(f"{name}: a record without {key}", found=str(record)[:120])
    return record[key]


def _images_by_id(coco: Record, name: str) -> dict[Any, Record]:
    records = coco.get("images")
    if not isinstance(records, list):
        raise CocoError(name, expected="COCO JSON with a list of images", found=_kind(coco))
    images = {_field(record, "id", name): record for record in records}
    if len(images) != len(records):
        twice = Counter(record["id"] for record in records).most_common(1)[0][0]
        raise CocoError(f"{name}: image id {twice} occurs twice")
    names = Counter(normal_name(_field(record, "file_name", name)) for record in records)
    if names and max(names.values()) > 1:
        raise CocoError(f"{name}: file name {names.most_common(1)[0][0]} occurs twice")
    return images


def _check_references(annotations: list[Record], images: dict[Any, Record], name: str) -> None:
    for record in annotations:
        if _field(record, "image_id", name) not in images:
            raise CocoError(f"{name}: an annotation refers to image id {record['image_id']}, which it does not list")


def _truth_images(truth: Any, name: str) -> dict[Any, Record]:
    if not isinstance(truth, dict) or not isinstance(truth.get("annotations"), list):
        raise CocoError(name, expected="COCO JSON with images and annotations", found=_kind(truth))
    images = _images_by_id(truth, name)
    for record in images.values():
        _field(record, "width", name)
        _field(record, "height", name)
    return images


def _categories(truth: Record, name: str) -> list[Record]:
    records = truth.get("categories")
    if not isinstance(records, list) or not records:
        raise CocoError(
            f"{name}: no categories",
            expected="COCO JSON with categories",
            found=_kind(truth),
            hint="evaluate.class_agnostic scores all objects as one category",
        )
    categories = [{"id": _field(record, "id", name), "name": str(_field(record, "name", name))} for record in records]
    for key in ("id", "name"):
        twice = [value for value, n in Counter(record[key] for record in categories).items() if n > 1]
        if twice:
            raise CocoError(f"{name}: category {key} {twice[0]} occurs twice")
    return categories


def _paired_categories(predictions: Any, truth: list[Record], name: str, truth_name: str) -> dict[Any, Any]:
    """Ground-truth id of each category id of the predictions: by name where they name theirs, else the same id."""
    records = predictions.get("categories") if isinstance(predictions, dict) else None
    if not records:
        return {record["id"]: record["id"] for record in truth}
    by_name = {record["name"].strip().lower(): record["id"] for record in truth}
    names = {_field(record, "id", name): str(_field(record, "name", name)).strip().lower() for record in records}
    pairs = {category_id: by_name[key] for category_id, key in names.items() if key in by_name}
    if not pairs:
        raise CocoError(
            f"{name} and {truth_name} share no category",
            expected=f"names like {truth[0]['name']}",
            found=next(iter(names.values())),
            hint="evaluate.class_agnostic scores all categories as one",
        )
    return pairs


def _with_categories(
    found: list[Record], pairs: dict[Any, Any] | None, name: str, truth_name: str, notes: list[str]
) -> list[Record]:
    """Predictions with the ground truth's category ids; those of a category that it lacks are left out."""
    if pairs is None:
        return [{**record, "category_id": ONE_CATEGORY[0]["id"]} for record in found]
    for record in found:
        if record["category_id"] is None:
            raise CocoError(
                f"{name}: a prediction without category_id", hint="evaluate.class_agnostic scores all categories as one"
            )
    kept = [
        {**record, "category_id": pairs[record["category_id"]]} for record in found if record["category_id"] in pairs
    ]
    if found and not kept:
        raise CocoError(
            f"{name} and {truth_name} share no category",
            expected=f"category ids like {next(iter(pairs))}",
            found=found[0]["category_id"],
            hint="evaluate.class_agnostic scores all categories as one",
        )
    if len(kept) < len(found):
        notes.append(f"{len(found) - len(kept)} predictions of categories that the ground truth lacks were left out")
    return kept


def _truth_annotations(
    truth: Record, images: dict[Any, Record], name: str, notes: list[str], categories: list[Record], difficult: str
) -> list[Record]:
    _check_references(truth["annotations"], images, name)
    class_agnostic, known = categories is ONE_CATEGORY, {record["id"] for record in categories}
    result = []
    for record in truth["annotations"]:
        image = images[record["image_id"]]
        segmentation = _segmentation(record, image, name, name)
        category_id = ONE_CATEGORY[0]["id"] if class_agnostic else _field(record, "category_id", name)
        if category_id not in known:
            raise CocoError(f"{name}: an annotation of category id {category_id}, which it does not list")
        result.append(
            {
                "image_id": record["image_id"],
                "category_id": category_id,
                "bbox": _box(record, segmentation, name),
                "area": record.get("area", _area(record, segmentation)),
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
    n_categories = len({record.get("category_id") for record in truth["annotations"]})
    if class_agnostic and n_categories > 1:
        notes.append(
            f"the {n_categories} categories of the ground truth were merged to one: this evaluation knows no classes"
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
        segmentation = _segmentation(record, images[image_id], name, truth_name)
        n_without_score += "score" not in record
        result.append(
            {
                "image_id": image_id,
                "category_id": record.get("category_id"),
                "bbox": _box(record, segmentation, name),
                "score": float(record.get("score", 1.0)),
                **({"segmentation": segmentation} if segmentation else {}),
            }
        )
    if n_without_score:
        notes.append(f"{n_without_score} of {len(result)} predictions have no score; it was taken as 1.0")
    return result


def _pair_by_name(
    predicted: dict[Any, Record], truth: dict[Any, Record], name: str, truth_name: str, notes: list[str]
) -> dict[Any, Any]:
    """Ground-truth id of each predicted image's id; by base name only where not one whole name agrees."""
    by_name = {normal_name(record["file_name"]): image_id for image_id, record in truth.items()}
    names = {image_id: normal_name(record["file_name"]) for image_id, record in predicted.items()}
    pairs = {image_id: by_name[file_name] for image_id, file_name in names.items() if file_name in by_name}
    if pairs:
        return pairs
    if not predicted:
        raise CocoError(f"{name}: no images", expected=f"images of {truth_name}")
    truth_bases, bases = defaultdict(list), defaultdict(list)
    for file_name, image_id in by_name.items():
        truth_bases[PurePosixPath(file_name).name].append(image_id)
    for image_id, file_name in names.items():
        bases[PurePosixPath(file_name).name].append(image_id)
    common = [base for base in bases if base in truth_bases]
    here, there = next(iter(names.values())), next(iter(by_name))
    if not common:
        raise CocoError(
            f"{name} and {truth_name} share no image (compared by file_name)",
            expected=f"names like {there}",
            found=here,
            hint="check that both belong to the same images",
        )
    unclear = [base for base in common if len(bases[base]) + len(truth_bases[base]) > 2]
    if unclear:
        raise CocoError(
            f"{name} and {truth_name} share no file_name, and {unclear[0]} alone is ambiguous",
            expected=f"names like {there}",
            found=here,
            hint="give both files names relative to the same folder",
        )
    notes.append(f"file names agree only without their folders: {len(common)} images were paired by base name")
    return {bases[base][0]: truth_bases[base][0] for base in common}


def _check_records(
    predicted: dict[Any, Record],
    truth: dict[Any, Record],
    pairs: dict[Any, Any],
    annotations: list[Record],
    name: str,
    truth_name: str,
    notes: list[str],
    boxes_only: bool,
) -> set[Any]:
    """Compare image records; exchanged width and height pass where the masks themselves have the right size.

    Returns:
        Ground-truth ids of the images to leave out: few images of a ground truth of boxes may differ in size.
    """
    with_mask = {record["image_id"] for record in annotations if isinstance(record.get("segmentation"), dict)}
    n_exchanged, wrong = 0, {}
    for image_id, truth_id in pairs.items():
        record, right = predicted[image_id], truth[truth_id]
        if not record.get("height") or not record.get("width"):
            continue  # optional here; 0 = an image that could not be read
        size_hw, right_hw = (record["height"], record["width"]), (right["height"], right["width"])
        if size_hw == right_hw:
            continue
        if size_hw == right_hw[::-1] and image_id in with_mask:
            n_exchanged += 1
            continue
        wrong[truth_id] = _size_error(f"{name}: image {record['file_name']}", size_hw, right_hw, truth_name)
        if not boxes_only:
            raise wrong[truth_id]
    if n_exchanged:
        notes.append(
            f"{n_exchanged} image records of the predictions have width and height exchanged; their masks are right"
        )
    if len(wrong) > MAX_LEFT_OUT * len(pairs):
        raise next(iter(wrong.values()))
    if wrong:
        notes.append(f"{len(wrong)} images were left out for a size that differs, such as {next(iter(wrong.values()))}")
    return set(wrong)


def _size_error(what: str, found_hw: tuple, right_hw: tuple, truth_name: str) -> CocoError:
    return CocoError(
        what,
        expected=f"height x width {right_hw[0]} x {right_hw[1]} as in {truth_name}",
        found=f"{found_hw[0]} x {found_hw[1]}",
        hint="predict on the very images that were annotated",
    )


def _segmentation(record: Record, image: Record, name: str, truth_name: str) -> Record | None:
    """Compressed RLE of an annotation at its image's size, or None where it has no mask."""
    segmentation = record.get("segmentation")
    if not segmentation:
        return None
    size_hw = (int(image["height"]), int(image["width"]))
    try:
        if not isinstance(segmentation, list) and tuple(segmentation["size"]) != size_hw:
            raise _size_error(
                f"{name}: a mask of image {image['file_name']}", segmentation["size"], size_hw, truth_name
            )
        return run_lengths(segmentation, size_hw)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        what = f"{name}: a segmentation of image {image['file_name']}"
        raise CocoError(what, expected="polygons or RLE", found=repr(error)) from None


def _box(record: Record, segmentation: Record | None, name: str) -> list[float]:
    box = record.get("bbox")
    if not box and segmentation is None:
        raise CocoError(f"{name}: an annotation with neither bbox nor segmentation", found=str(record)[:120])
    box = [float(v) for v in (box or rle.toBbox(segmentation))]
    if len(box) != 4:
        raise CocoError(f"{name}: a bbox", expected="x, y, width, height", found=box)
    return box


def _area(record: Record, segmentation: Record | None) -> float:
    return float(rle.area(segmentation)) if segmentation else float(record["bbox"][2] * record["bbox"][3])
