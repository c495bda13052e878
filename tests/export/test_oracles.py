"""Exports read by the libraries of those who use the formats: as many objects, the same pixels, or what is told.

They are heavy, so no extra brings them: `pip install supervision ultralytics labelme label-studio-converter` and, in an
environment of its own, `pip install datumaro`; what is not installed is skipped.
"""

from __future__ import annotations

import json
import os
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

from cuts3d_cli.export import export
from cuts3d_cli.export.objects import JOINED
from cuts3d_cli.export.yolo import REPEATED
from tests.export.conftest import SIZE_HW, hard_masks, mask_file

os.environ.setdefault("YOLO_OFFLINE", "true")

HARD = hard_masks()
SEVERAL = ("three parts, at the border", "ragged")
"""Masks of more than one part."""


@pytest.fixture
def flat(tmp_path):
    """The hard masks in images of one folder, as supervision and Ultralytics want them, and one image without any."""
    found = {f"{place}.png": [mask] for place, mask in enumerate(HARD.values())}
    return mask_file(tmp_path / "data", {**found, "none.png": []})


def check(found: dict[str, list[np.ndarray]], *, joined: bool = False) -> None:
    """As many objects and the same pixels; with ``joined`` lines between parts are allowed."""
    assert {name: len(masks) for name, masks in found.items() if masks} == {str(n): 1 for n in range(len(HARD))}
    for place, (name, mask) in enumerate(HARD.items()):
        (again,) = found[str(place)]
        assert (again | mask).sum() == again.sum(), name
        if not (joined and name in SEVERAL):
            assert again.sum() == mask.sum(), name


def test_pycocotools(flat, tmp_path):
    from pycocotools.coco import COCO

    for name in ("coco", "coco-polygons"):
        export(flat, name, tmp_path / name)
        api = COCO(str(tmp_path / name / "masks.json"))
        found = {
            record["file_name"][:-4]: [api.annToMask(a).astype(bool) for a in api.loadAnns(api.getAnnIds([number]))]
            for number, record in api.imgs.items()
        }
        check(found)


def by_supervision(dataset) -> dict[str, list[np.ndarray]]:
    return {
        os.path.basename(path)[:-4]: [] if found.mask is None else [np.asarray(mask) for mask in found.mask]
        for path, _, found in dataset
    }


@pytest.mark.parametrize("name", ["coco", "coco-polygons"])
def test_supervision_reads_coco(flat, tmp_path, name):
    supervision = pytest.importorskip("supervision")
    export(flat, name, tmp_path / "out")
    data = supervision.DetectionDataset.from_coco(
        str(flat.image_root), str(tmp_path / "out/masks.json"), force_masks=True
    )
    found = by_supervision(data)
    if name == "coco":
        check(found)
    else:  # it fills polygons with the pixels below and to the right of the outline, whoever wrote them
        assert [len(found[str(place)]) for place in range(len(HARD))] == [1] * len(HARD)


def test_supervision_reads_yolo(flat, tmp_path):
    supervision = pytest.importorskip("supervision")
    out = tmp_path / "out"
    assert export(flat, "yolo", out) == {JOINED: 2}
    places = (str(out / name) for name in ("images", "labels", "data.yaml"))
    data = supervision.DetectionDataset.from_yolo(*places, force_masks=True)
    assert data.classes == ["object"]
    check(by_supervision(data), joined=True)


def by_ultralytics(folder):
    """The dataset of an export as Ultralytics trains on it."""
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(str(folder / "data.yaml"), autodownload=False)
    assert data["names"] == {0: "object"}
    return YOLODataset(img_path=data["train"], data=data, task="segment", augment=False, imgsz=96)


