"""The reader of COCO JSON: how faults are counted and named, what comes out in one form, what is told."""

import copy
import math

import numpy as np
import pytest

from cuts3d_cli.errors import CocoError
from cuts3d_cli.store.coco import encode_mask
from cuts3d_cli.store.coco_document import (
    CocoDocument,
    check_annotations,
    check_categories,
    check_coco,
    check_masks,
)

SQUARE = [2, 1, 5, 1, 5, 4, 2, 4]


def document(**changes):
    images = [{"id": n, "file_name": f"{n}.jpg", "height": 6, "width": 8} for n in (1, 2)]
    annotations = [{"id": 10 + n, "image_id": 1 + n % 2, "segmentation": [SQUARE], "score": 0.5} for n in range(6)]
    return {"images": images, "annotations": annotations, **changes}


def changed(change):
    content = document()
    change(content)
    return content


def test_a_right_document_stays_as_it_is():
    content = document(categories=[{"id": 1, "name": "a"}], info={"year": 1}, licenses=[{"id": 1}])
    before = copy.deepcopy(content)
    found = check_coco(content, "f")
    assert found == CocoDocument(
        content["images"], content["annotations"], content["categories"], {"year": 1}, {"licenses": [{"id": 1}]}, []
    )
    assert content == before
    assert check_coco({"images": [], "annotations": []}, "f") == CocoDocument([], [], [], notes=[])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda d: [d["annotations"][n].update(score=math.nan) for n in (4, 2)],
            r"f: 2 of 6 annotations are wrong, the first is annotation 12: score; .*; found NaN",
        ),
        (lambda d: d["annotations"][3].update(id="b\n", score=2), r'f: annotation "b\\n": score'),
        (lambda d: d["annotations"][3].update(id=None, score=2), r"f: annotations\[3\]: score"),
        (lambda d: d["annotations"].insert(0, [1]), r"f: annotations\[0\]; expected an object; found a list of 1"),
        (
            lambda d: [image.pop("width") for image in d["images"]],
            "f: 2 of 2 images are wrong, the first is image 1: width; .*; found none",
        ),
        (lambda d: d["images"].extend([d["images"][0]] * 2 + [d["images"][1]]), "image id 1 occurs twice, and 1 "),
        (lambda d: d.update(categories=[{"id": 1, "name": "a"}, {"id": "b", "name": "c"}]), "ids of categories"),
        (lambda d: d.update(categories=[{"id": 1, "name": "a\ud800"}]), "category 1: name; expected a text"),
        (lambda d: d["images"][0].update(id=2**63), r"images\[0\]: id; .* found 9223372036854775808"),
        (lambda d: d["images"][0].update(coco_url=5, file_name=None), "image 1: file_name; .* found none"),
    ],
)  # fmt: skip
def test_faults_are_counted_and_the_first_is_named(change, told):
    with pytest.raises(CocoError, match=told) as caught:
        check_coco(changed(change), "f")
    assert "\n" not in str(caught.value)


def test_compressed_codes_are_counted_in_their_place():
    content = document()
    whole = encode_mask(np.ones((6, 8), bool))
    for n in range(6):
        content["annotations"][n]["segmentation"] = dict(whole)
    assert check_coco(content, "f").annotations == content["annotations"]
    content["annotations"][2]["segmentation"]["counts"] = encode_mask(np.ones((6, 9), bool))["counts"]
    content["annotations"][4]["score"] = 2
    with pytest.raises(
        CocoError, match=r"2 of 6 annotations are wrong, the first is annotation 12: counts .* sum of 54"
    ):
        check_coco(content, "f")
    content["annotations"][1]["bbox"] = [1]
    with pytest.raises(CocoError, match="3 of 6 annotations are wrong, the first is annotation 11: bbox"):
        check_coco(content, "f")


def test_one_form_comes_out():
    content = document()
    content["images"][0].update(id=1.0, height=6.0)
    content["images"][1].update(file_name=None, coco_url="http://images.cocodataset.org/val2017/000000397133.jpg")
    content["annotations"] = [
        {"id": 3.0, "image_id": 1.0, "category_id": "a", "segmentation": [SQUARE], "iscrowd": True, "ignore": 0.0},
        {
            "image_id": 2,
            "bbox": [1, 2, 3, 4],
            "segmentation": [],
            "score": None,
            "area": None,
            "more": None,
        },
    ]
    found = check_coco(content, "f")
    assert found.images == [
        {"id": 1, "file_name": "1.jpg", "height": 6, "width": 8},
        {**content["images"][1], "file_name": "val2017/000000397133.jpg"},
    ]
    first, second = found.annotations
    assert first == {
        "id": 3, "image_id": 1, "category_id": "a", "segmentation": [SQUARE], "iscrowd": 1, "ignore": 0,
    }  # fmt: skip
    assert {type(first[key]) for key in ("id", "image_id", "iscrowd", "ignore")} == {int}
    assert second == {"image_id": 2, "bbox": [1, 2, 3, 4], "more": None}


