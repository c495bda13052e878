"""Which image and which category of the predictions is which of the ground truth."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, TypeVar

from cuts3d_cli.errors import CocoError
from cuts3d_cli.evaluation.readers.common import Remark
from cuts3d_cli.store.coco import CATEGORIES, normal_name
from cuts3d_cli.store.coco_document import CocoDocument, Record
from cuts3d_cli.store.segmentations import sides, size_hint

MAX_LEFT_OUT = 0.01
"""Largest fraction of box-annotated images that may be omitted for another size (rotation flags, wrong records)."""

A = TypeVar("A", bound=Hashable)
B = TypeVar("B", bound=Hashable)


def pairs_by_name(names: Mapping[A, str], others: Mapping[B, str]) -> tuple[list[tuple[A, B]], str]:
    """Keys of two tables whose file names agree: whole, or where not one whole name agrees, in part.

    The parts are, in this order, the name without its suffix, the base name, and the base name without suffix.

    Args:
        names: file names by key.
        others: the same of the other side.

    Returns:
        Every pair of keys of equal names, in the order of ``names``, and what the names agree without; empty for whole
        names.
    """
    comparisons: tuple[tuple[Callable[[str], str], str], ...] = (
        (normal_name, ""),
        (_without_suffix, "suffixes"),
        (_base_name, "folders"),
        (lambda name: _without_suffix(_base_name(name)), "folders and suffixes"),
    )
    for key_of, without in comparisons:
        keys = defaultdict(list)
        for key, name in others.items():
            keys[key_of(name)].append(key)
        if pairs := [(key, other) for key, name in names.items() for other in keys.get(key_of(name), ())]:
            return pairs, without
    return [], ""


def _without_suffix(file_name: str) -> str:
    path = PurePosixPath(normal_name(file_name))
    return str(path.with_suffix("") if path.name else path)


def _base_name(file_name: str) -> str:
    return PurePosixPath(normal_name(file_name)).name


def paired_images(
    predicted: dict[Any, Record], truth: dict[Any, Record], name: str, truth_name: str, notes: list[str]
) -> dict[Any, Any]:
    """Ground-truth id of each predicted image's id.

    Raises:
        CocoError: no image in common, or base names that are ambiguous where whole names do not agree.
    """
    if not predicted:
        raise CocoError(f"{name}: no images", expected=f"images of {truth_name}")
    names, truth_names = ({key: record["file_name"] for key, record in images.items()} for images in (predicted, truth))
    pairs, without = pairs_by_name(names, truth_names)
    here, there = normal_name(next(iter(names.values()))), normal_name(next(iter(truth_names.values()), ""))
    if not pairs:
        raise CocoError(
            f"{name} and {truth_name} share no image (compared by file_name)",
            expected=f"names like {there}",
            found=here,
            hint="check that both are for the same images",
        )
    times, truth_times = Counter(key for key, _ in pairs), Counter(key for _, key in pairs)
    unclear = [key for key, truth_key in pairs if times[key] > 1 or truth_times[truth_key] > 1]
    if unclear:
        raise CocoError(
            f"{name} and {truth_name} share no file_name, and {_base_name(names[unclear[0]])} alone is ambiguous",
            expected=f"names like {there}",
            found=here,
            hint="give both files names relative to the same folder",
        )
    if without:
        note = f"file names agree only without their {without}: {len(pairs)} images were paired so"
        notes.append(Remark(note) if without == "suffixes" else note)  # as of label maps, which are of another format
    return dict(pairs)


def wrong_sizes(
    predicted: dict[Any, Record],
    truth: dict[Any, Record],
    pairs: dict[Any, Any],
    name: str,
    truth_name: str,
    notes: list[str],
    boxes_only: bool,
) -> set[Any]:
    """Compare image records of both files.

    Returns:
        Ground-truth ids of the images to skip: a few images of a ground truth of boxes may differ in size.

    Raises:
        CocoError: another size, of any image where masks are compared, of more than `MAX_LEFT_OUT` where boxes are.
    """
    wrong = {}
    for image_id, truth_id in pairs.items():
        record, right = predicted[image_id], truth[truth_id]
        size_hw, right_hw = (record["height"], record["width"]), (right["height"], right["width"])
        if size_hw in (right_hw, (0, 0)):  # the latter is of an image that could not be read
            continue
        wrong[truth_id] = CocoError(
            f"{name}: image {record['file_name']}",
            expected=f"{sides(right_hw)} as in {truth_name}",
            found=sides(size_hw),
            hint=size_hint(size_hw, right_hw) or "predict on the images that were annotated",
        )
        if not boxes_only:
            raise wrong[truth_id]
    if len(wrong) > MAX_LEFT_OUT * len(pairs):
        raise next(iter(wrong.values()))
    if wrong:
        notes.append(
            f"{len(wrong)} images were skipped because their size differs, such as {next(iter(wrong.values()))}"
        )
    return set(wrong)


def categories_of(truth: CocoDocument, name: str) -> list[Record]:
    """Categories of a ground truth that is evaluated with classes.

    Raises:
        CocoError: it has none, or two have one name.
    """
    if not truth.categories:
        raise CocoError(
            f"{name}: no categories",
            expected="COCO JSON with categories",
            hint="evaluate.class_agnostic evaluates all objects as one category",
        )
    names = Counter(record["name"] for record in truth.categories)
    if repeated := [each for each, n in names.items() if n > 1]:
        raise CocoError(f"{name}: category name {repeated[0]} occurs twice")
    return [{"id": record["id"], "name": record["name"]} for record in truth.categories]


def paired_categories(predicted: Sequence[Record], truth: list[Record], name: str, truth_name: str) -> dict[Any, Any]:
    """Ground-truth id of each category id of the predictions: by name where they name theirs, else the same id.

    Capitals count only where names differ in them alone.
    """
    if not predicted:
        return {record["id"]: record["id"] for record in truth}
    exact = {record["name"].strip(): record["id"] for record in truth}
    alike = Counter(name.lower() for name in exact)
    by_name = {name.lower(): category_id for name, category_id in exact.items() if alike[name.lower()] == 1}
    names = {record["id"]: record["name"].strip() for record in predicted}
    pairs = {category_id: exact.get(name, by_name.get(name.lower())) for category_id, name in names.items()}
    pairs = {category_id: paired for category_id, paired in pairs.items() if paired is not None}
    if not pairs:
        raise CocoError(
            f"{name} and {truth_name} share no category",
            expected=f"names like {truth[0]['name']}",
            found=next(iter(names.values())),
            hint="evaluate.class_agnostic evaluates all categories as one",
        )
    return pairs


def with_categories(
    found: list[Record], pairs: dict[Any, Any] | None, name: str, truth_name: str, notes: list[str]
) -> list[Record]:
    """Predictions with the ground truth's category ids; those of a category that it lacks are omitted."""
    if pairs is None:
        return [{**record, "category_id": CATEGORIES[0]["id"]} for record in found]
    for record in found:
        if record["category_id"] is None:
            raise CocoError(
                f"{name}: a prediction without category_id",
                hint="evaluate.class_agnostic evaluates all categories as one",
            )
    kept = [
        {**record, "category_id": pairs[record["category_id"]]} for record in found if record["category_id"] in pairs
    ]
    if found and not kept:
        raise CocoError(
            f"{name} and {truth_name} share no category",
            expected=f"category ids like {next(iter(pairs))}",
            found=found[0]["category_id"],
            hint="evaluate.class_agnostic evaluates all categories as one",
        )
    if len(kept) < len(found):
        notes.append(f"{len(found) - len(kept)} predictions of categories that the ground truth lacks were skipped")
    return kept
