"""The confidence map of an instance as part of its COCO annotation: cropped, a byte per patch, compressed.

A map has few distinct values (it is the mean over T cuts), so a byte per patch names them exactly. A map with more than
255 values inside the instance, such as the CRF's probability on a fine grid, is quantised to 255 even levels.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

LEVELS = 255
"""Codes of patches inside the instance; code 0 is outside."""


MOST_PATCHES = 4096
"""Most rows or columns of a map that is read; no model has a patch grid of so many."""


@dataclass(frozen=True, eq=False)
class Confidence:
    """Confidence map of an instance.

    Attributes:
        grid: (h, w) float32 on the patch grid, 0 outside the instance; its values are those of float16.
        sc_min: least value that the confidence has inside an instance (Sec. 3.4).
    """

    grid: np.ndarray
    sc_min: float

    def encode(self) -> dict[str, Any]:
        """The map as JSON takes it; `decode` gives it back, exactly up to 255 distinct values inside the instance.

        Returns:
            ``size`` rows and columns of the patch grid; ``box`` x, y, width, height of what is not 0, in patches;
            ``values`` that the codes 1, 2, ... stand for, or ``range``, the first and last of 255 even levels;
            ``codes`` base64 of the zlib-compressed codes of the box, row by row; ``sc_min``.

        Raises:
            ValueError: the map is not (h, w), or a value is negative or not finite.
        """
        grid = np.asarray(self.grid, np.float16)
        if grid.ndim != 2 or not np.isfinite(grid).all() or (grid < 0).any():
            raise ValueError(f"confidence: expected (h, w) finite and at least 0, got shape {grid.shape}")
        x, y, width, height = box = _box(grid > 0)
        inside = grid[y : y + height, x : x + width]
        values = np.unique(inside[inside > 0])
        if len(values) <= LEVELS:
            codes, meaning = np.searchsorted(values, inside) + 1, {"values": values.tolist()}
        else:
            low, high = ends = float(values[0]), float(values[-1])
            share = (inside.astype(np.float64) - low) / (high - low)
            codes, meaning = 1 + np.rint(share * (LEVELS - 1)), {"range": list(ends)}
        codes = np.where(inside > 0, codes, 0).astype(np.uint8)
        packed = base64.b64encode(zlib.compress(codes.tobytes(), 9)).decode("ascii")
        size = [int(side) for side in grid.shape]
        return {"size": size, "box": box, **meaning, "codes": packed, "sc_min": float(self.sc_min)}

    @classmethod
    def decode(cls, record: Mapping[str, Any]) -> Confidence:
        """The map of what `encode` made.

        Raises:
            ValueError: the record is damaged.
        """
        try:
            h, w = record["size"]
            x, y, width, height = record["box"]
            if not (0 <= x <= x + width <= w <= MOST_PATCHES and 0 <= y <= y + height <= h <= MOST_PATCHES):
                raise ValueError(f"a box outside the map, or more than {MOST_PATCHES} patches a side")
            values = np.asarray(record["values"] if "values" in record else _levels(*record["range"]), np.float64)
            if not ((values >= 0) & (values <= 1 + 1e-6)).all():  # levels are rounded
                raise ValueError("a value outside [0, 1]")
            packed, sc_min = base64.b64decode(record["codes"], validate=True), float(record["sc_min"])
            if not 0 <= sc_min <= 1:
                raise ValueError("sc_min outside [0, 1]")
            codes = _unpacked(packed, height * width).reshape(height, width)
            grid = np.zeros((h, w), np.float32)
            grid[y : y + height, x : x + width] = np.array([0, *values], np.float32)[codes]
        except (KeyError, IndexError, TypeError, ValueError, OverflowError, zlib.error) as error:
            raise ValueError(f"damaged confidence ({type(error).__name__}: {error})") from None
        return cls(grid, sc_min)


def _box(inside: np.ndarray) -> list[int]:
    """x, y, width, height of what is True in (h, w) bool; zeros for nothing."""
    columns, rows = np.flatnonzero(inside.any(axis=0)), np.flatnonzero(inside.any(axis=1))
    if not len(rows):
        return [0, 0, 0, 0]
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]


def _unpacked(packed: bytes, n: int) -> np.ndarray:
    """(n,) uint8 of zlib-compressed bytes, of which no more are unpacked than there should be."""
    unpacking = zlib.decompressobj()
    codes = np.frombuffer(unpacking.decompress(packed, n + 1), np.uint8)
    if len(codes) == n and not unpacking.eof:
        unpacking.decompress(unpacking.unconsumed_tail, 1)
    if len(codes) != n or not unpacking.eof:
        raise ValueError(f"codes of another number than the {n} of the box")
    return codes


def _levels(low: float, high: float) -> np.ndarray:
    return np.linspace(low, high, LEVELS)
