import pytest

from cuts3d_cli.evaluation.benchmarks import BENCHMARKS
from cuts3d_cli.evaluation.coco_eval import metric_names
from cuts3d_cli.evaluation.paper_tables import NUMBERS, as_document, format_beside, numbers_of


@pytest.fixture
def results():
    values = {name: 0.123 for name in metric_names()} | {"APs": None}
    return {"mine": {"metrics": {"bbox": values, "segm": values}}}


def row(text, method):
    line = next(line for line in text.splitlines() if line.startswith(method + "  "))
    return line[len(method) :].split()


def test_every_number_is_of_a_known_benchmark_and_metric_with_a_source():
    for number in NUMBERS:
        assert number.benchmark in BENCHMARKS
        assert number.metric in metric_names()
        assert number.iou_type == "bbox" or BENCHMARKS[number.benchmark].masks
        assert 0 < number.value < 100 and number.source
    keys = [(n.benchmark, n.method, n.iou_type, n.metric, n.class_agnostic) for n in NUMBERS]
    assert len(set(keys)) == len(keys)


def test_every_zero_shot_benchmark_has_cutlers_boxes_and_imagenet_nothing():
    for name in BENCHMARKS:
        cutler = {n.metric for n in numbers_of(name) if n.method == "CutLER" and n.iou_type == "bbox"}
        assert cutler == (set() if name == "imagenet" else {"AP50", "AR100"})


def test_more_labels_never_hurt():
    for method in ("CutLER", "MoCo-v2"):
        for iou_type in ("bbox", "segm"):
            mine = [n for n in numbers_of("coco", class_agnostic=False) if n.iou_type == iou_type]
            values = [n.value for n in mine if n.method.startswith(method)]
            assert len(values) == 11 and values == sorted(values)


def test_the_table_marks_what_has_no_number(results):
    text = format_beside(results, "coco", "COCO")
    mask, box = text.split("\n\n")[:2]
    assert mask.startswith("COCO, mask (%)") and box.startswith("COCO, box (%)")
    assert row(mask, "mine") == ["12.3"] * 3 + ["-"] + ["12.3"] * 6 + ["this", "run"]
    assert row(mask, "CutS3D")[:4] == ["10.7", "20.8", "-", "-"]
    assert row(mask, "CutLER") == ["9.7", "18.9", *"-----", "-", "27.1", "-", "[1]", "[2]"]
    assert "[1] a summary of the CutS3D paper" in text and "no number at hand" in text
    assert len({len(line) for line in mask.splitlines()}) == 1


def test_sources_and_rows_are_those_of_the_types_shown(results):
    del results["mine"]["metrics"]["segm"]
    text = format_beside(results, "coco", "COCO")
    assert "mask (%)" not in text and "ProMerge" not in text


def test_averages_stand_where_the_paper_has_no_number_of_its_own(results):
    text = format_beside(results, "voc", "Pascal VOC")
    assert row(text, "CutLER")[1] == "36.9"
    assert "averaged over six data sets [2]: CutS3D 12.5 / 23.9" in text
    assert "averaged" not in format_beside(results, "coco", "COCO")


def test_a_benchmark_without_numbers_says_so(results):
    text = format_beside(results, "imagenet", "ImageNet")
    assert "no published number of ImageNet at hand" in text
    assert set(row(text, "published")) == {"-"}
    assert as_document("imagenet") == {"unit": "percent", "numbers": []}


def test_numbers_with_classes_stand_apart(results):
    text = format_beside(results, "coco", "COCO", class_agnostic=False)
    assert row(text, "CutLER, 5 % of labels")[0] == "24.3"
    assert "FreeSOLO" not in text and "averaged" not in text
    assert {n["metric"] for n in as_document("coco", class_agnostic=False)["numbers"]} == {"AP"}
