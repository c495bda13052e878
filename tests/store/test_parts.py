"""Small parts of masks are dropped, counted, and never a whole object."""

import numpy as np
import pytest

from cuts3d_cli.store.coco import annotation, mask_of
from cuts3d_cli.store.parts import without_specks

IMAGES = [{"id": 1, "file_name": "a.png", "height": 40, "width": 60}]


def mask_with_parts() -> np.ndarray:
    """Parts of 100, 20, 19 and 1 px; the last touches the first at a corner."""
    mask = np.zeros((40, 60), bool)
    mask[:10, :10] = mask[20:24, 20:25] = mask[30, 20:39] = mask[10, 10] = True
    return mask


@pytest.mark.parametrize(
    ("least", "area", "parts"), [(0, 140, 0), (1, 140, 0), (2, 139, 1), (20, 120, 2), (999, 100, 3)]
)
def test_parts_below_the_least_area_go_and_the_largest_stays(least, area, parts):
    entry = {"id": 7, **annotation(1, mask_with_parts(), 0.8, quality=0.5)}
    (kept,), dropped = without_specks([entry], IMAGES, least)
    mask = mask_of(kept, IMAGES[0])
    assert mask.sum() == kept["area"] == area and mask[:10, :10].all()
    assert dropped == (parts, bool(parts)) and not (mask & ~mask_with_parts()).any()
    assert kept["bbox"] == annotation(1, mask, 1.0)["bbox"]
    assert {key: kept[key] for key in ("id", "score", "quality", "image_id")} == {
        "id": 7, "score": 0.8, "quality": 0.5, "image_id": 1,
    }  # fmt: skip
    assert entry["area"] == 140


def test_crowds_and_empty_masks_stay():
    crowd = {**annotation(1, mask_with_parts(), 1.0), "iscrowd": 1}
    empty = annotation(1, np.zeros((40, 60), bool), 1.0)
    kept, dropped = without_specks([crowd, empty], IMAGES, 50)
    assert kept == [crowd, empty] and dropped == (0, 0)
