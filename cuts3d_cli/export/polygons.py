"""Outlines of masks as polygons that a reader turns back into the same pixels.

Readers differ in what a coordinate means. For some (pycocotools, CVAT) pixel (x, y) covers the square from (x, y) to
(x + 1, y + 1): they get outlines along the edges of pixels. Others (OpenCV, Pillow) draw through pixels and fill,
the line included: they get outlines through the pixels of the border. Either way the area stays that of the mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from scipy.spatial import cKDTree

Ring = np.ndarray
"""(n, 2) int, the corners (x, y) of a closed line, the first not repeated."""

LEAST_CORNERS = 3
"""YOLO's readers take a line with fewer for a box; labelme's polygons have as many."""


def edge_parts(mask: np.ndarray) -> list[list[Ring]]:
    """Outlines along the edges of pixels, by part: its outer ring, clockwise in the picture, then its holes.

    Pixels that touch at a corner alone are parts of their own; a hole that touches the outside there is no hole.

    Args:
        mask: (H, W) bool.

    Returns:
        Rings with integer corners, 0 to W and 0 to H; a corner at every turn.
    """
    parts: dict[int, list[Ring]] = {}
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    for ring in _edge_rings(mask):
        x, y = ring[0]  # the leftmost of the topmost corners, from where the ring runs to the right
        outer = bool(mask[y, x])
        found = parts.setdefault(int(labels[y if outer else y - 1, x]), [])
        found.insert(0, ring) if outer else found.append(ring[::-1])
    return list(parts.values())


def pixel_parts(mask: np.ndarray) -> list[list[Ring]]:
    """Outlines through the pixels of the border, by part: its outer ring, then its holes.

    Pixels that touch at a corner are of one part. A ring has every pixel of the border, in order.

    Args:
        mask: (H, W) bool.
    """
    rings, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parts: dict[int, list[Ring]] = {}
    for index, ring in enumerate(rings):
        parent = int(tree[0][index][3])
        found = parts.setdefault(index if parent < 0 else parent, [])
        found.insert(0, ring[:, 0]) if parent < 0 else found.append(ring[:, 0])
    return list(parts.values())


def joined(rings: Sequence[Ring]) -> Ring:
    """One ring of several, joined where they are nearest by a line there and back.

    Filled by the even-odd rule it is the rings together: the line encloses nothing, though a reader that draws
    outlines draws it one pixel wide. Between a hole and its outer ring it runs inside the part.
    """
    if len(rings) == 1:
        return rings[0]
    attached: dict[int, list[tuple[int, int, int]]] = {index: [] for index in range(len(rings))}
    last, nearest = 0, {index: (np.inf, 0, 0, 0) for index in range(1, len(rings))}
    while nearest:  # the nearest to what is joined first, so that no line crosses a ring
        tree = cKDTree(rings[last])
        for index, best in nearest.items():
            distances, places = tree.query(rings[index])
            own = int(distances.argmin())
            nearest[index] = min(best, (float(distances[own]), last, int(places[own]), own))
        last = min(nearest, key=lambda index: nearest[index][0])
        _, to, place, own = nearest.pop(last)
        attached[to].append((place, last, own))
    return np.array(list(_walk(rings, attached)))


def without_straight(ring: Ring) -> Ring:
    """A ring without the corners at which it runs straight on; what it draws and encloses is the same."""
    steps = np.sign(np.roll(ring, -1, axis=0) - ring)
    length = np.abs(np.roll(ring, -1, axis=0) - ring)
    plain = (length.min(axis=1) == 0) | (length[:, 0] == length[:, 1])  # along a row, a column or a diagonal
    before = np.roll(steps, 1, axis=0)
    turns = (steps != before).any(axis=1) | ~plain | ~np.roll(plain, 1)
    return ring[turns] if turns.any() else ring[:1]


def polygon_of(ring: Ring) -> Ring:
    """:func:`without_straight`, its first corner repeated where a point or a line has fewer than three."""
    ring = without_straight(ring)
    return np.concatenate([ring, *[ring[:1]] * (LEAST_CORNERS - len(ring))])


def _walk(rings: Sequence[Ring], attached: dict[int, list[tuple[int, int, int]]]) -> Iterator[np.ndarray]:
    """The corners of the joined ring: each ring once round, with a way to every ring attached to it and back."""
    stack = [_round(rings[0], 0, attached[0])]
    while stack:
        step = next(stack[-1], None)
        if step is None:
            stack.pop()
        elif isinstance(step, tuple):
            _, ring, own = step
            stack.append(_round(rings[ring], own, attached[ring]))
        else:
            yield step


def _round(
    ring: Ring, start: int, attached: Sequence[tuple[int, int, int]]
) -> Iterator[np.ndarray | tuple[int, int, int]]:
    """Once round a ring from a corner back to it, with the rings to visit on the way."""
    visits: dict[int, list[tuple[int, int, int]]] = {}
    for visit in attached:
        visits.setdefault(visit[0], []).append(visit)
    for step in range(len(ring)):
        place = (start + step) % len(ring)
        yield ring[place]
        for visit in visits.get(place, ()):
            yield visit
            yield ring[place]
    yield ring[start]


def _edge_rings(mask: np.ndarray) -> list[Ring]:
    """Rings along the edges of pixels, each from the leftmost of its topmost corners to the right.

    Along a row of corners two and two are joined, and along a column; a corner where two pixels touch is two corners.
    """
    padded = np.pad(mask.astype(np.int8), 1)
    above_left, above_right = padded[:-1, :-1], padded[:-1, 1:]
    below_left, below_right = padded[1:, :-1], padded[1:, 1:]
    crossing = (above_left == below_right) & (above_right == below_left) & (above_left != above_right)
    single = (above_left + above_right + below_left + below_right) % 2 == 1
    twice = np.repeat(np.argwhere(crossing), 2, axis=0)
    ys, xs = np.concatenate([np.argwhere(single), twice]).T
    n_single = len(ys) - len(twice)
    right = np.r_[np.zeros(n_single, int), np.arange(len(twice)) % 2]  # the second of two goes on to the right
    down = right.copy()
    turned = above_right[ys[n_single:], xs[n_single:]] == 1  # set above right and below left: the first goes down
    down[n_single:] ^= turned
    in_row, in_column = _pairs(np.lexsort((right, xs, ys))), _pairs(np.lexsort((down, ys, xs)))
    rings, seen = [], np.zeros(len(ys), bool)
    corners = np.stack([xs, ys], axis=1)
    for first in np.lexsort((right, xs, ys)):
        if seen[first]:
            continue
        ring, at = [], int(first)
        while not seen[at]:
            beside = in_row[at]
            seen[at] = seen[beside] = True
            ring += [at, beside]
            at = in_column[beside]
        rings.append(corners[ring])
    return rings


def _pairs(order: np.ndarray) -> list[int]:
    """The partner of each corner where the corners in this order are joined two and two."""
    partner = np.empty(len(order), int)
    partner[order[::2]], partner[order[1::2]] = order[1::2], order[::2]
    return partner.tolist()