def test_ids_may_be_text():
    content = document()
    for record, key in [(r, "id") for r in content["images"]] + [(r, "image_id") for r in content["annotations"]]:
        record[key] = f"n{record[key]}"
    assert check_coco(content, "f").annotations == content["annotations"]
    content["annotations"][0]["image_id"] = 1
    with pytest.raises(CocoError, match="annotation 10: image_id; expected the id of a listed image; found 1"):
        check_coco(content, "f")


def test_what_is_odd_is_noted():
    content = document()
    content["annotations"][0]["segmentation"] = [[-0.6, 0, 5, 0, 5, 6.6]]
    content["annotations"][1].update(id=10, segmentation={"size": [8, 6], "counts": [48]})
    content["annotations"][3].update(segmentation={"size": [8, 6], "counts": [40, 8]})
    content["annotations"][5].update(segmentation={"size": [8, 6], "counts": [0, 48]})
    found = check_coco(content, "f")
    assert found.images[1] == {"id": 2, "file_name": "2.jpg", "height": 8, "width": 6}
    assert found.notes == [
        "1 image records have width and height exchanged; the annotations' sizes were taken",
        "1 annotations have the id of an earlier one; each counts by itself",
    ]
    content["images"][0].update(height=60, width=80)
    content["annotations"][2]["segmentation"] = [[-6, 0, 5, 0, 5, 62]]
    assert (
        "polygons of 1 annotations reach up to 6 px outside their image, where they were cut off"
        in check_coco(content, "f").notes
    )


def test_a_results_list_may_hold_other_images():
    images = check_coco(document(), "f").images
    records = [{"image_id": 1, "segmentation": [SQUARE]}, {"image_id": 99, "segmentation": {"counts": "what"}}]
    assert check_annotations(records, images, "r", unlisted=True) == (records, [])
    with pytest.raises(CocoError, match=r"r: annotations\[1\]: image_id"):
        check_annotations(records, images, "r")
    with pytest.raises(CocoError, match=r"r: annotations\[1\]: bbox"):
        check_annotations([records[0], {"image_id": 99, "bbox": "x"}], images, "r", unlisted=True)


def test_masks_and_categories_where_they_are_wanted():
    annotations = [{"id": 1, "segmentation": [SQUARE], "category_id": 4}, {"id": 2, "bbox": [1, 2, 3, 4]}]
    with pytest.raises(CocoError, match=r"f: annotation 2: segmentation; expected polygons .* found none -> why"):
        check_masks(annotations, "f", hint="why")
    check_categories(annotations, [{"id": 4}], "f", optional=True)
    for listed, told in (
        ([{"id": 4}], "annotation 2: category_id; .* found none"),
        ([], "2 of 2 .* annotation 1: .* 4"),
    ):
        with pytest.raises(CocoError, match=told):
            check_categories(annotations, listed, "f")


@pytest.mark.parametrize("kind", ["polygon", "code"])
def test_boxes_of_another_form_are_told(kind):
    mask = np.zeros((100, 120), bool)
    mask[20:60, 30:80] = True
    code = encode_mask(mask)
    segmentation = [[30, 20, 80, 20, 80, 60, 30, 60]] if kind == "polygon" else code
    images = [{"id": 1, "file_name": "a.png", "height": 100, "width": 120}]

    def notes(bbox, **more):
        annotation = {"id": 1, "image_id": 1, "segmentation": segmentation, "bbox": bbox, **more}
        return check_coco({"images": images, "annotations": [annotation]}, "it").notes

    assert notes([30, 20, 50, 40]) == notes([31, 19, 49, 41]) == []
    assert ["1 annotations have a bbox that is not that of their mask" in note for note in notes([30, 20, 80, 60])] == [
        True
    ]
    assert notes([30, 20, 80, 60], score=0.9) == []  # of a detection, whose box is found apart from its mask
