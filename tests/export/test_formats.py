"""Every format, read again: by its own rules here, by others' readers in test_oracles.py."""

import base64
import csv
import io
import json
import os
import xml.etree.ElementTree as ET
from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw
from pycocotools import mask as mask_api

from cuts3d_cli.errors import Cuts3dError, StoreError
from cuts3d_cli.evaluation.readers.formats import read_truth
from cuts3d_cli.export import FORMATS, OUTLINES, SPECKS, export, least_part
from cuts3d_cli.export.objects import COVERED, CROWD, HIDDEN, JOINED
from cuts3d_cli.export.yolo import MISSING, REPEATED
from cuts3d_cli.store.coco import decode_mask, encode_mask
from cuts3d_cli.store.image_files import OUTPUT_RECORD
from cuts3d_cli.store.masks import read_masks
from tests.export.conftest import SIZE_HW, hard_masks, mask_file

Found = dict[str, list[np.ndarray]]


def expected(masks) -> Found:
    """Masks by image, without suffix."""
    found = masks.by_image()
    return {
        image["file_name"].rsplit(".", 1)[0]: [decode_mask(entry["segmentation"]) for entry in found[image["id"]]]
        for image in masks.images
    }


def read_coco(folder) -> Found:
    return expected(read_masks(folder / "masks.json"))


def read_coco_polygons(folder) -> Found:
    masks = read_masks(folder / "masks.json")
    runs = [
        {**entry, "segmentation": mask_api.merge(mask_api.frPyObjects(entry["segmentation"], *SIZE_HW))}
        for entry in masks.annotations
    ]
    assert all(isinstance(entry["segmentation"], list) for entry in masks.annotations)
    return expected(replace(masks, annotations=runs))


def read_yolo(folder, to_pixels=np.trunc) -> Found:
    found = {}
    for path in sorted((folder / "labels").rglob("*.txt")):
        masks = []
        for line in path.read_text().splitlines():
            points = np.array(line.split()[1:], float).reshape(-1, 2) * SIZE_HW[::-1]
            masks.append(cv2.fillPoly(np.zeros(SIZE_HW, np.uint8), [to_pixels(points).astype(np.int32)], 1) > 0)
        found[path.relative_to(folder / "labels").with_suffix("").as_posix()] = masks
    return found


def read_png(folder) -> Found:
    found = {}
    for path in folder.rglob("*.png"):
        labels = np.array(Image.open(path))
        assert labels.dtype == np.uint16
        found[path.relative_to(folder).with_suffix("").as_posix()] = [labels == v for v in np.unique(labels) if v]
    return found


def read_png_per_object(folder) -> Found:
    leaves = [path for path in folder.rglob("*") if path.is_dir() and not any(p.is_dir() for p in path.iterdir())]
    return {
        path.relative_to(folder).as_posix(): [np.array(Image.open(each)) == 255 for each in sorted(path.glob("*.png"))]
        for path in leaves
    }


def read_npy(folder) -> Found:
    return {path.relative_to(folder).with_suffix("").as_posix(): list(np.load(path)) for path in folder.rglob("*.npy")}


def read_labelme(folder) -> Found:
    found = {}
    for path in folder.rglob("*/*.json"):
        document, objects = json.loads(path.read_text()), {}
        assert (path.parent / document["imagePath"]).is_file() and document["imageHeight"] == SIZE_HW[0]
        for number, shape in enumerate(document["shapes"]):
            key = number if shape["group_id"] is None else f"group {shape['group_id']}"
            mask = objects.setdefault(key, np.zeros(SIZE_HW, bool))
            if shape["shape_type"] == "mask":
                (left, top), (right, bottom) = shape["points"]
                inside = np.array(Image.open(io.BytesIO(base64.b64decode(shape["mask"]))))
                mask[top : bottom + 1, left : right + 1] = inside
            else:
                canvas = Image.new("L", SIZE_HW[::-1])
                ImageDraw.Draw(canvas).polygon([tuple(xy) for xy in shape["points"]], outline=1, fill=1)
                mask |= np.array(canvas) > 0
        found[path.relative_to(folder).with_suffix("").as_posix()] = list(objects.values())
    return found


def read_cvat(folder) -> Found:
    found = {}
    for image in ET.parse(folder / "annotations.xml").getroot().iter("image"):
        masks = found.setdefault(image.get("name").rsplit(".", 1)[0], [])
        for shape in image:
            mask = np.zeros(SIZE_HW, bool)
            if shape.tag == "mask":
                left, top, width, height = (int(shape.get(key)) for key in ("left", "top", "width", "height"))
                runs = [int(n) for n in shape.get("rle").split(",")]
                values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
                mask[top : top + height, left : left + width] = values.reshape(height, width)
            else:
                points = [float(v) for pair in shape.get("points").split(";") for v in pair.split(",")]
                mask = mask_api.decode(mask_api.frPyObjects([points], *SIZE_HW))[..., 0] > 0
            masks.append(mask)
    return found


