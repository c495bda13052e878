"""Mask files: one shape whoever writes them, read back as they were; files of others; older formats."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cuts3d_cli import __version__
from cuts3d_cli.errors import StoreError
from cuts3d_cli.store.checksums import read_own
from cuts3d_cli.store.coco import annotation
from cuts3d_cli.store.layout import FORMAT_VERSION
from cuts3d_cli.store.masks import (
    PREDICTIONS,
    PSEUDO_MASKS,
    Counts,
    MaskFile,
    Provenance,
    read_masks,
    write_masks,
)

IMAGES = [{"id": i, "file_name": f"{i}.png", "width": 8, "height": 6} for i in (1, 2)]


def entry(image_id, score=1.0):
    return annotation(image_id, np.ones((6, 8), bool), score, cut=0)


@pytest.fixture
def masks(tmp_path):
    made = Provenance("f", "i", {"crf": {"min_iou": 0.5}}, {"localcut": "l"})
    return MaskFile(
        PSEUDO_MASKS, tmp_path / "images", IMAGES, [entry(2), entry(1)],
        provenance=made, counts=Counts(1, 1, {"3.png": "broken"}), description="some",
    )  # fmt: skip


@pytest.fixture
def path(masks, tmp_path):
    write_masks(tmp_path / "m.json", masks)
    return tmp_path / "m.json"


def changed(path, change):
    document = read_own(path)
    change(document)
    path.write_text(json.dumps(document))


def test_a_file_is_read_as_it_was_written(masks, path):
    numbered = [{"id": number, **one} for number, one in enumerate(masks.annotations, start=1)]
    assert read_masks(path, own=True) == replace(masks, annotations=numbered)
    assert list(read_masks(path).by_image()) == [1, 2]
    assert read_masks(path).by_image()[1] == [numbered[1]]


def test_info_has_one_shape(masks, path, tmp_path):
    write_masks(tmp_path / "p.json", MaskFile(PREDICTIONS, Path("photos"), [], []))
    for name in ("m.json", "p.json"):
        info = json.loads((tmp_path / name).read_text())["info"]
        assert list(info) == [
            "kind", "description", "format_version", "image_root", "fingerprint", "images", "algorithm", "config",
            "inputs", "version", "counts",
        ]  # fmt: skip
        assert info["format_version"] == FORMAT_VERSION and info["version"] == __version__
        assert list(info["counts"]) == ["done", "no_object", "failures"]
    assert info["description"] == f"predictions made by cuts3d {__version__}, no human annotation used"


def test_the_ranking_is_kept_where_there_is_one(masks, path):
    write_masks(path, replace(masks, rank="quality"))
    assert read_masks(path, own=True).rank == "quality"
    write_masks(path, masks)
    assert read_masks(path, own=True).rank == "" and "rank" not in json.loads(path.read_text())["info"]


def test_annotations_are_numbered_from_one(masks, path):
    write_masks(path, replace(masks, annotations=[{"id": 9, **entry(1)}, entry(1)]))
    assert [one["id"] for one in read_masks(path).annotations] == [1, 2]


def test_a_relative_folder_of_images_is_relative_to_the_file(masks, path, tmp_path, monkeypatch):
    write_masks(path, replace(masks, image_root=Path("../photos")))
    monkeypatch.chdir(tmp_path)
    assert read_masks("m.json").image_root == tmp_path.parent / "photos"


def test_another_kind_is_not_written(masks, path):
    with pytest.raises(ValueError, match="expected one of pseudo-masks, predictions, got 'boxes'"):
        write_masks(path, replace(masks, kind="boxes"))


@pytest.mark.parametrize(
    "info", [None, {}, {"version": "1.0", "description": "COCO"}, {"kind": "ground truth", "version": "0.1.0"}]
)
def test_files_of_others_have_no_provenance(tmp_path, info):
    document = {"images": IMAGES, "annotations": [{"id": 5, "image_id": 1, "bbox": [1, 1, 2, 2], "confidence": 0.5}]}
    path = tmp_path / "m.json"
    path.write_text(json.dumps(document if info is None else {"info": info, **document}))
    found = read_masks(path)
    assert (found.provenance, found.counts) == (Provenance(version=""), Counts())
    assert found.image_root == tmp_path and not found.categories and found.images == IMAGES
    with pytest.raises(StoreError, match=r"m.json are damaged or were not made by cuts3d; expected info with kind"):
        read_masks(path, own=True)


def test_a_file_of_others_may_name_the_folder_of_its_images(tmp_path):
    (tmp_path / "m.json").write_text(json.dumps({"info": {"image_root": "photos"}, "images": [], "annotations": []}))
    assert read_masks(tmp_path / "m.json").image_root == tmp_path / "photos"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected COCO JSON"),
        ("[]", "expected COCO JSON with images and annotations; found an empty list"),
        ('{"images": []}', "no annotations"),
        ('{"images": {}, "annotations": []}', "found an empty object as images"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(StoreError, match=message):
        read_masks(tmp_path / "m.json")


@pytest.mark.parametrize("key", ["fingerprint", "images", "config", "inputs", "counts"])
def test_a_damaged_record_is_named(path, key):
    changed(path, lambda document: document["info"].pop(key))
    with pytest.raises(StoreError, match=rf"m.json are damaged: info; expected .*{key}.*; found KeyError"):
        read_masks(path)


@pytest.mark.parametrize("value", [3, {"done": "1"}, {"done": 1, "failed": 2}, {"failures": 3}])
def test_damaged_counts(path, value):
    changed(path, lambda document: document["info"].update(counts=value))
    with pytest.raises(StoreError, match="are damaged: info"):
        read_masks(path)


@pytest.mark.parametrize(
    ("info", "command"),
    [
        ({"kind": "pseudo-masks", "images": "i"}, "`cuts3d crf`"),
        ({"kind": "pseudo-masks", "shards": ["a", "b"]}, "`cuts3d crf` of every shard and `cuts3d merge`"),
        ({"kind": "pseudo-masks", "round": 1}, "`cuts3d selftrain`"),
        ({"kind": "predictions", "statuses": {}}, "`cuts3d predict`"),
    ],
)
def test_an_older_file_says_which_command_to_rerun(path, info, command):
    changed(path, lambda document: document.update(info={"version": "0.1.0", **info}))
    with pytest.raises(StoreError) as caught:
        read_masks(path)
    text = f"masks {path} are of an older cuts3d; expected format version {FORMAT_VERSION}; found 2 -> rerun {command}"
    assert str(caught.value) == text


def test_a_newer_file(path):
    changed(path, lambda document: document["info"].update(format_version=FORMAT_VERSION + 1))
    with pytest.raises(StoreError, match=r"of a newer cuts3d; .* -> update cuts3d"):
        read_masks(path)


def test_counts_add_up():
    assert Counts(1, 2, {"a": "x"}) + Counts(3, 0, {"b": "y"}) == Counts(4, 2, {"a": "x", "b": "y"})
    assert str(Counts(1, 2, {"a": "x"})) == "1 done, 2 no object, 1 failed" and Counts(1, 2, {"a": "x"}).total == 4
