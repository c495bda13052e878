"""Specks: small parts of masks, which people who correct masks would have to delete one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from pycocotools import mask as mask_api

from cuts3d_cli.store.coco import encode_mask, mask_of


class Dropped(NamedTuple):
    """How many parts were dropped, and of how many objects."""

    parts: int
    objects: int


def without_specks(
    entries: Sequence[Mapping[str, Any]], images: Sequence[Mapping[str, Any]], least: int
) -> tuple[list[dict[str, Any]], Dropped]:
    """Annotations without the parts of their masks that are smaller than ``least`` pixels; crowd regions stay.

    The largest part of an object stays however small it is. Pixels that touch at a corner alone are parts of their own,
    as in polygons along the edges of pixels.

    Args:
        entries: checked annotations with masks.
        images: the records of their images.
        least: area in px; 0 and 1 keep everything.
    """
    by_id = {image["id"]: image for image in images}
    kept, parts, objects = [], 0, 0
    for entry in map(dict, entries):
        if least > 1 and not entry.get("iscrowd"):
            mask, n_dropped = _largest(mask_of(entry, by_id[entry["image_id"]]), least)
            if n_dropped:
                code = encode_mask(mask)
                box = [float(value) for value in mask_api.toBbox(code)]
                entry |= {"segmentation": code, "bbox": box, "area": int(mask_api.area(code))}
                parts, objects = parts + n_dropped, objects + 1
        kept.append(entry)
    return kept, Dropped(parts, objects)


def _largest(mask: np.ndarray, least: int) -> tuple[np.ndarray, int]:
    """A mask (H, W) bool without its small parts, and how many those are."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0  # the background
    keep = areas >= least
    keep[areas.argmax()] = mask.any()
    return keep[labels], int((~keep[1:]).sum())
