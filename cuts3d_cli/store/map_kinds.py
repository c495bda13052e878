"""What a map of numbers looks like: labels of objects, depth, depth in too coarse a unit, or of the other direction.

Only for a warning, so the limits are on the safe side of what was met. Of the pairs of neighbouring pixels, 99.6 % and
more are equal in label maps of table-top scenes; 94 % at most in 1600 depth maps of sensors, stereo and a renderer (8
and 16 bit), and 98.4 % at most where some of these were reduced to 20 steps.
"""

from __future__ import annotations

import numpy as np

MOST_LABELS = 64
"""A map of more values is not taken for a label map, and one of fewer not for depth."""

EQUAL_IN_LABELS = 0.985
"""Fraction of pairs of neighbouring pixels that are equal, from which a map may be one of labels."""

EQUAL_IN_DEPTH = 0.9
"""The same, below which it may be depth."""

MOST_COARSE = 20
"""A depth map of so few different whole numbers separates little: a table-top scene in decimetres has 8 to 16, in
centimetres 70; the shallowest of 1449 rooms has 22 in 8 bit."""

COARSE_PIXELS = 1000
"""Fewer readings say nothing of the unit."""

CLEAR_TREND = 0.8
"""Rank correlation of the medians of the rows with their place, from which a map grows or falls from row to row."""

CLEAR_RANGE = 0.3
"""Part of the largest of these medians that they have to span: a camera that looks straight down sees but its tilt."""

MILLIMETRES_FROM = 100.0
"""Farthest distance from which values are read as millimetres: few scenes end at 10 cm or at 100 m."""

NEARLY_BLACK = 8192
"""Highest value of 16 bit below which a picture shows nothing: 31 of 255."""

GRID = 64
"""Rows and columns that are looked at for the trend."""


def is_like_labels(values: np.ndarray) -> bool:
    """Whether a map (H, W) holds nothing but 1, 2, ... in large areas: at least two of them, and 0 or 255 perhaps."""
    if values.size == 0 or values.dtype.kind not in "biuf" or not 2 <= values.max() <= 255 or values.min() < 0:
        return False
    whole = values.astype(np.uint8)
    if not np.array_equal(whole, values):
        return False
    there = np.flatnonzero(np.bincount(whole.ravel(), minlength=256)[1:255]) + 1
    counted = 2 <= len(there) <= MOST_LABELS and there[-1] == len(there)
    return counted and equal_neighbours(whole) >= EQUAL_IN_LABELS


def is_like_depth(values: np.ndarray) -> bool:
    """Whether a map (H, W) of integers has many values, which change from pixel to pixel."""
    return equal_neighbours(values) < EQUAL_IN_DEPTH and len(np.unique(values)) > MOST_LABELS


def equal_neighbours(values: np.ndarray) -> float:
    """Fraction of pairs of neighbouring pixels of a map (H, W) that are equal; 1 without any."""
    equal = [np.equal(values[1:], values[:-1]), np.equal(values[:, 1:], values[:, :-1])]
    pairs = sum(each.size for each in equal)
    return sum(int(np.count_nonzero(each)) for each in equal) / pairs if pairs else 1.0


def is_like_label_image(values: np.ndarray) -> bool:
    """Whether a picture (H, W) of one channel has few values in large areas, as no photograph has."""
    return 2 <= len(np.unique(values)) <= MOST_LABELS and equal_neighbours(values) >= EQUAL_IN_LABELS


def is_nearly_black(values: np.ndarray) -> bool:
    """Whether a picture (H, W) of 16 bit is nearly black when scaled to 8, as depth maps in millimetres are."""
    return values.dtype.itemsize == 2 and 0 < values.max() < NEARLY_BLACK


def is_coarse(readings: np.ndarray) -> bool:
    """Whether readings (N,) of depth are small whole numbers of which few differ: depth rounded to a coarse unit."""
    if readings.size < COARSE_PIXELS or not 0 <= readings.max() < MILLIMETRES_FROM:
        return False
    values = np.unique(readings)
    return len(values) <= MOST_COARSE and np.array_equal(values, np.rint(values))


def row_trend(values: np.ndarray, reading: np.ndarray) -> int:
    """Whether a map clearly grows from the top row to the bottom row (1), falls (-1), or neither (0).

    What is lower in an image is nearer nearly always: of 1600 depth maps of sensors, stereo and a
    renderer none grows, and most fall.

    Args:
        values: (H, W) numbers.
        reading: (H, W) bool, where they count.
    """
    rows, columns = (np.linspace(0, side - 1, min(side, GRID)).round().astype(int) for side in values.shape)
    places, medians = [], []
    for row in rows:
        there = values[row, columns][reading[row, columns]]
        if 8 * len(there) >= len(columns):
            places.append(row)
            medians.append(float(np.median(there)))
    if 2 * len(places) < len(rows) or np.ptp(medians) <= CLEAR_RANGE * np.abs(medians).max():
        return 0
    ranks = np.unique(medians, return_inverse=True)[1]
    correlation = np.corrcoef(ranks, places)[0, 1]
    return int(np.sign(correlation)) if abs(correlation) >= CLEAR_TREND else 0
