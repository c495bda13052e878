import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from cuts3d_cli.errors import StoreError
from cuts3d_cli.store.coco import (
    annotation,
    confidence_of,
    cut_of,
    decode_mask,
    encode_mask,
    image_entry,
    quality_of,
    score_of,
)
from cuts3d_cli.store.confidence import Confidence
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.store.masks import PSEUDO_MASKS, MaskFile, write_masks


def ring(h=30, w=50):
    mask = np.zeros((h, w), bool)
    mask[5:20, 10:40] = True
    mask[9:12, 20:25] = False  # a hole
    mask[25:28, 2:5] = True  # a second part
    return mask


def test_pycocotools_reads_the_same_masks_and_sizes(tmp_path):
    record = ImageRecord(7, "a/b.jpg", 30, 50, "d")
    masks = MaskFile(PSEUDO_MASKS, tmp_path, [image_entry(record)], [annotation(7, ring(), 0.5)])
    write_masks(tmp_path / "m.json", masks)
    coco = COCO(str(tmp_path / "m.json"))
    image, found = coco.loadImgs(7)[0], coco.loadAnns(coco.getAnnIds(imgIds=7))[0]
    assert (image["height"], image["width"]) == (30, 50)
    np.testing.assert_array_equal(coco.annToMask(found).astype(bool), ring())
    assert found["area"] == ring().sum() and found["bbox"] == [2, 5, 38, 23] and found["iscrowd"] == 0


def test_code_and_decode_are_inverse():
    assert json.loads(json.dumps(encode_mask(ring())))["size"] == [30, 50]
    np.testing.assert_array_equal(decode_mask(encode_mask(ring())), ring())


def test_what_is_ours_in_an_annotation():
    confidence = Confidence(np.full((3, 4), 0.75), 0.5)
    entry = json.loads(json.dumps(annotation(1, ring(), 0.25, cut=np.int64(2), confidence=confidence)))
    found = confidence_of(entry)
    assert (score_of(entry), cut_of(entry), found.sc_min) == (0.25, 2, 0.5)
    np.testing.assert_array_equal(found.grid, confidence.grid)


def test_annotations_of_others_have_none_of_it():
    entry = annotation(1, ring(), 0.5)
    assert not {"cut", "confidence"} & entry.keys() and cut_of(entry) is None and confidence_of(entry) is None
    del entry["score"]
    assert score_of(entry) == 1 and confidence_of({**entry, "confidence": 0.9}) is None


def test_a_damaged_confidence_is_named():
    entry = {"id": 7, **annotation(1, ring(), 0.5, confidence=Confidence(np.ones((3, 4)), 0.5))}
    del entry["confidence"]["size"]
    with pytest.raises(StoreError, match=r"annotation 7: damaged confidence \(KeyError: 'size'\)"):
        confidence_of(entry)


@pytest.mark.parametrize("quality", [None, "high", True, [0.5], float("nan"), float("inf"), 10**400])
def test_what_others_call_quality_is_none(quality):
    assert quality_of({"quality": quality}) is None and quality_of({"quality": 1}) == 1
