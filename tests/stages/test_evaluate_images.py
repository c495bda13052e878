"""Ground truth of the images that were given, and of no others."""

from pathlib import Path

import pytest

from cuts3d_cli.evaluation.evaluate import Truth, of_images
from cuts3d_cli.evaluation.readers.common import GroundTruth
from cuts3d_cli.store.coco_document import CocoDocument

NAMES = ("a/1.png", "a/2.png", "b/3.png")


@pytest.fixture
def truth():
    images = [{"id": n, "file_name": name, "width": 9, "height": 8} for n, name in enumerate(NAMES)]
    annotations = [{"id": 10 + n, "image_id": n} for n in (0, 0, 1, 2)]
    return Truth(Path("t.json"), GroundTruth(CocoDocument(images, annotations), "coco", ["a note"]))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["a/1.png"], [0]),
        (["./a/1.png", "b/3.png", "c/new.png"], [0, 2]),
        (["2.png"], [1]),  # by base name, as no whole name agrees
        (["x/3.png", "y/1.png"], [0, 2]),
    ],
)
def test_only_the_images_given_count_and_a_note_says_so(truth, given, kept):
    found = of_images(truth, given)
    assert [image["id"] for image in found.read.document.images] == kept
    assert {record["image_id"] for record in found.read.document.annotations} == set(kept)
    assert found.read.notes == ["a note", f"scored over the images given, {len(kept)} of the ground truth's 3"]
    assert len(truth.read.document.images) == 3 and truth.read.notes == ["a note"]


@pytest.mark.parametrize("given", [[], ["other.png"], list(NAMES), [*NAMES, "c/new.png"]])
def test_none_or_all_of_them_change_nothing(truth, given):
    assert of_images(truth, given) is truth
