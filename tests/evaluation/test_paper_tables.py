from dataclasses import replace

import pytest

from cuts3d_cli.evaluation import paper_tables as pt
from cuts3d_cli.evaluation.benchmarks import BENCHMARKS
from cuts3d_cli.evaluation.coco_eval import metric_names
from cuts3d_cli.evaluation.paper_tables import NUMBERS, as_document, format_beside, numbers_of, settings_of

CELLS = [  # a cell or two of every row of every table, read in the paper
    ("coco20k", "bbox", "AP50", "CutS3D", 24.6, pt.TABLE_1, "zero-shot"),
    ("coco20k", "bbox", "AP", "CutLER", 12.5, pt.TABLE_1, "zero-shot"),
    ("coco20k", "segm", "AP75", "CuVLER", 9.0, pt.TABLE_1, "zero-shot"),
    ("coco20k", "segm", "AP", "ProMerge+", 9.0, pt.TABLE_1, "zero-shot"),
    ("coco", "segm", "AP50", "UnSAM", 6.6, pt.TABLE_1, "zero-shot"),
    ("coco", "bbox", "AP", "FreeSOLO", 4.2, pt.TABLE_1, "zero-shot"),
    ("coco", "segm", "AP", "CutS3D", 10.7, pt.TABLE_1, "zero-shot"),
    ("objects365", "bbox", "AP", "CuVLER", 10.9, pt.TABLE_2, "zero-shot"),
    ("kitti", "bbox", "AP50", "CutS3D", 21.1, pt.TABLE_2, "zero-shot"),
    ("lvis", "bbox", "AP", "CutLER", 4.5, pt.TABLE_2, "zero-shot"),
    ("coco", "segm", "AP50", "CuVLER", 20.4, pt.TABLE_3, "in-domain"),
    ("lvis", "segm", "AP", "CutS3D", 4.5, pt.TABLE_3, "in-domain"),
    ("coco", "segm", "AR100", "CutS3D", 24.2, pt.TABLE_12, "zero-shot"),
    ("coco20k", "bbox", "APs", "CutS3D", 4.0, pt.TABLE_12, "zero-shot"),
    ("lvis", "segm", "APl", "CutS3D", 13.8, pt.TABLE_12, "zero-shot"),
    ("voc", "bbox", "AP75", "CutS3D", 19.8, pt.TABLE_12, "zero-shot"),
    ("objects365", "bbox", "AR1", "CutS3D", 3.2, pt.TABLE_12, "zero-shot"),
    ("kitti", "bbox", "APm", "CutS3D", 5.7, pt.TABLE_12, "zero-shot"),
    ("coco", "bbox", "AR10", "CutS3D", 21.1, pt.TABLE_12, "in-domain"),
    ("coco20k", "segm", "AR100", "CutS3D", 27.2, pt.TABLE_12, "in-domain"),
    ("lvis", "bbox", "AR100", "CutS3D", 29.5, pt.TABLE_12, "in-domain"),
    ("imagenet", "bbox", "AP50", "CutS3D", 21.4, pt.TABLE_14, "pseudo-masks"),
    ("imagenet", "bbox", "AP75", "MaskCut", 8.0, pt.TABLE_14, "pseudo-masks"),
]
SIZES = {pt.TABLE_1: 56, pt.TABLE_2: 36, pt.TABLE_3: 12, pt.TABLE_12: 6 * 9 + 3 * 9 + 3 * 18, pt.TABLE_14: 6}


@pytest.fixture
def results():
    values = {name: 0.123 for name in metric_names()} | {"APs": None}
    return {"mine": {"metrics": {"bbox": values, "segm": values}}}


def row(text, method):
    line = next(line for line in text.splitlines() if line.startswith(method + "  "))
    return line[len(method) :].split()


def titles(text):
    return [line.split("  ")[0] for line in text.splitlines() if line.endswith("]")]


def test_every_number_is_of_a_known_benchmark_and_metric_with_a_source():
    for number in NUMBERS:
        assert number.benchmark in BENCHMARKS
        assert number.metric in metric_names()
        assert number.iou_type == "bbox" or BENCHMARKS[number.benchmark].masks
        assert 0 < number.value < 100 and number.source
    keys = [replace(number, value=0) for number in NUMBERS]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("cell", CELLS)
def test_the_papers_cells(cell):
    assert pt.Number(*cell) in NUMBERS


def test_the_papers_tables_are_whole():
    assert {source: sum(n.source == source for n in NUMBERS) for source in SIZES} == SIZES


def test_averages_are_those_of_table_2():
    for method, averages in pt.AVERAGES.items():
        for metric, average in zip(("AP50", "AP"), averages, strict=True):
            cells = (pt.TABLE_2, method, metric)
            values = [n.value for n in NUMBERS if (n.source, n.method, n.metric) == cells]
            assert len(values) == 6 and sum(values) / 6 == pytest.approx(average, abs=0.051)


def test_tables_disagree_only_where_it_is_known():
    found = {}
    for n in NUMBERS:
        found.setdefault((n.benchmark, n.iou_type, n.metric, n.method, n.setting), set()).add(n.value)
    assert {key[:4]: values for key, values in found.items() if len(values) > 1} == {
        ("coco", "bbox", "AP", "CutLER"): {12.3, 12.5},
        ("coco20k", "bbox", "AP50", "CutS3D"): {24.6, 24.7},
        ("coco20k", "bbox", "AP75", "CutS3D"): {12.5, 12.6},
        ("voc", "bbox", "AP50", "CutS3D"): {40.6, 40.8},
    }


