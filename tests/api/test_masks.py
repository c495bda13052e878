"""``cuts3d.read_masks`` reads our own files and those of others."""

import json

import numpy as np
import pytest
import yaml

import cuts3d
from cuts3d_cli.config import resolve
from cuts3d_cli.pipeline.image_set import pseudo_masks
from cuts3d_cli.store.coco import encode_mask

SMALL = {"features": {"image_size": 96}, "crf": {"image_size": 96, "iterations": 3}, "localcut": {"tau_knn": 0.115}}


def test_pseudo_masks_of_a_folder(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = resolve({"preset": "embedded", **SMALL})
    path = pseudo_masks([dataset / "images"], config, depth_map=dataset / "depth")
    found = cuts3d.read_masks(path)
    assert len(found) == 4 and found.file_names == ("s1.png", "s2.png", "s3.png", "s4.png")
    assert found.image_root == dataset / "images" and "4 images" in repr(found)
    assert [len(image) for image in found] == [len(image) for image in found[:]]
    for image in found:
        own = cuts3d.segment(
            found.image_root / image.file_name, dataset / "depth", config=yaml.safe_load(config.model_dump_json())
        )
        np.testing.assert_array_equal(image.masks, own.masks)
        np.testing.assert_allclose(image.scores, own.scores, atol=1e-6)
        np.testing.assert_allclose(image.quality, own.quality, atol=1e-6)
        np.testing.assert_array_equal(np.array(image.confidence), own.confidence)
        assert image.size_hw == own.rgb.shape[:2]
    assert found["s3.png"].id == found[2].id == found[-2].id and "s3.png: " in repr(found[2])
    with pytest.raises(KeyError):
        found["s9.png"]
    with pytest.raises(IndexError):
        found[4]


def document(**changes):
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:5] = True
    return {
        "images": [{"id": 3, "file_name": "a.jpg", "height": 6, "width": 8}],
        "annotations": [
            {"id": 1, "image_id": 3, "segmentation": [[2, 1, 5, 1, 5, 4, 2, 4]]},
            {"id": 2, "image_id": 3, "segmentation": encode_mask(mask), "score": 0.5},
            {"id": 3, "image_id": 3, "segmentation": {"size": [6, 8], "counts": [13, 3, 32]}},
        ],
        **changes,
    }


def written(tmp_path, content):
    path = tmp_path / "m.json"
    path.write_text(json.dumps(content))
    return path


def test_polygons_and_codes_of_others(tmp_path):
    (image,) = cuts3d.read_masks(written(tmp_path, document()))
    assert image.masks.sum(axis=(1, 2)).tolist() == [9, 9, 3] and image.scores.tolist() == [1, 0.5, 1]
    assert image.confidence == (None, None, None) and np.isnan(image.quality).all()
    assert repr(image) == "<ImageMasks a.jpg: 3 masks of 6 x 8 px, scores 1.00 0.50 1.00>"


def test_an_image_without_masks(tmp_path):
    (image,) = cuts3d.read_masks(written(tmp_path, document(annotations=[])))
    assert image.masks.shape == (0, 6, 8) and len(image) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"images": [{"id": 3, "file_name": "a.jpg"}]},
            "image 3: height; expected a whole number of pixels; found none",
        ),
        ({"annotations": [5]}, r"annotations\[0\]; expected an object; found 5"),
        (
            {"annotations": [{"id": 8, "image_id": 4}]},
            "annotation 8: image_id; expected the id of a listed image; found 4",
        ),
    ],
)
def test_damaged_files_are_refused(tmp_path, changes, message):
    with pytest.raises(cuts3d.StoreError, match=message):
        cuts3d.read_masks(written(tmp_path, document(**changes)))


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "annotation 1; expected a segmentation or a bbox; found neither"),
        ({"size": [6, 8]}, "annotation 1: counts of the segmentation; expected a list of runs, or a compressed code"),
        ({"size": [6, 6], "counts": "0"}, "annotation 1: size of the segmentation; expected that of the image"),
    ],
)
def test_masks_that_cannot_be_decoded_are_named(tmp_path, segmentation, message):
    entry = {"id": 1, "image_id": 3, "segmentation": segmentation}
    with pytest.raises(cuts3d.StoreError, match=message):
        cuts3d.read_masks(written(tmp_path, document(annotations=[entry])))


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(cuts3d.StoreError, match="found a folder -> name the file in it"):
        cuts3d.read_masks(tmp_path)


def test_a_confidence_that_would_fill_the_memory(tmp_path):
    content = document()
    record = {"size": [10**6, 10**6], "box": [0, 0, 1, 1], "values": [1], "codes": "eJxjBAAAAgAC", "sc_min": 0.5}
    content["annotations"][1]["confidence"] = record
    found = cuts3d.read_masks(written(tmp_path, content))
    with pytest.raises(cuts3d.StoreError, match=r"file .*m\.json: annotation 2: damaged confidence"):
        found[0]


def test_boxes_alone_are_no_masks(tmp_path):
    entry = {"id": 1, "image_id": 3, "bbox": [0, 0, 4, 4]}
    with pytest.raises(cuts3d.StoreError, match=r"annotation 1: segmentation; expected polygons .*; found none"):
        cuts3d.read_masks(written(tmp_path, document(annotations=[entry])))


def test_a_missing_file(tmp_path):
    with pytest.raises(cuts3d.StoreError, match="found no such file"):
        cuts3d.read_masks(tmp_path / "nosuch.json")
