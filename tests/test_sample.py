"""The sample dataset keeps its promises (sample/README.md)."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO

SAMPLE = Path(__file__).resolve().parents[1] / "sample"
COUNTS = {"train": 72, "val": 24}
SIZE_PX = 480

pytestmark = pytest.mark.skipif(not SAMPLE.exists(), reason="sample/ is not part of this installation")


def _load(split):
    return json.loads((SAMPLE / split / "annotations.json").read_text())


@pytest.mark.parametrize("split", COUNTS)
def test_every_scene_has_image_and_depth(split):
    images = _load(split)["images"]
    assert len(images) == COUNTS[split]
    assert len({image["id"] for image in images}) == len(images)
    for folder, suffix in (("images", ".jpg"), ("depth", ".png")):
        stems = {path.stem for path in (SAMPLE / split / folder).iterdir() if path.suffix == suffix}
        assert stems == {Path(image["file_name"]).stem for image in images}


@pytest.mark.parametrize("split", COUNTS)
def test_images_are_well_exposed_and_depth_is_bounded(split):
    for image in _load(split)["images"]:
        colour = cv2.imread(str(SAMPLE / split / "images" / image["file_name"]))
        assert colour.shape == (SIZE_PX, SIZE_PX, 3)
        assert (image["height"], image["width"]) == colour.shape[:2]
        assert 60 < colour.mean() < 230
        depth_mm = cv2.imread(str(SAMPLE / split / "depth" / image["depth_file_name"]), cv2.IMREAD_UNCHANGED)
        assert depth_mm.shape == (SIZE_PX, SIZE_PX) and depth_mm.dtype == np.uint16
        assert depth_mm.min() >= 300 and depth_mm.max() <= 2500


@pytest.mark.parametrize("split", COUNTS)
def test_annotations_read_back(split):
    coco = COCO(str(SAMPLE / split / "annotations.json"))
    assert coco.getCatIds(catNms=["object"]) == [1]
    for image_id in coco.getImgIds():
        records = coco.loadAnns(coco.getAnnIds(imgIds=image_id))
        assert 3 <= len(records) <= 6
        masks = [coco.annToMask(record).astype(bool) for record in records]
        for record, mask in zip(records, masks, strict=True):
            assert record["iscrowd"] == 0 and record["category_id"] == 1
            assert record["segmentation"]["size"] == [SIZE_PX, SIZE_PX]
            assert record["area"] == mask.sum() >= 0.003 * mask.size
            assert record["bbox"] == rle.toBbox(record["segmentation"]).tolist()
        assert np.sum(masks, axis=0).max() == 1, "visible masks do not overlap"


@pytest.mark.parametrize("split", COUNTS)
def test_same_class_objects_touch_in_the_image_and_differ_in_depth(split):
    gaps_m = [image["same_class_contact_gaps_m"] for image in _load(split)["images"]]
    assert np.mean([len(gaps) > 0 for gaps in gaps_m]) >= 0.6
    assert min(gap for gaps in gaps_m for gap in gaps) >= 0.1


def test_splits_share_no_mesh_texture_or_backdrop():
    used = {}
    for split in COUNTS:
        content = _load(split)
        for image in content["images"]:
            assert {a["mesh"] for a in content["annotations"] if a["image_id"] == image["id"]} == set(image["meshes"])
        used[split] = {
            "mesh": {name for image in content["images"] for name in image["meshes"]},
            "texture": {name for image in content["images"] for name in image["textures"]},
            "surface": {image[key] for image in content["images"] for key in ("table", "wall")},
            "backdrop": {image["backdrop"] for image in content["images"]},
        }
    for kind in used["train"]:
        assert used["train"][kind].isdisjoint(used["val"][kind]), kind


def test_total_size():
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) <= 15e6
