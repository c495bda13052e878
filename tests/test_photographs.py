"""The photo preset on a real photograph with real features: skipped, in words, where either is not there."""

import json
from pathlib import Path

import numpy as np
import pytest

from cuts3d_cli.core.masks import mask_iou

PHOTOGRAPH = "000000297343.jpg"
"""One with a single large object."""


@pytest.fixture
def photograph(coco_photographs, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / PHOTOGRAPH
    path.write_bytes((coco_photographs / "images" / PHOTOGRAPH).read_bytes())
    return path


def truth(annotations: Path) -> np.ndarray:
    """Masks (M, H, W) bool of the photograph's objects."""
    from pycocotools import mask as rle

    document = json.loads(annotations.read_text())
    image = next(entry for entry in document["images"] if entry["file_name"] == PHOTOGRAPH)
    size = image["height"], image["width"]
    polygons = [a["segmentation"] for a in document["annotations"] if a["image_id"] == image["id"] and not a["iscrowd"]]
    return np.stack([rle.decode(rle.merge(rle.frPyObjects(parts, *size))).astype(bool) for parts in polygons])


def test_the_first_mask_of_a_photograph_is_its_object(photograph, coco_photographs, real_weights):
    from cuts3d_cli.config import resolve
    from cuts3d_cli.pipeline.cache import run_image
    from cuts3d_cli.store.coco import decode_mask
    from cuts3d_cli.store.masks import read_masks

    result = run_image("crf", photograph, resolve({"preset": "photo"}))
    first = decode_mask(read_masks(result.paths["crf"]).annotations[0]["segmentation"])
    assert mask_iou(first[None], truth(coco_photographs / "annotations.json")).max() > 0.7
