"""Rows of results: their order, their names in words, which value is best, and the printed table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from cuts3d_cli.pipeline.methods import METHODS, OWN
from cuts3d_cli.tables import text_table

Results = Mapping[str, Mapping[str, Any]]

TYPE_NAMES = {"segm": "mask", "bbox": "box"}
SPLIT_NAMES = {"train": "training images", "val": "held-out images"}


def split_of(name: str) -> str | None:
    """``train`` or ``val`` from the end of a row's name (``cuts3d_val``), else None."""
    last = name.rsplit("_", 1)[-1]
    return last if last in SPLIT_NAMES else None


def method_of(name: str) -> str:
    """A row's name without its split."""
    split = split_of(name)
    return name.removesuffix(f"_{split}") if split else name


def round_of(name: str) -> int | None:
    """Number of the self-training round a row belongs to, else None."""
    found = re.fullmatch(r"round(\d+)", method_of(name))
    return int(found[1]) if found else None


def row_title(name: str) -> str:
    """A row's method in words; names that are none of ours stay."""
    number = round_of(name)
    if number is None:
        method = METHODS.get(method_of(name))
        return f"{method.title} pseudo-masks" if method else name
    if number == 0:
        return f"Detector trained on {METHODS[OWN].title} pseudo-masks"
    return f"Detector, self-training round {number}"


def ordered(names: Iterable[str]) -> list[str]:
    """The methods, then the rounds, training images first; other names last in the order given."""
    names, methods = list(names), list(METHODS)

    def key(name: str) -> tuple:
        number = round_of(name)
        place = methods.index(method_of(name)) - len(methods) if method_of(name) in METHODS else None
        method = number if number is not None else place
        split = split_of(name)
        return list(SPLIT_NAMES).index(split) if split else 9, method is None, method or 0, names.index(name)

    return sorted(names, key=key)


def best_rows(results: Results, iou_type: str, metric: str) -> set[str]:
    """Names of the rows with the highest value among those on the same split, compared as printed.

    A row without rivals is not called best, nor is a zero.
    """
    values = {name: result["metrics"].get(iou_type, {}).get(metric) for name, result in results.items()}
    printed = {name: float(percent(value)) for name, value in values.items() if value is not None}
    best = set()
    for split in {split_of(name) for name in printed}:
        rivals = {name: value for name, value in printed.items() if split_of(name) == split}
        if len(rivals) > 1:
            best |= {name for name, value in rivals.items() if value == max(rivals.values()) > 0}
    return best


def percent(value: float | None) -> str:
    """A fraction as percent with one decimal; a dash for none."""
    return "-" if value is None else f"{100 * value:.1f}"


def format_table(results: Results) -> str:
    """Plain-text table of evaluation results in percent, one block per IoU type.

    ``*`` marks the best of several rows of a split.

    Args:
        results: per row name what ``stages.evaluate.run`` returns.
    """
    if not results:
        return "no scores, as nothing was compared with labels"
    types = [t for t in TYPE_NAMES if any(t in result["metrics"] for result in results.values())]
    blocks = [_block({name: result for name, result in results.items() if t in result["metrics"]}, t) for t in types]
    return "\n\n".join(blocks)


def _block(results: Results, iou_type: str) -> str:
    metrics = list(dict.fromkeys(metric for result in results.values() for metric in result["metrics"][iou_type]))
    best = {metric: best_rows(results, iou_type, metric) for metric in metrics}
    head = [f"{TYPE_NAMES[iou_type]} (%)", *metrics, "images", "found/image"]
    rows = [
        [
            name,
            *(percent(result["metrics"][iou_type].get(m)) + ("*" if name in best[m] else " ") for m in metrics),
            str(result["n_images"]),
            f"{result['predictions_per_image']:.2f}",
        ]
        for name, result in results.items()
    ]
    return text_table(head, rows)


def format_classes(results: Results) -> str:
    """Per-class AP, AP50 and AR in percent, one table per result and IoU type; empty for class-agnostic results."""
    blocks = []
    for name, result in results.items():
        for iou_type, classes in result.get("per_class", {}).items():
            metrics = list(next(iter(classes.values())))
            rows = []
            for category, values in classes.items():
                cells = (str(values[m]) if m == "n_objects" else percent(values[m]) for m in metrics)
                rows.append([category, *cells])
            blocks.append(text_table([f"{name}, {TYPE_NAMES[iou_type]} (%)", *metrics], rows))
    return "\n\n".join(blocks)
