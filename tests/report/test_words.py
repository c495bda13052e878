"""The report's texts say what was done under the settings of the run."""

import pytest

from cuts3d_cli.config import resolve
from cuts3d_cli.report.run_summary import SetSummary
from cuts3d_cli.report.words import introduction, legend

TITLE = "Final pseudo-masks"


@pytest.mark.parametrize(
    ("values", "outlines", "stability"),
    [
        ({"preset": "embedded"}, "refined to pixels", True),
        ({"preset": "embedded", "crf": {"enabled": False}}, "of patches", True),
        ({"preset": "rgbd"}, "of patches", True),
        ({"preset": "embedded", "localcut": {"local_cut": False}}, "refined to pixels", False),
    ],
)
def test_final_masks_are_described_as_made(values, outlines, stability):
    config = resolve(values)
    ((title, text),) = legend([TITLE], config)
    assert title == TITLE and outlines in text and "its quality" in text and ("stability" in text) == stability
    refined = outlines == "refined to pixels"
    assert ("refined outline" in introduction(config, [])[0]) == (refined and stability)


def test_geometry_groups_surfaces():
    assert "smooth or convex surface" in introduction(resolve({"preset": "rgbd"}), [])[0]
    assert "look alike" in introduction(resolve({"preset": "embedded"}), [])[0]


@pytest.mark.parametrize(
    ("labels", "words"), [(None, "they have no labels, so it has no scores"), ("t.json", "evaluated")]
)
def test_a_detector_is_evaluated_only_with_labels(labels, words):
    data = {"images": "a", "val_images": "b", "val_annotations": labels}
    held_out = SetSummary("Held-out images", "cuts3d", 8, [], None)
    text = introduction(resolve({"preset": "embedded", "data": data}), [held_out])[1]
    assert words in text and "8 held-out images" in text and ("evaluated" in text) == (labels is not None)


def test_legend_keeps_the_order_of_the_pictures():
    titles = ["Ground truth, never used above", "MaskCut, for comparison", "Detections", TITLE, "Depth"]
    found = [title for title, _ in legend(titles, resolve({"preset": "embedded"}), "Detections")]
    assert found == ["Depth", TITLE, "MaskCut, for comparison", "Detections", "Ground truth, never used above"]
