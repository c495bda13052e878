import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from cuts3d_cli.errors import StoreError
from cuts3d_cli.store.coco import (
    annotation,
    decode_mask,
    encode_mask,
    image_entry,
    image_root,
    moved_confidence,
    read_masks,
    write_masks,
)
from cuts3d_cli.store.manifest import ImageRecord


def ring(h=30, w=50):
    mask = np.zeros((h, w), bool)
    mask[5:20, 10:40] = True
    mask[9:12, 20:25] = False  # a hole
    mask[25:28, 2:5] = True  # a second part
    return mask


def test_pycocotools_reads_the_same_masks_and_sizes(tmp_path):
    record = ImageRecord(7, "a/b.jpg", 30, 50, "d")
    write_masks(
        tmp_path / "m.json",
        kind="pseudo-masks",
        image_root="/i",
        images=[image_entry(record)],
        annotations=[annotation(7, ring(), 0.5)],
    )
    coco = COCO(str(tmp_path / "m.json"))
    image, found = coco.loadImgs(7)[0], coco.loadAnns(coco.getAnnIds(imgIds=7))[0]
    assert (image["height"], image["width"]) == (30, 50)
    np.testing.assert_array_equal(coco.annToMask(found).astype(bool), ring())
    assert found["area"] == ring().sum() and found["bbox"] == [2, 5, 38, 23] and found["iscrowd"] == 0


def test_code_and_decode_are_inverse():
    assert json.loads(json.dumps(encode_mask(ring())))["size"] == [30, 50]
    np.testing.assert_array_equal(decode_mask(encode_mask(ring())), ring())


def test_confidence_pointer_follows_the_file(tmp_path):
    entry = annotation(1, ring(), 1.0, {"store": "../confidence/00000.zarr", "row": 2, "instance": 1})
    moved = moved_confidence(entry, tmp_path / "run/crf/00000.json", tmp_path / "run/pseudo_masks.json")
    assert moved["confidence"] == {"store": "confidence/00000.zarr", "row": 2, "instance": 1}
    assert entry["confidence"]["store"].startswith("../")
    assert "confidence" not in moved_confidence(annotation(1, ring(), 1.0), tmp_path / "a", tmp_path / "b")


def test_annotations_are_numbered_from_one(tmp_path):
    entries = [{"id": 9, **annotation(1, ring(), 1.0)}, annotation(1, ring(), 1.0)]
    write_masks(tmp_path / "m.json", kind="x", image_root="i", images=[], annotations=entries)
    document = read_masks(tmp_path / "m.json")
    assert [a["id"] for a in document["annotations"]] == [1, 2]
    assert image_root(document, tmp_path / "m.json") == tmp_path / "i"


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "expected COCO JSON"), ("[]", "no images and no annotations"), ('{"images": []}', "no annotations")],
)
def test_other_files_are_refused(tmp_path, text, message):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(StoreError, match=message):
        read_masks(tmp_path / "m.json")
