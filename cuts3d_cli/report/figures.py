"""Curves of the report, and pictures as data URIs, so that the page is self-contained."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from cuts3d_cli.evaluation.table import TYPE_NAMES, round_of, split_of
from cuts3d_cli.pipeline.methods import METHODS

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "svg.hashsalt": "cuts3d",  # the same run gives the same file
}
COLOURS = ("#c2410c", "#1d4ed8", "#0f766e", "#7e22ce", "#a16207", "#be185d")
Curve = Sequence[Mapping[str, float]]


def loss_curves(curves: Mapping[str, Curve]) -> bytes:
    """SVG of the total loss over iterations: every point faint, with a running mean over 1/20 of the training on top.

    Args:
        curves: for each training its points with ``iteration`` and ``loss``.
    """
    with rc_context(STYLE):
        figure, axes = _figure()
        for colour, (name, points) in zip(_cycle(len(curves)), curves.items(), strict=True):
            iterations = np.array([point["iteration"] for point in points])
            losses = np.array([point["loss"] for point in points], float)
            axes.plot(iterations, losses, color=colour, alpha=0.2, linewidth=0.7)
            axes.plot(
                iterations, running_mean(losses, max(1, len(losses) // 20)), color=colour, linewidth=1.6, label=name
            )
        axes.set(xlabel="iteration", ylabel="training loss")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
        return _svg(figure)


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Mean over a centred window that shrinks at the ends; same length."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - width // 2, 0), np.minimum(index + (width + 1) // 2, len(values))
    return (sums[high] - sums[low]) / (high - low)


def ap_over_rounds(results: Mapping[str, Mapping[str, Any]]) -> bytes | None:
    """SVG of the detector's AP over self-training rounds on the held-out images, pseudo-masks as horizontal lines.

    None where no round was evaluated.
    """
    rounds = sorted((round_of(name), name) for name in results if round_of(name) is not None)
    if not rounds:
        return None
    split = split_of(rounds[0][1])
    types = [t for t in TYPE_NAMES if t in results[rounds[0][1]]["metrics"]]
    lines = [(t, metric) for t in types for metric in ("AP50", "AP")]
    levels = {
        method.title: (f"{name}_{split}", dash)
        for (name, method), dash in zip(METHODS.items(), itertools.cycle((":", (0, (1, 3)), "-.")))
    }
    with rc_context(STYLE):
        figure, axes = _figure()
        numbers = [number for number, _ in rounds]
        for colour, (iou_type, metric) in zip(_cycle(len(lines)), lines, strict=True):
            values = [_percent(results[name], iou_type, metric) for _, name in rounds]
            dash, label = "-" if metric == "AP" else "--", f"{TYPE_NAMES[iou_type]} {metric}"
            axes.plot(numbers, values, dash, color=colour, marker="o", markersize=4, label=label)
        for title, (name, dash) in levels.items():
            if name in results:
                level, label = _percent(results[name], types[0], "AP"), f"{title} masks, {TYPE_NAMES[types[0]]} AP"
                axes.axhline(level, linestyle=dash, color="#555555", linewidth=1, label=label)
        axes.set(xlabel="self-training round", ylabel="AP in percent", xticks=numbers)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return _svg(figure)


def svg_uri(svg: bytes) -> str:
    """An SVG as data URI."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def jpeg_uri(picture: np.ndarray, quality: int = 82) -> str:
    """A picture (H, W, 3) uint8 RGB as data URI."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _figure() -> tuple[Figure, Any]:
    figure = Figure(figsize=(6.0, 3.0), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _cycle(n: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(n)]


def _percent(result: Mapping[str, Any], iou_type: str, metric: str) -> float:
    value = result["metrics"].get(iou_type, {}).get(metric)
    return float("nan") if value is None else 100 * value