def brush(code: list[int]) -> np.ndarray:
    """Values of Label Studio's run-length code."""
    bits, place, out = "".join(f"{byte:08b}" for byte in code), 0, []

    def take(n):
        nonlocal place
        place += n
        return int(bits[place - n : place], 2)

    total, width = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    while len(out) < total:
        is_run, n = take(1), 1 + take(sizes[take(2)])
        out += [take(width)] * n if is_run else [take(width) for _ in range(n)]
    return np.array(out)


def read_label_studio(folder) -> Found:
    assert {label.get("value") for label in ET.parse(folder / "labels.xml").iter("Label")} == {"object"}
    found = {}
    for task in json.loads((folder / "tasks.json").read_text()):
        (prediction,) = task["predictions"]
        found[task["data"]["file_name"].rsplit(".", 1)[0]] = [
            brush(result["value"]["rle"]).reshape(*SIZE_HW, 4)[..., 3] == 255 for result in prediction["result"]
        ]
    return found


READERS = {name: globals()[f"read_{name.replace('-', '_')}"] for name in FORMATS}


@pytest.mark.parametrize("name", FORMATS)
def test_every_mask_comes_back(hard, tmp_path, name):
    lost = export(hard, name, tmp_path / "out")
    found, right = READERS[name](tmp_path / "out"), expected(hard)
    if name in ("labelme", "yolo", "png-per-object"):  # an image without objects has an empty file or folder
        assert (
            tmp_path
            / "out"
            / {"labelme": "images/none.json", "yolo": "labels/images/none.txt"}.get(name, "images/none")
        ).exists()
    assert {key: len(masks) for key, masks in found.items() if masks} == {k: len(m) for k, m in right.items() if m}
    several = {"images/0/2", "images/0/6", "images/1/7"} if name == "yolo" else set()
    for key, masks in right.items():
        for mask, again in zip(masks, found.get(key, []), strict=False):
            assert (mask <= again).all(), key
            if key not in several:
                np.testing.assert_array_equal(again, mask, err_msg=key)
    assert lost == ({JOINED: 2} if name == "yolo" else {})
    record = json.loads((tmp_path / "out" / OUTPUT_RECORD).read_text())
    n_files = sum(path.is_file() for path in (tmp_path / "out").rglob("*"))
    assert record == {"format": name, "files": n_files, "images": 9, "objects": 8, "lost": lost}


def test_readers_of_yolo_may_cut_or_round(hard, tmp_path):
    export(hard, "yolo", tmp_path / "out")
    cut, rounded = (read_yolo(tmp_path / "out", how) for how in (np.trunc, np.round))
    for key, masks in cut.items():
        np.testing.assert_array_equal(masks, rounded[key])


def test_yolo_has_images_and_classes(hard, tmp_path):
    hard = replace(hard, categories=[{"id": 7, "name": "cat"}, {"id": 1, "name": "object"}])
    export(hard, "yolo", tmp_path / "out")
    assert yaml.safe_load((tmp_path / "out/data.yaml").read_text())["names"] == {0: "cat", 1: "object"}
    assert (tmp_path / "out/labels/images/0/0.txt").read_text().startswith("1 ")
    assert (tmp_path / "out/images/images/0/0.png").read_bytes() == (hard.image_root / "images/0/0.png").read_bytes()
    (hard.image_root / "images/0/0.png").unlink()
    assert export(hard, "yolo", tmp_path / "again")[MISSING] == 1


def test_equal_outlines_in_yolo_are_told(tmp_path):
    disk, other = hard_masks()["plain"], hard_masks()["two holes"]  # the same box
    masks = mask_file(tmp_path / "data", {"a.png": [disk, other, disk, disk], "b.png": [disk]})
    assert export(masks, "yolo", tmp_path / "out") == {REPEATED: 2}
    assert len((tmp_path / "out/labels/a.txt").read_text().splitlines()) == 4, "other readers keep all of them"
    named = [{"id": 1, "name": "cup"}, {"id": 2, "name": "plate"}]
    entries = [{**entry, "category_id": 1 + place % 2} for place, entry in enumerate(masks.annotations[:3])]
    again = replace(masks, annotations=entries, categories=named)
    assert export(again, "yolo", tmp_path / "again") == {REPEATED: 1}


