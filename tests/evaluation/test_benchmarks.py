"""The registry: every benchmark, its folders, and readers for what may lie there."""

import json
from pathlib import Path

import pytest
from PIL import Image

from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.evaluation.benchmarks import (
    BENCHMARKS,
    annotations_of,
    get_benchmark,
    layout_text,
    read_benchmark,
    registry_rows,
)
from cuts3d_cli.evaluation.readers.formats import FORMATS

PAPER = [
    "coco",
    "coco20k",
    "lvis",
    "uvo",
    "voc",
    "objects365",
    "openimages",
    "kitti",
    "clipart",
    "watercolor",
    "comic",
    "imagenet",
]
XML = """<annotation><filename>{stem}.jpg</filename><size><width>40</width><height>30</height></size>
<object><name>dog</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>10</ymax></bndbox></object></annotation>"""


def coco_json(path, n_images=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": n, "file_name": f"{n}.jpg", "height": 30, "width": 40} for n in range(n_images)]
    annotations = [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5], "area": 25}]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))


def test_every_benchmark_of_the_paper_is_there():
    assert list(BENCHMARKS) == PAPER
    assert [name for name, b in BENCHMARKS.items() if b.masks] == ["coco", "coco20k", "lvis", "uvo"]
    for benchmark in BENCHMARKS.values():
        assert all(candidate.format in FORMATS for candidate in benchmark.annotations)
        assert (benchmark.n_images is None) == (benchmark.n_images_source == "")
        assert benchmark.home.startswith("http")
        places = [benchmark.images, *(candidate.path for candidate in benchmark.annotations)]
        assert not any(place.startswith("/") or ".." in place for place in places)
        if benchmark.json_url:  # the published file has the name it is looked for under
            assert benchmark.annotations[0].path.endswith(benchmark.json_url.rsplit("/", 1)[-1])


def test_a_wrong_name_is_corrected():
    with pytest.raises(Cuts3dError, match="did you mean kitti"):
        get_benchmark("kiti")
    with pytest.raises(Cuts3dError, match="cuts3d benchmarks"):
        get_benchmark("zzz")


def test_the_first_annotations_there_count(tmp_path):
    coco = get_benchmark("coco")
    with pytest.raises(Cuts3dError, match=r"no annotations below .*instances_val2017\.json.*cuts3d benchmarks coco"):
        annotations_of(coco, tmp_path)
    coco_json(tmp_path / "coco/annotations/instances_val2017.json")
    assert annotations_of(coco, tmp_path) == coco.annotations[1]
    coco_json(tmp_path / "coco/annotations/coco_cls_agnostic_instances_val2017.json")
    assert annotations_of(coco, tmp_path) == coco.annotations[0]


def test_another_number_of_images_is_said(tmp_path):
    coco_json(tmp_path / "coco/annotations/instances_val2017.json", n_images=2)
    notes = read_benchmark(get_benchmark("coco"), tmp_path).notes
    assert notes == ["COCO has 5000 images (cocodataset.org), this ground truth 2"]
    coco_json(tmp_path / "uvo/annotations/UVO_sparse_val.json")
    assert read_benchmark(get_benchmark("uvo"), tmp_path).notes == []


@pytest.mark.parametrize(("name", "lists"), [("voc", ("trainval", "test")), ("clipart", ("train", "test"))])
def test_original_voc_folders_are_read_by_their_lists(tmp_path, name, lists):
    folder = (tmp_path / get_benchmark(name).annotations[1].path).parent
    (folder / "Annotations").mkdir(parents=True)
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for number, split in enumerate((*lists, "extra")):
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(f"im{number}\n")
        (folder / "Annotations" / f"im{number}.xml").write_text(XML.format(stem=f"im{number}"))
    truth = read_benchmark(get_benchmark(name), tmp_path)
    assert [image["file_name"] for image in truth.document.images] == ["im0.jpg", "im1.jpg"]
    assert "this ground truth 2" in truth.notes[-1]


def test_original_kitti_folders_are_read_with_their_images(tmp_path):
    for folder in ("label_2", "image_2"):
        (tmp_path / "kitti/training" / folder).mkdir(parents=True)
    (tmp_path / "kitti/training/label_2/000000.txt").write_text("Car 0 0 0 1 2 11 12 1 1 1 1 1 1 1\n")
    Image.new("L", (40, 30)).save(tmp_path / "kitti/training/image_2/000000.png")
    truth = read_benchmark(get_benchmark("kitti"), tmp_path)
    assert truth.document.annotations[0]["bbox"] == [1, 2, 10, 10]


def test_layout_says_what_is_there_and_where_to_get_it(tmp_path):
    (tmp_path / "voc/VOC2007/JPEGImages").mkdir(parents=True)
    lines = layout_text(get_benchmark("voc"), tmp_path).splitlines()
    assert "9963 images" in lines[0] and "development kit" in lines[0]
    assert lines[1].split() == ["there", "voc/VOC2007/JPEGImages", "images"]
    assert lines[2].split()[0] == "missing"
    assert "cutler/voc/trainvaltest_2007_cls_agnostic.json" in lines[-1]
    assert "cutler" not in layout_text(get_benchmark("imagenet"), tmp_path).splitlines()[-1]


def test_rows_of_the_registry():
    rows = {row["name"]: row for row in registry_rows()}
    assert rows["lvis"]["formats"] == "coco, lvis" and rows["lvis"]["images"] == "-"
    assert rows["kitti"]["compared"] == "boxes" and rows["coco"]["compared"] == "boxes, masks"


def test_the_docs_hold_the_registry():
    text = (Path(__file__).parents[2] / "docs/evaluation.md").read_text()
    for benchmark, row in zip(BENCHMARKS.values(), registry_rows(), strict=True):
        images = row["images"].replace("-", "")
        title = f"[{benchmark.title}]({benchmark.home})"
        cells = (f"`{row['name']}`", title, row["split"], row["compared"], images, row["formats"])
        assert f"| {' | '.join(cells)} |" in text
        places = "<br>".join(f"`{candidate.path}`" for candidate in benchmark.annotations)
        assert f"| `{benchmark.name}` | `{benchmark.images}/` | {places} |" in text
