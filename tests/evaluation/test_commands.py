"""``cuts3d evaluate`` and ``cuts3d benchmarks``."""

import json

import pytest


@pytest.fixture
def files(predictions, truth, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.json").write_text(json.dumps(predictions))
    annotations = tmp_path / "datasets/coco/annotations/instances_val2017.json"
    annotations.parent.mkdir(parents=True)
    annotations.write_text(json.dumps(truth))
    return tmp_path


def test_a_benchmark_is_found_below_the_data_root(files, cuts3d):
    code, out, err = cuts3d("evaluate", "--benchmark", "coco", "--predictions", "p.json", "--out", "r.json")
    assert code == 0, err
    assert "COCO, mask (%)" in out and "[1] CutS3D's paper" in out and "in-domain  " not in out
    assert "COCO has 5000 images" in err
    result = json.loads((files / "r.json").read_text())
    assert result["benchmark"] == "coco" and result["provenance"]["annotations_format"] == "coco"


def test_json_holds_the_published_numbers(files, cuts3d):
    code, out, err = cuts3d("evaluate", "--json", "--benchmark", "coco", "--predictions", "p.json")
    assert code == 0, err
    assert json.loads(out)["p"]["published"]["unit"] == "percent"


def test_other_published_numbers_are_asked_for(files, cuts3d):
    arguments = ("evaluate", "--benchmark", "coco", "--predictions", "p.json", "--published", "in-domain")
    code, out, err = cuts3d(*arguments)
    assert code == 0 and "CutS3D, in-domain" in out and "FreeSOLO" not in out, err
    code, out, err = cuts3d(*arguments, "--json")
    assert {n["setting"] for n in json.loads(out)["p"]["published"]["numbers"]} == {"in-domain"}, err
    code, _, err = cuts3d(*arguments, "--no-class-agnostic")
    assert code == 2 and "--published goes with --benchmark" in err


def test_ground_truth_is_written_without_predictions(files, cuts3d):
    annotations = "datasets/coco/annotations/instances_val2017.json"
    code, out, err = cuts3d("evaluate", "--annotations", annotations, "--write-truth", "t.json")
    assert (code, out) == (0, ""), err
    document = json.loads((files / "t.json").read_text())
    assert len(document["annotations"]) == 6 and document["info"]["kind"] == "ground truth"
    code, out, err = cuts3d("evaluate", "--predictions", "p.json", "--annotations", "t.json")
    assert code == 0 and "100.0" in out, err


def test_predictions_of_part_of_the_images_are_counted(files, predictions, cuts3d):
    kept = predictions["images"][0]["id"]
    predictions["images"] = predictions["images"][:1]
    predictions["annotations"] = [a for a in predictions["annotations"] if a["image_id"] == kept]
    (files / "p.json").write_text(json.dumps(predictions))
    code, _, err = cuts3d("evaluate", "--benchmark", "coco", "--predictions", "p.json")
    assert code == 0 and "2 of 3 images have no prediction and count as misses" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--predictions", "p.json"), 2, "give --annotations or --benchmark"),
        (("--benchmark", "coco"), 2, "give either --predictions FILE or images"),
        (("--benchmark", "coc", "--predictions", "p.json"), 1, "did you mean coco?"),
        (("--benchmark", "voc", "--predictions", "p.json"), 1, "no annotations below datasets"),
        (("--annotations", "p.json", "--format", "cityscapes", "--predictions", "p.json"), 2, "yolo"),
        (("--annotations", "p.json", "--write-truth", "t.json", "--out", "o.json"), 2, "--out goes with"),
        (("--annotations", "gone", "--format", "kitti", "--predictions", "p.json"), 1, "found none"),
    ],
)
def test_wrong_usage(files, cuts3d, arguments, code, message):
    found, _, err = cuts3d("evaluate", *arguments)
    assert (found, message in err) == (code, True), err


def test_no_common_image_is_an_error(files, predictions, cuts3d):
    for image in predictions["images"]:
        image["file_name"] = "other/" + image["file_name"].replace("im", "photo")
    (files / "p.json").write_text(json.dumps(predictions))
    code, _, err = cuts3d("evaluate", "--benchmark", "coco", "--predictions", "p.json")
    assert code == 1 and "share no image" in err


def test_the_formats_offered_are_those_that_are_read():
    from cuts3d_cli.cli.evaluate import FORMATS
    from cuts3d_cli.evaluation.readers import formats

    assert ("auto", *formats.FORMATS) == FORMATS


def test_the_settings_offered_are_those_that_are_told_apart():
    from cuts3d_cli.cli.evaluate import PUBLISHED
    from cuts3d_cli.evaluation.paper_tables import CLASS_AGNOSTIC

    assert PUBLISHED == CLASS_AGNOSTIC


def test_benchmarks_are_listed_and_told(files, cuts3d):
    code, out, _ = cuts3d("benchmarks")
    assert code == 0 and len(out.splitlines()) == 14
    code, out, _ = cuts3d("benchmarks", "coco")
    assert code == 0 and "there    coco/annotations/instances_val2017.json" in out
    code, out, err = cuts3d("benchmarks", "coco", "--write-truth", "t.json")
    assert code == 0 and "3 images, 6 annotations" in out, err
    assert json.loads((files / "t.json").read_text())["info"]["benchmark"] == "coco"
    assert cuts3d("benchmarks", "--write-truth", "t.json")[0] == 2
    assert cuts3d("benchmarks", "nothing")[0] == 1


def test_pseudo_masks_are_scored_against_imagenets_boxes(tmp_path, monkeypatch, make_record, cuts3d):
    """Table 14: masks without boxes of their own, images in class folders, most images without annotation."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "Annotations/CLS-LOC/train/n02"
    folder.mkdir(parents=True)
    (folder / "n02_1.xml").write_text(
        "<annotation><filename>n02_1</filename><source><database>ILSVRC_2012</database></source>"
        "<size><width>60</width><height>40</height></size><object><name>n02</name>"
        "<bndbox><xmin>10</xmin><ymin>5</ymin><xmax>40</xmax><ymax>35</ymax></bndbox></object></annotation>"
    )
    images = [{"id": n, "file_name": f"n02/n02_{n}.JPEG", "height": 40, "width": 60} for n in (1, 2)]
    masks = [make_record(n, (40, 60), (10, 5, 30, 30), score=0.5) for n in (1, 2)]
    for mask in masks:
        del mask["bbox"], mask["area"]
    (tmp_path / "pseudo_masks.json").write_text(json.dumps({"images": images, "annotations": masks}))
    arguments = ("--annotations", "Annotations/CLS-LOC/train", "--predictions", "pseudo_masks.json", "--json")
    code, out, err = cuts3d("evaluate", *arguments, "--benchmark", "imagenet")
    assert code == 0, err
    result = json.loads(out)["pseudo_masks"]
    assert result["metrics"]["bbox"]["AP"] == pytest.approx(1) and list(result["metrics"]) == ["bbox"]
    assert (result["n_images"], result["n_images_left_out"], result["n_predictions"]) == (1, 1, 1)
    assert result["provenance"]["annotations_format"] == "imagenet"
    assert {n["setting"] for n in result["published"]["numbers"]} == {"pseudo-masks"}
