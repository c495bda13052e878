"""Made-up COCO files: rectangles on images that are not square."""

import copy

import numpy as np
import pytest
from pycocotools import mask as rle


def encoded(mask):
    code = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(map(int, code["size"])), "counts": code["counts"].decode()}


def rectangle(size_hw, x, y, w, h):
    mask = np.zeros(size_hw, bool)
    mask[y : y + h, x : x + w] = True
    return mask


def record(image_id, size_hw, box_xywh, **more):
    """Annotation of a rectangle, with everything COCO asks for."""
    mask = rectangle(size_hw, *box_xywh)
    return {
        "image_id": image_id,
        "category_id": 1,
        "segmentation": encoded(mask),
        "bbox": list(map(float, box_xywh)),
        "area": int(mask.sum()),
        "iscrowd": 0,
        **more,
    }


SIZES_HW = {7: (120, 200), 3: (200, 120), 5: (90, 90)}
BOXES_XYWH = {
    7: [(10, 10, 40, 30), (100, 20, 80, 90), (60, 90, 20, 20)],
    3: [(20, 20, 50, 150)],
    5: [(5, 5, 25, 25), (40, 40, 45, 45)],
}


@pytest.fixture
def make_record():
    return record


@pytest.fixture
def truth():
    """Three images (ids out of order), six objects: small, medium and large."""
    images = [{"id": i, "file_name": f"sub/im{i}.jpg", "height": h, "width": w} for i, (h, w) in SIZES_HW.items()]
    annotations = [record(i, SIZES_HW[i], box) for i, boxes in BOXES_XYWH.items() for box in boxes]
    return {
        "images": images,
        "categories": [{"id": 1, "name": "object"}],
        "annotations": [{"id": n, **a} for n, a in enumerate(annotations, start=1)],
    }


@pytest.fixture
def predictions(truth):
    """Perfect predictions under other ids and in another order."""
    new_id = {7: 1, 5: 2, 3: 3}
    images = [{**image, "id": new_id[image["id"]]} for image in reversed(truth["images"])]
    annotations = [
        {**copy.deepcopy(a), "image_id": new_id[a["image_id"]], "score": 0.9 - 0.01 * a["id"]}
        for a in reversed(truth["annotations"])
    ]
    return {"info": {"kind": "predictions", "fingerprint": "f00"}, "images": images, "annotations": annotations}
