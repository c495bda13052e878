import pytest

from cuts3d_cli.evaluation.coco_eval import evaluate
from cuts3d_cli.evaluation.table import best_rows, format_table, ordered, percent, row_title, split_of


def test_rows_come_in_the_order_of_the_method():
    names = [
        "round1_val",
        "cuts3d_val",
        "mine",
        "round0_val",
        "maskcut_val",
        "round10_val",
        "cuts3d_train",
        "maskcut_train",
    ]
    assert ordered(names) == [
        "maskcut_train",
        "cuts3d_train",
        "maskcut_val",
        "cuts3d_val",
        "round0_val",
        "round1_val",
        "round10_val",
        "mine",
    ]


def test_names_in_words():
    assert "MaskCut" in row_title("maskcut_val")
    assert "round 2" in row_title("round2_val")
    assert row_title("something") == "something"
    assert (split_of("maskcut_train"), split_of("something")) == ("train", None)


def test_the_table_holds_every_row_and_marks_the_best(predictions, truth):
    perfect = evaluate(predictions, truth).as_dict()
    half = evaluate({**predictions, "annotations": predictions["annotations"][:3]}, truth).as_dict()
    boxes = evaluate(predictions, truth, iou_types=["bbox"]).as_dict()
    text = format_table({"half": half, "perfect": perfect, "boxes": boxes})
    masks, box = text.split("\n\n")
    assert masks.startswith("mask (%)") and box.startswith("box (%)")
    assert [line.split()[0] for line in masks.splitlines()[2:]] == ["half", "perfect"]
    assert [line.split()[0] for line in box.splitlines()[2:]] == ["half", "perfect", "boxes"]
    rows = {line.split()[0]: line.split() for line in masks.splitlines()[2:]}
    assert rows["perfect"][1] == "100.0*"
    assert rows["half"][1] == percent(half["metrics"]["segm"]["AP"])
    assert rows["perfect"][-2:] == ["3", "2.00"]
    assert len({len(line) for line in masks.splitlines()}) == 1


def test_best_is_compared_as_printed_and_needs_a_rival():
    def result(ap):
        return {"metrics": {"segm": {"AP": ap}}}

    assert best_rows({"a": result(0.5)}, "segm", "AP") == set()
    assert best_rows({"a": result(0.5), "b": result(None)}, "segm", "AP") == set()
    assert best_rows({"a": result(0.0), "b": result(0.0004)}, "segm", "AP") == set()  # printed as zero
    assert best_rows({"a": result(0.50001), "b": result(0.50002), "c": result(0.4)}, "segm", "AP") == {"a", "b"}


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.0, "0.0"), (0.12345, "12.3"), (1.0, "100.0")])
def test_percent(value, text):
    assert percent(value) == text


def test_no_results():
    assert format_table({}) == "no scores, as nothing was compared with labels"