def test_overlaps_in_label_maps_go_to_the_smaller_and_are_told(tmp_path):
    large, small, under = (np.zeros(SIZE_HW, bool) for _ in range(3))
    large[10:50, 10:50] = small[30:55, 30:55] = True
    under[30:54, 30:54] = under[12, 12] = False
    twin = small.copy()
    masks = mask_file(tmp_path / "data", {"a.png": [large, small], "b.png": [small, twin]})
    lost = export(masks, "png", tmp_path / "png")
    assert lost == {COVERED: 1, HIDDEN: 1}
    labels = np.array(Image.open(tmp_path / "png/a.png"))
    np.testing.assert_array_equal(labels == 2, small)
    np.testing.assert_array_equal(labels == 1, large & ~small)
    rows = list(csv.DictReader((tmp_path / "png/objects.csv").open()))
    assert [(row["file"], row["value"], row["score"]) for row in rows] == [
        ("a.png", "1", "1.000000"), ("a.png", "2", "0.900000"), ("b.png", "2", "0.900000"),
    ]  # fmt: skip
    assert int(rows[0]["area_px"]) == (large & ~small).sum() and {row["quality"] for row in rows} == {""}
    for name in ("coco", "coco-polygons", "npy", "png-per-object", "label-studio", "cvat", "labelme", "yolo"):
        assert export(masks, name, tmp_path / name) == ({REPEATED: 1} if name == "yolo" else {})