def test_ultralytics_reads_yolo(flat, tmp_path, monkeypatch):
    pytest.importorskip("ultralytics")
    from ultralytics.data.utils import polygon2mask

    export(flat, "yolo", tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    dataset = by_ultralytics(tmp_path / "out")
    assert len(dataset.labels) == len(HARD) + 1
    found = {}
    for label in dataset.labels:
        name = os.path.basename(label["im_file"])[:-4]
        pixels = [segment * SIZE_HW[::-1] for segment in label["segments"]]
        found[name] = [polygon2mask(SIZE_HW, [each.ravel()]) > 0 for each in pixels]
    check(found, joined=True)


def test_ultralytics_keeps_one_of_equal_outlines(tmp_path, monkeypatch):
    pytest.importorskip("ultralytics")
    masks = mask_file(tmp_path / "data", {"a.png": [HARD["plain"], HARD["one pixel"], HARD["plain"]]})
    lost = export(masks, "yolo", tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    (label,) = by_ultralytics(tmp_path / "out").labels
    assert len(label["segments"]) == 3 - lost[REPEATED] == 2


def test_ultralytics_converts_coco(flat, tmp_path):
    """Its converter takes edges for pixels, so a mask gains the pixels to the right and below; no object is lost."""
    converter = pytest.importorskip("ultralytics.data.converter")
    export(flat, "coco-polygons", tmp_path / "out")
    (tmp_path / "out/cuts3d-output.json").unlink()  # it takes every JSON file for annotations
    converter.convert_coco(str(tmp_path / "out"), str(tmp_path / "theirs"), use_segments=True, cls91to80=False)
    for place, (name, mask) in enumerate(HARD.items()):
        (label,) = (tmp_path / "theirs").rglob(f"{place}.txt")
        (line,) = label.read_text().splitlines()
        points = np.array(line.split()[1:], float).reshape(-1, 2) * SIZE_HW[::-1]
        again = cv2.fillPoly(np.zeros(SIZE_HW, np.uint8), [np.round(points).astype(np.int32)], 1) > 0
        assert (mask <= again).all(), name


def test_labelme(flat, tmp_path):
    pytest.importorskip("labelme")
    from labelme.utils import img_b64_to_arr, shapes_to_label

    export(flat, "labelme", tmp_path / "out")
    found = {}
    for path in (tmp_path / "out").glob("[0-9n]*.json"):
        shapes = json.loads(path.read_text())["shapes"]
        for shape in shapes:
            if shape["mask"] is not None:
                shape["mask"] = img_b64_to_arr(shape["mask"]).astype(bool)
        _, instances = shapes_to_label(SIZE_HW, shapes, {"object": 1})
        found[path.stem] = [instances == number for number in np.unique(instances) if number]
    check(found)


def test_label_studio(flat, tmp_path):
    brush = pytest.importorskip("label_studio_converter.brush")
    export(flat, "label-studio", tmp_path / "out")
    found = {}
    for task in json.loads((tmp_path / "out/tasks.json").read_text()):
        results = task["predictions"][0]["result"]
        codes = (brush.decode_rle(result["value"]["rle"]) for result in results)
        found[task["data"]["file_name"][:-4]] = [code.reshape(*SIZE_HW, 4)[..., 3] > 0 for code in codes]
    check(found)


@pytest.mark.parametrize("name", ["coco", "coco-polygons", "cvat"])
def test_datumaro(flat, tmp_path, name):
    datumaro = pytest.importorskip("datumaro")
    export(flat, name, tmp_path / "out")
    where = {"cvat": "annotations.xml"}.get(name, "annotations/instances_default.json")  # as it wants them laid out
    (tmp_path / "theirs" / where).parent.mkdir(parents=True)
    shutil.copy(tmp_path / "out" / ("annotations.xml" if name == "cvat" else "masks.json"), tmp_path / "theirs" / where)
    for image in flat.images:
        for place in ("images", "images/default"):
            (tmp_path / "theirs" / place).mkdir(parents=True, exist_ok=True)
            shutil.copy(flat.image_root / image["file_name"], tmp_path / "theirs" / place)
    theirs, path = ("cvat", "theirs/annotations.xml") if name == "cvat" else ("coco_instances", "theirs")
    dataset = datumaro.Dataset.import_from(str(tmp_path / path), theirs)
    found = {}
    for item in dataset:
        masks, groups = found.setdefault(item.id, []), {}
        for shape in item.annotations:
            key = (type(shape).__name__, shape.group or shape.id)
            if shape.type == datumaro.AnnotationType.mask:
                groups[key] = np.asarray(shape.image).astype(bool)
            elif shape.type == datumaro.AnnotationType.polygon:
                runs = mask_api.merge(mask_api.frPyObjects([shape.points], *SIZE_HW))
                groups[key] = groups.get(key, False) | mask_api.decode(runs).astype(bool)
        masks += groups.values()
    check(found)


def test_pillow_and_numpy(flat, tmp_path):
    for name in ("png", "npy"):
        export(flat, name, tmp_path / name)
    check({path.stem: [np.array(Image.open(path)) > 0] for path in (tmp_path / "png").glob("[0-9]*.png")})
    check({path.stem: list(np.load(path)) for path in (tmp_path / "npy").glob("*.npy")})