def test_every_zero_shot_benchmark_has_cutlers_boxes_and_imagenet_nothing():
    for name in BENCHMARKS:
        cutler = {n.metric for n in numbers_of(name) if n.source == pt.CUTLER and n.method == "CutLER"}
        assert cutler == (set() if name == "imagenet" else {"AP50", "AR100"})


def test_more_labels_never_hurt():
    for method in ("CutLER", "MoCo-v2"):
        for iou_type in ("bbox", "segm"):
            mine = [n for n in numbers_of("coco", ["fine-tuned"]) if n.iou_type == iou_type]
            values = [n.value for n in mine if n.method.startswith(method)]
            assert len(values) == 11 and values == sorted(values)


def test_the_table_marks_what_has_no_number(results):
    text = format_beside(results, "coco", "COCO")
    mask, box = text.split("\n\n")[:2]
    assert mask.startswith("COCO, mask (%)") and box.startswith("COCO, box (%)")
    assert row(mask, "mine") == ["12.3"] * 3 + ["-"] + ["12.3"] * 6 + ["this", "run"]
    assert row(mask, "CutS3D")[:4] == ["10.7", "20.8", "9.8", "2.3"]
    assert row(mask, "CutLER") == ["9.7", "18.9", "9.2", *"-----", "27.1", "-", "[1]", "[6]"]
    assert "[1] CutS3D's paper (ICCV 2025, arXiv 2411.16319), Table 1" in text and "no number at hand" in text
    assert len({len(line) for line in mask.splitlines()}) == 1


def test_sources_that_disagree_stand_side_by_side(results):
    text = format_beside(results, "voc", "Pascal VOC")
    assert row(text, "CutS3D")[1] == "40.6/40.8"
    assert "CutS3D, box AP50: 40.6 in [1], 40.8 in [2]" in text
    assert "CutLER, box AP: 12.3 in [1], 12.5 in [2]" in format_beside(results, "coco", "COCO")


def test_sources_and_rows_are_those_of_the_types_shown(results):
    del results["mine"]["metrics"]["segm"]
    text = format_beside(results, "coco", "COCO")
    assert "mask (%)" not in text and "ProMerge" not in text


def test_only_zero_shot_detectors_are_shown_unless_others_are_asked_for(results):
    assert settings_of("coco") == ("zero-shot",)
    text = format_beside(results, "coco", "COCO")
    assert not any(word in title for title in titles(text) for word in ("in-domain", "pseudo", "labels", "MaskCut"))
    assert "other published numbers, with --published: in-domain, pseudo-masks" in text
    assert {n["setting"] for n in as_document("coco")["numbers"]} == {"zero-shot"}


def test_in_domain_rows_say_so(results):
    text = format_beside(results, "coco", "COCO", ["in-domain"])
    assert set(titles(text)) == {"CutS3D, in-domain", "CuVLER, in-domain"}
    assert row(text, "CutS3D, in-domain")[:2] == ["11.4", "21.8"]
    both = format_beside(results, "coco", "COCO", ["zero-shot", "in-domain"]).split("\n\n")[0]
    assert row(both, "CutS3D")[0] == "10.7" and row(both, "CutS3D, in-domain")[0] == "11.4"


def test_pseudo_masks_are_shown_where_asked_for_and_say_so(results):
    text = format_beside(results, "coco", "COCO", ["pseudo-masks"])
    assert titles(text) == ["MaskCut, pseudo-masks"] and row(text, "MaskCut, pseudo-masks")[0] == "2.2"
    text = format_beside(results, "imagenet", "ImageNet", settings_of("imagenet"))
    assert row(text, "CutS3D, pseudo-masks")[:3] == ["11.0", "21.4", "10.0"]


def test_averages_stand_where_the_paper_has_no_number_of_its_own(results):
    text = format_beside(results, "uvo", "UVO")
    assert row(text.split("\n\n")[1], "CutLER")[1] == "31.7"
    assert "averaged over COCO val2017, COCO20K, VOC, Objects365, KITTI, LVIS" in text
    assert "CutS3D 12.5 / 23.9" in text
    assert "averaged" not in format_beside(results, "coco", "COCO")


def test_a_benchmark_without_numbers_says_so(results):
    text = format_beside(results, "voc", "Pascal VOC", ["in-domain"])
    assert "no published number of Pascal VOC (in-domain)" in text and "--published: zero-shot" in text
    assert set(row(text, "published")) == {"-"}
    assert as_document("voc", ["in-domain"]) == {"unit": "percent", "numbers": []}


def test_numbers_with_classes_stand_apart(results):
    settings = settings_of("coco", class_agnostic=False)
    text = format_beside(results, "coco", "COCO", settings)
    assert row(text, "CutLER, 5 % of labels")[0] == "24.3"
    assert "FreeSOLO" not in text and "averaged" not in text and "--published" not in text
    assert {n["metric"] for n in as_document("coco", settings)["numbers"]} == {"AP"}
