"""The notes at the head of the report: gaps, and results that say little."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cuts3d_cli.config import Config
from cuts3d_cli.evaluation import table
from cuts3d_cli.pipeline.declarations import settings_of
from cuts3d_cli.pipeline.depth_notes import WORDS, holes_text
from cuts3d_cli.pipeline.methods import OWN
from cuts3d_cli.report.depth_facts import DepthFacts
from cuts3d_cli.report.run_summary import SetSummary, differences

NEAR_ZERO = 0.01
"""AP below which a row says little."""

SAME_LOSS = 0.9
"""Part of the loss at first that the loss at last has to be above, to have ended where it began."""

LEARNED = 0.7
"""Part of its value at first to which a loss of a kind that falls with what is learned has to fall."""

FALLING = ("loss_rpn_cls", "loss_mask")
"""Ends of the names of such losses; a cascade's box losses, and with them the sum, rise with the boxes that fit."""

SHORTEST_CURVE = 20
"""Points of a loss curve that can be judged."""


def result_notes(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Notes of the evaluations, each once with the rows it applies to, or with their set if it applies to all."""
    rows: dict[tuple[str | None, str], list[str]] = {}
    for name, result in results.items():
        for note in [*result.get("notes", []), *_weak(result)]:
            rows.setdefault((table.split_of(name), note), []).append(name)
    notes = []
    for (split, note), names in rows.items():
        whole = len(names) == sum(table.split_of(name) == split for name in results)
        set_name = table.SPLIT_NAMES.get(split, "other images")
        only = "" if whole else f", {', '.join(map(table.row_title, names))}"
        notes.append(f"{set_name.capitalize()}{only}: {note}.")
    return notes


def set_notes(sets: Iterable[SetSummary], config: Config) -> list[str]:
    """Results that are damaged, incomplete, or made with other settings."""
    notes = []
    for summary in sets:
        for stage in summary.stages:
            where = f"{summary.title}: {stage.stage}"
            notes += [f"{where}: {problem}." for problem in stage.problems]
            if 0 < stage.n_present < stage.n_shards:
                notes.append(f"{where}: {stage.n_present} of {stage.n_shards} shards exist and are counted.")
            if summary.method == OWN:  # other methods have their own settings
                wanted = settings_of(stage.stage, config)[stage.stage.replace("-", "_")]
                other = "; ".join(differences(stage, wanted))
                notes += [f"{where} was made with settings other than those below: {other}."] if other else []
    return notes


def depth_notes(facts: Mapping[str, DepthFacts]) -> list[str]:
    """Sets of images with large holes in their depth, or with odd depth maps.

    Args:
        facts: depth by the name of the set, in words.
    """
    notes = []
    for name, depth in facts.items():
        if text := holes_text(depth.holes, depth.n_images):
            notes.append(f"{name.capitalize()}: {text}.")
        for note, images in depth.notes.items():
            which = f"{len(images)} of {depth.n_images} images, first {images[0]}"
            notes.append(f"{name.capitalize()}: depth maps, {which}: {WORDS[note]}.")
    return notes


def curve_notes(curves: Mapping[int, Sequence[Mapping[str, float]]]) -> list[str]:
    """Trainings that seem to have learned nothing.

    A round of self-training goes on from a trained detector, so its loss may stay where it is; it should not rise.

    Args:
        curves: points of the loss by the number of the training.
    """
    notes = []
    for number, points in curves.items():
        if len(points) < SHORTEST_CURVE:
            continue
        first, last = _ends(points, "loss")
        kinds = [name for name in points[0] if name.endswith(FALLING)]
        learned = any(after < LEARNED * before for before, after in (_ends(points, name) for name in kinds))
        name, setting = ("Detector", "train") if number == 0 else (f"Detector, round {number}", "selftrain")
        if not np.isfinite(last):
            notes.append(f"{name}: the loss is not a number at the end; the training diverged. Lower {setting}.lr.")
        elif number == 0 and last > SAME_LOSS * first and not learned:
            notes.append(
                f"{name}: the loss ends where it began ({first:.2f} to {last:.2f}), so little was learned. More "
                f"{setting}.iterations, or another {setting}.lr, may help."
            )
        elif number > 0 and last > first / SAME_LOSS:
            notes.append(f"{name}: the loss ends higher than it began ({first:.2f} to {last:.2f}). Lower {setting}.lr.")
    return notes


def _ends(points: Sequence[Mapping[str, float]], name: str) -> tuple[float, float]:
    """Mean of a loss over the first and the last tenth of a curve."""
    values = np.array([point.get(name, np.nan) for point in points], float)
    part = max(1, len(values) // 10)
    return float(values[:part].mean()), float(values[-part:].mean())


def _weak(result: Mapping[str, Any]) -> list[str]:
    """What to say of an AP near zero."""
    metrics = result["metrics"]
    iou_type = next((t for t in table.TYPE_NAMES if t in metrics), None)
    value = metrics[iou_type].get("AP") if iou_type else None
    if value is None or value >= NEAR_ZERO:
        return []
    return [
        f"{table.TYPE_NAMES[iou_type]} AP is near zero (below {100 * NEAR_ZERO:g}), too low to compare such rows; look "
        "at the worst images for what goes wrong"
    ]