def test_more_than_255_objects_have_numbers_of_their_own(tmp_path):
    masks = np.zeros((300, *SIZE_HW), bool)
    masks[np.arange(300), np.arange(300) // 90, np.arange(300) % 90] = True
    export(mask_file(tmp_path / "data", {"a.png": list(masks)}), "png", tmp_path / "png")
    assert len(np.unique(np.array(Image.open(tmp_path / "png/a.png")))) == 301


@pytest.mark.parametrize("name", FORMATS)
def test_least_score(hard, tmp_path, name):
    masks = mask_file(tmp_path / "many", {"x/a.png": list(hard_masks().values())})
    export(masks, name, tmp_path / "out", min_score=0.65)
    assert json.loads((tmp_path / "out" / OUTPUT_RECORD).read_text())["objects"] == 4
    if name != "png":
        assert len(READERS[name](tmp_path / "out")["x/a"]) == 4


@pytest.mark.parametrize("name", FORMATS)
def test_small_parts_are_left_out_where_asked_and_counted(tmp_path, name):
    masks = mask_file(tmp_path / "data", {"x/a.png": [hard_masks()["three parts, at the border"]]})
    lost = export(masks, name, tmp_path / "out", min_part=150)
    record = json.loads((tmp_path / "out" / OUTPUT_RECORD).read_text())
    told = {what: n for what, n in lost.items() if what.startswith("parts of fewer")}
    assert told == {SPECKS.format(150): 2} and record["lost"] == lost and record["objects"] == 1
    (mask,) = READERS[name](tmp_path / "out")["x/a"]
    assert not mask[:, :40].any() and mask[45, 85] and mask.sum() == 19 * 9


def test_polygons_of_ours_are_without_specks_by_default(hard):
    assert {name for name in FORMATS if least_part(name, hard)} == set(OUTLINES)
    assert not any(least_part(name, replace(hard, kind="ground truth")) for name in FORMATS)


def test_crowds_stay_in_coco_alone(hard, tmp_path):
    first, *others = hard.annotations
    truth = replace(hard, kind="", annotations=[{**first, "iscrowd": 1}, *others])
    assert export(truth, "npy", tmp_path / "npy") == {CROWD: 1}
    for name in ("coco", "coco-polygons"):
        assert export(truth, name, tmp_path / name) == {}
        again = read_masks(tmp_path / name / "masks.json").annotations
        assert [entry["iscrowd"] for entry in again].count(1) == 1 and isinstance(again[0]["segmentation"], dict)


def test_ours_stay_ours_in_coco(hard, tmp_path):
    export(hard, "coco", tmp_path / "out")
    again = read_masks(tmp_path / "out/masks.json", own=True)
    assert again.annotations == hard.annotations and again.image_root == hard.image_root


def test_images_of_one_stem_have_files_of_their_own(tmp_path):
    masks = mask_file(tmp_path / "data", {"a.png": list(hard_masks().values())[:1], "a.bmp": [], "A/b.png": []})
    export(masks, "yolo", tmp_path / "out")
    names = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert names >= {"labels/a.png.txt", "labels/a.bmp.txt", "images/a.png.png", "images/a.bmp.bmp", "labels/A/b.txt"}


@pytest.mark.parametrize("name", ["../a.png", "/tmp/a.png", "x/../../a.png"])
def test_no_file_leaves_the_folder(hard, tmp_path, name):
    image = {**hard.images[0], "file_name": name}
    export(replace(hard, images=[image], annotations=hard.annotations[:1]), "npy", tmp_path / "deep/out")
    assert len(list((tmp_path / "deep/out").rglob("a.npy"))) == 1


def test_only_an_earlier_export_is_replaced(hard, tmp_path):
    export(hard, "npy", tmp_path / "out")
    export(replace(hard, images=hard.images[:1], annotations=hard.annotations[:1]), "npy", tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.npy"))) == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    with pytest.raises(Cuts3dError, match="other files"):
        export(hard, "npy", tmp_path / "mine")
    with pytest.raises(Cuts3dError, match="expected a folder; found a file"):
        export(hard, "npy", tmp_path / "mine/notes.txt")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_failed_export_leaves_nothing(hard, tmp_path):
    wrong = {**hard.annotations[-1], "segmentation": {"size": [3, 3], "counts": "09"}}
    with pytest.raises(Cuts3dError, match="size of the segmentation"):
        export(replace(hard, annotations=[*hard.annotations[:-1], wrong]), "npy", tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"annotations": [{"image_id": 99, "bbox": [0, 0, 1, 1]}]}, "image_id; expected the id of a listed image"),
        ({"annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}]}, "segmentation; expected polygons .* found none"),
        ({"images": [{"id": 1, "file_name": "a.png"}]}, "image 1: height; expected a whole number"),
        (
            {"annotations": [{"image_id": 1, "category_id": 5, "segmentation": [[1, 1, 5, 1, 5, 5]]}]},
            "category_id; expected one of the 1 categories listed; found 5",
        ),
    ],
)
def test_wrong_records_are_one_line(hard, tmp_path, change, told):
    with pytest.raises(StoreError, match=told):
        export(replace(hard, **change), "npy", tmp_path / "out")


def test_quality_goes_where_the_score_goes(hard, tmp_path):
    entries = [{**entry, "quality": 0.25} for entry in hard.annotations]
    ranked = replace(hard, annotations=[*entries[:-1], hard.annotations[-1]])
    for name in ("coco", "coco-polygons", "png-per-object", "labelme"):
        export(ranked, name, tmp_path / name)
    for name in ("coco", "coco-polygons"):
        found = json.loads((tmp_path / name / "masks.json").read_text())["annotations"]
        assert [entry.get("quality") for entry in found] == [entry.get("quality") for entry in ranked.annotations]
    rows = list(csv.DictReader((tmp_path / "png-per-object/objects.csv").open()))
    assert [row["quality"] for row in rows] == ["0.250000"] * (len(rows) - 1) + [""]
    documents = [json.loads(path.read_text()) for path in (tmp_path / "labelme").rglob("*.json")]
    shapes = [shape for document in documents for shape in document.get("shapes", [])]
    assert {shape["description"].partition(", ")[2] for shape in shapes} == {"quality 0.250", ""}


def test_files_of_others_in_an_earlier_export_are_kept(hard, tmp_path):
    export(hard, "npy", tmp_path / "out")
    (tmp_path / "out/labels.cache").write_text("of a training")
    export(hard, "npy", tmp_path / "out")
    (tmp_path / "out/notes.txt").write_text("keep")
    with pytest.raises(Cuts3dError, match="1 files besides those of an earlier export"):
        export(hard, "npy", tmp_path / "out")
    assert (tmp_path / "out/notes.txt").read_text() == "keep"


def test_an_export_that_somebody_edited_is_kept(hard, tmp_path):
    export(hard, "labelme", tmp_path / "out")
    path = next(path for path in (tmp_path / "out").rglob("*.json") if path.name != OUTPUT_RECORD)
    path.write_text(path.read_text() + " ")
    os.utime(path, (4e9, 4e9))
    with pytest.raises(Cuts3dError, match="1 files that were changed since"):
        export(hard, "labelme", tmp_path / "out")


@pytest.mark.parametrize("name", ["yolo", "labelme"])
def test_our_own_reader_gives_the_masks_back(hard, tmp_path, name):
    """Of objects in one part without holes, which both formats hold exactly."""
    whole = np.zeros(SIZE_HW, bool)
    whole[5:14, 6:17] = True
    whole[9:12, 17:20] = True
    image, entry = hard.images[0], hard.annotations[0]
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros(SIZE_HW, np.uint8))
    entry = {**entry, "image_id": image["id"], "segmentation": encode_mask(whole), "iscrowd": 0}
    made = replace(hard, images=[{**image, "file_name": "a.png"}], annotations=[entry], image_root=tmp_path)
    export(made, name, tmp_path / "out")
    truth = read_truth(tmp_path / "out", images=tmp_path, format_name=name)
    (found,) = truth.document.annotations
    assert np.array_equal(decode_mask(found["segmentation"]), whole)
