"""Masks as outlines over a photograph, one layer each, so that a page can switch every mask on and off.

Outlines are SVG paths: small, and sharp at any size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from cuts3d_cli.report.annotations import cut_slots
from cuts3d_cli.report.overlay import colours, overlay, resized_masks
from cuts3d_cli.store.coco import decode_mask

CANVAS = 960
"""Longer side of the plane that outlines are drawn in."""

TOLERANCE = 1.0
"""Largest distance of a simplified outline from the mask's, in units of the plane."""

TRUTH_COLOUR = "#ffffff"


@dataclass(frozen=True)
class Layer:
    """A mask, or several of one kind, over a photograph.

    Attributes:
        number: what is written on the mask; empty for nothing.
        label: what its switch says.
        colour: ``#rrggbb``.
        path: SVG path in units of the plane (`canvas_hw`), filled by the even-odd rule.
        x, y: where the number goes.
        area: fraction of the picture; small masks are drawn over large ones.
        line: outlines alone, dashed, as of the ground truth over other masks.
        shown: whether it is on at first.
    """

    number: str
    label: str
    colour: str
    path: str
    x: int = 0
    y: int = 0
    area: float = 0.0
    line: bool = False
    shown: bool = True


def canvas_hw(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the plane for a picture of any size: the longer side is `CANVAS`."""
    scale = CANVAS / max(size_hw)
    return max(1, round(scale * size_hw[0])), max(1, round(scale * size_hw[1]))


def mask_layers(
    masks: Sequence[np.ndarray],
    size_hw: tuple[int, int],
    *,
    slots: Sequence[int] | None = None,
    labels: Sequence[str] | None = None,
) -> list[Layer]:
    """A layer per mask; an empty mask has none but keeps its number and colour.

    Args:
        masks: (h, w) bool each, of any size; they cover the whole picture.
        size_hw: height and width of the picture, any scale.
        slots: place of each mask among the instances (from 0), which gives its number and colour; its order when left
            out.
        labels: what stands after the number on each switch.
    """
    slots = range(len(masks)) if slots is None else slots
    palette = colours(max(slots, default=-1) + 1)
    height, width = canvas_hw(size_hw)
    found = []
    for position, (slot, mask) in enumerate(zip(slots, masks, strict=True)):
        mask = np.asarray(mask, bool)
        if not mask.any():
            continue
        (large,) = resized_masks(mask[None], height, width)
        if not large.any():  # thinner than a unit of the plane
            continue
        x, y = _inner_point(large)
        label = f"{slot + 1}" + (f"  {labels[position]}" if labels and labels[position] else "")
        path, area = outline(large), float(mask.mean())
        found.append(Layer(str(slot + 1), label, _hex(palette[slot]), path, x, y, area))
    return found


def annotation_layers(
    found: Sequence[Mapping[str, Any]], size_hw: tuple[int, int], values: Sequence[float] | None
) -> list[Layer]:
    """A layer per COCO annotation with a run-length mask, in the colours and with the numbers of their cuts.

    Args:
        found: the annotations.
        size_hw: height and width of the picture, any scale.
        values: on the switch of each, None for nothing.
    """
    masks = [decode_mask(entry["segmentation"]) for entry in found]
    labels = None if values is None else [f"{value:.2f}" for value in values]
    return mask_layers(masks, size_hw, slots=cut_slots(found), labels=labels)


def truth_layer(codes: Sequence[Mapping[str, Any]], size_hw: tuple[int, int], *, shown: bool) -> Layer | None:
    """The outlines of all ground-truth objects as one layer; None without objects.

    Args:
        codes: run-length masks.
        size_hw: height and width of the picture, any scale.
        shown: whether it is on at first.
    """
    masks = [decode_mask(code) for code in codes]
    path = "".join(outline(resized_masks(mask[None], *canvas_hw(size_hw))[0]) for mask in masks)
    if not path:
        return None
    number = f"{len(masks)} object" + ("" if len(masks) == 1 else "s")
    return Layer("", f"ground truth, {number}", TRUTH_COLOUR, path, line=True, shown=shown)


def rasterised(photo: np.ndarray, layers: Sequence[Layer]) -> np.ndarray:
    """Numbered layers over a photograph (H, W, 3) as one picture of its size, as `overlay` draws masks."""
    height, width = canvas_hw(photo.shape[:2])
    masks = np.zeros((max((int(layer.number) for layer in layers), default=0), *photo.shape[:2]), bool)
    for layer in layers:
        canvas = np.zeros((height, width), np.uint8)
        lines = [np.array(re.findall(r"-?\d+", part), np.int32).reshape(-1, 2) for part in layer.path.split("z")[:-1]]
        cv2.fillPoly(canvas, [line.cumsum(0, dtype=np.int32) for line in lines], 1)  # several lines: even-odd rule
        masks[int(layer.number) - 1] = resized_masks(canvas[None] > 0, *photo.shape[:2])[0]
    return overlay(photo, masks)


def outline(mask: np.ndarray) -> str:
    """SVG path around a mask (H, W) bool, holes included, within `TOLERANCE` of it; empty for an empty mask."""
    padded = np.pad(mask.astype(np.uint8), 1)  # so that an outline ends at the border of the picture
    # Twice the size, so that the contour of pixel centres comes near the pixels' edges.
    doubled = cv2.resize(padded, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    lines, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    limit_wh = np.array(mask.shape[::-1])
    parts = []
    for line in lines:
        points = cv2.approxPolyDP(line, 2 * TOLERANCE, True).reshape(-1, 2)
        points = np.clip(np.rint((points + 0.5) / 2 - 1).astype(int), 0, limit_wh)
        points = points[np.abs(points - np.roll(points, 1, axis=0)).sum(1) > 0]
        if len(points) < 3:
            continue
        steps = " ".join(f"{x} {y}" for x, y in np.diff(points, axis=0).tolist())
        parts.append(f"M{points[0, 0]} {points[0, 1]}l{steps}z")
    return "".join(parts)


def _inner_point(mask: np.ndarray) -> tuple[int, int]:
    """A point (x, y) far inside a mask, in its pixels."""
    quarter = mask[::4, ::4] if mask[::4, ::4].any() else mask
    step = 4 if quarter is not mask else 1
    inner = cv2.distanceTransform(np.pad(quarter, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(inner.argmax()), inner.shape)
    return int(x) * step, int(y) * step


def _hex(colour: np.ndarray) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour.tolist())
