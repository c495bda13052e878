"""Masks as arrays: components, overlap, resizing, boxes, and the merge of a self-training round."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order


def component_of(mask: np.ndarray, seed: int) -> np.ndarray:
    """The 4-connected part of a mask that holds a pixel.

    Args:
        mask: (h, w) bool.
        seed: flat index of the pixel.

    Returns:
        (h, w) bool; empty where the pixel is outside the mask.
    """
    labels, _ = ndimage.label(mask)
    label = labels.flat[seed]
    return labels == label if label else np.zeros(mask.shape, dtype=bool)


def alike_component(mask: np.ndarray, seed: int, alike: np.ndarray) -> np.ndarray:
    """The part of a mask that leads to a pixel from neighbour to neighbour (of four), each pair of them alike.

    Args:
        mask: (h, w) bool.
        seed: flat index of the pixel.
        alike: (n, n) bool, symmetric, n = h * w.

    Returns:
        (h, w) bool; empty where the pixel is outside the mask.
    """
    if not mask.flat[seed]:
        return np.zeros(mask.shape, dtype=bool)
    index = np.arange(mask.size).reshape(mask.shape)
    a = np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()])
    b = np.concatenate([index[:, 1:].ravel(), index[1:].ravel()])
    joined = mask.flat[a] & mask.flat[b] & alike[a, b]
    graph = csr_array((np.ones(joined.sum(), dtype=bool), (a[joined], b[joined])), shape=(mask.size, mask.size))
    part = np.zeros(mask.shape, dtype=bool)
    part.flat[breadth_first_order(graph, seed, directed=False, return_predecessors=False)] = True
    return part


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """(h, w) bool with every background part that does not touch the border filled (4-connected)."""
    return ndimage.binary_fill_holes(mask)


def mask_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair.

    Args:
        a: (A, h, w) bool.
        b: (B, h, w) bool.

    Returns:
        (A, B) float64; two empty masks have 0.

    Raises:
        ValueError: masks of different size.
    """
    if a.ndim != 3 or b.ndim != 3 or a.shape[1:] != b.shape[1:]:
        raise ValueError(f"masks: expected (A, h, w) and (B, h, w), got {a.shape} and {b.shape}")
    # float32 sums of 0 and 1 are exact up to 2^24; larger images need float64
    pixels = a.shape[1] * a.shape[2]
    dtype = np.dtype(np.float32 if pixels < 2**24 else np.float64)
    flat_a, flat_b = a.reshape(len(a), pixels).astype(dtype), b.reshape(len(b), pixels).astype(dtype)
    both = (flat_a @ flat_b.T).astype(np.float64)
    either = flat_a.sum(axis=1, dtype=np.float64)[:, None] + flat_b.sum(axis=1, dtype=np.float64)[None, :] - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)


def resize_map(values: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize a map of numbers: bilinear where it grows, mean over the area where it shrinks.

    Args:
        values: (h, w) float.
        size_hw: rows and columns of the result.

    Returns:
        size_hw float32.
    """
    shrinks = size_hw[0] < values.shape[0] or size_hw[1] < values.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(values, dtype=np.float32), (size_hw[1], size_hw[0]), interpolation=how)


def resize_inside(values: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize a map that says something where it is above 0 only, such as a confidence inside its instance.

    The zeros around do not draw it down at the border, and it goes on a little beyond.

    Args:
        values: (h, w) float, 0 or more.
        size_hw: rows and columns of the result.

    Returns:
        size_hw float32; 0 out of reach of what is above 0.
    """
    share = resize_map(values > 0, size_hw)
    return resize_map(values, size_hw) / np.maximum(share, 1e-6)


def enlarge(mask: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Enlarge a grid mask by repeating its patches (nearest), as CutLER does before the CRF.

    Args:
        mask: (h, w) bool.
        size_hw: rows and columns of the result.

    Returns:
        size_hw bool.
    """
    grown = cv2.resize(mask.astype(np.uint8), (size_hw[1], size_hw[0]), interpolation=cv2.INTER_NEAREST)
    return grown.astype(bool)


def enlarge_all(masks: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """`enlarge` of masks (M, h, w) bool, M may be 0: (M, *size_hw) bool."""
    return np.array([enlarge(mask, size_hw) for mask in masks], bool).reshape(-1, *size_hw)


def boxes_xywh_px(masks: np.ndarray) -> np.ndarray:
    """Tight boxes of masks.

    Args:
        masks: (N, H, W) bool.

    Returns:
        (N, 4) float64: left, top, width, height in pixels, whole pixels included; zeros for an empty mask.
    """
    boxes = np.zeros((len(masks), 4))
    columns, rows = np.any(masks, axis=1), np.any(masks, axis=2)
    for box, in_columns, in_rows in zip(boxes, columns, rows, strict=True):
        if in_rows.any():
            x, y = np.flatnonzero(in_columns), np.flatnonzero(in_rows)
            box[:] = x[0], y[0], x[-1] - x[0] + 1, y[-1] - y[0] + 1
    return boxes


def merge_round(
    predictions: np.ndarray, scores: np.ndarray, earlier: np.ndarray, *, score_threshold: float, merge_iou: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which masks of one image train the next round (Sec. 4, as CutLER).

    Predictions with a score above the threshold stay, and every earlier mask whose IoU with each of those is at most
    ``merge_iou``.

    Args:
        predictions: (P, h, w) bool.
        scores: (P,) float.
        earlier: (E, h, w) bool, masks of the round before.
        score_threshold: of this round.
        merge_iou: largest overlap of an earlier mask that stays.

    Returns:
        Indices of the predictions that stay, in their order, and of the earlier masks that stay, in theirs.

    Raises:
        ValueError: numbers of masks and scores, or sizes, that do not fit.
    """
    if len(predictions) != len(scores):
        raise ValueError(f"scores: expected {len(predictions)}, one per prediction, got {len(scores)}")
    kept = np.flatnonzero(np.asarray(scores) > score_threshold)
    overlap = mask_iou(earlier, predictions[kept])
    return kept, np.flatnonzero((overlap <= merge_iou).all(axis=1))
