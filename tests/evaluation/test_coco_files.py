import pytest

from cuts3d_cli.errors import CocoError
from cuts3d_cli.evaluation.matching import match
from cuts3d_cli.store.coco import normal_name


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_names_are_compared_as_posix_paths(predictions, truth):
    for image in predictions["images"]:
        image["file_name"] = "./" + image["file_name"].replace("/", "\\")
    matched = match(predictions, truth)
    assert matched.n_missing == matched.n_left_out == 0
    assert matched.notes == []
    assert normal_name(".\\a\\b.jpg") == normal_name("a/b.jpg") == "a/b.jpg"


def test_base_names_serve_where_no_whole_name_agrees(predictions, truth):
    for image in predictions["images"]:
        image["file_name"] = image["file_name"].replace("sub/", "elsewhere/")
    matched = match(predictions, truth)
    assert len(matched.predictions) == 6
    assert any("without their folders" in note for note in matched.notes)


def test_base_names_are_not_mixed_with_whole_names(predictions, truth):
    predictions["images"][0]["file_name"] = "other/" + predictions["images"][0]["file_name"].split("/")[1]
    matched = match(predictions, truth)
    assert (matched.n_missing, matched.n_left_out) == (1, 1)


def test_ambiguous_base_names_are_refused(predictions, truth):
    truth["images"].append({"id": 77, "file_name": "twin/im7.jpg", "height": 5, "width": 5})
    for image in predictions["images"]:
        image["file_name"] = image["file_name"].replace("sub/", "elsewhere/")
    with pytest.raises(CocoError, match=r"im7\.jpg alone is ambiguous") as error:
        match(predictions, truth)
    one_line(error)


def test_no_common_image(predictions, truth):
    for image in predictions["images"]:
        image["file_name"] = image["file_name"].replace("im", "picture")
    with pytest.raises(CocoError, match=r"share no image.*expected names like sub/im7\.jpg; found sub/picture"):
        match(predictions, truth)
    with pytest.raises(CocoError, match="share no image"):
        match([{"image_id": 12345, "bbox": [0, 0, 1, 1], "score": 1}], truth)
    with pytest.raises(CocoError, match="no images"):
        match({"images": [], "annotations": []}, truth)


def test_an_empty_results_list_is_all_misses(truth):
    matched = match([], truth)
    assert (matched.predictions, matched.n_missing) == ([], 3)


def test_masks_of_another_size_are_refused(predictions, truth, make_record):
    predictions["annotations"][0] = make_record(predictions["annotations"][0]["image_id"], (60, 60), (1, 1, 9, 9))
    with pytest.raises(
        CocoError,
        match=r"annotations\[0\]: size of the seg.* height 90 and width 90; found height 60",
    ):
        match(predictions, truth)


def test_records_of_another_size_are_refused(predictions, truth):
    for annotation in predictions["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    predictions["images"][0]["width"] += 1
    with pytest.raises(CocoError, match=r"expected height 90 and width 90 .*found height 90 and width 91"):
        match(predictions, truth)


def test_exchanged_records_pass_where_masks_are_right(predictions, truth):
    """The pseudo-masks published with CutLER have width and height exchanged in their image records."""
    for image in predictions["images"]:
        image["width"], image["height"] = image["height"], image["width"]
    matched = match(predictions, truth)
    assert len(matched.predictions) == 6
    assert any("2 image records" in note for note in matched.notes)
    for annotation in predictions["annotations"]:
        del annotation["segmentation"]
    with pytest.raises(CocoError, match=r"image sub/im3.jpg; .* -> height and width exchanged\?"):
        match(predictions, truth)


def test_sizes_of_unreadable_images_are_not_compared(predictions, truth):
    image = predictions["images"][0]
    image["width"] = image["height"] = 0
    predictions["annotations"] = [a for a in predictions["annotations"] if a["image_id"] != image["id"]]
    assert len(match(predictions, truth).predictions) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["annotations"].clear(), "no object to find"),
        (lambda t: [a.update(iscrowd=1) for a in t["annotations"]], "no object to find"),
        (lambda t: t.pop("images"), "expected COCO JSON with images and annotations; found no images"),
        (lambda t: t.pop("annotations"), "images and annotations"),
        (lambda t: t["images"][0].pop("width"), "image 7: width; expected a whole number of pixels; found none"),
        (lambda t: t["images"][0].pop("file_name"), "image 7: file_name; expected a file name; found none"),
        (lambda t: t["images"].append(dict(t["images"][0])), "image id 7 occurs twice"),
        (lambda t: t["images"].append({**t["images"][0], "id": 8}), r"file name sub/im7\.jpg occurs twice"),
        (
            lambda t: t["annotations"][0].update(image_id=1234),
            "annotation 1: image_id; .* found 1234",
        ),
        (
            lambda t: t["annotations"][0].update(segmentation={"counts": "x"}),
            "expected polygons, or a run-length code",
        ),
        (
            lambda t: t["annotations"][0].update(segmentation=[], bbox=[]),
            "expected a segmentation or a bbox; found neither",
        ),
        (
            lambda t: t["annotations"][0].update(bbox=[1, 2, 3]),
            "annotation 1: bbox; .*found a list of 3",
        ),
    ],
)
def test_wrong_ground_truth_is_named(predictions, truth, change, message):
    change(truth)
    with pytest.raises(CocoError, match=message) as error:
        match(predictions, truth, truth_name="ground truth gt.json")
    assert "gt.json" in one_line(error)


@pytest.mark.parametrize("wrong", [{"foo": 1}, "text", 5, None, {"images": []}])
def test_wrong_predictions_are_named(truth, wrong):
    with pytest.raises(CocoError, match=r"predictions p\.json; expected COCO JSON with images and annotations"):
        match(wrong, truth, predictions_name="predictions p.json")


def test_few_images_of_another_size_are_left_out_where_boxes_are_compared(truth):
    """A few of ImageNet's images have a rotation flag that its annotations do not know."""
    del truth["images"][1:], truth["annotations"][3:]
    for annotation in truth["annotations"]:
        del annotation["segmentation"]
    for n in range(150):
        truth["images"].append({"id": 100 + n, "file_name": f"more{n}.jpg", "height": 10, "width": 20})
    predictions = {
        "images": [{**image, "id": 1000 + image["id"]} for image in truth["images"]],
        "annotations": [
            {"image_id": 1000 + a["image_id"], "bbox": a["bbox"], "score": 0.5} for a in truth["annotations"]
        ],
    }
    turned = predictions["images"][-1]
    turned["height"], turned["width"] = 20, 10
    predictions["annotations"].append({"image_id": turned["id"], "bbox": [0, 0, 5, 5], "score": 0.9})
    matched = match(predictions, truth)
    assert len(matched.images) == 150 and len(matched.predictions) == 3 and matched.n_missing == 0
    assert any(
        "1 images were skipped because their size differs" in note and "more149.jpg" in note for note in matched.notes
    )
    predictions["images"][-2]["width"] = 21
    with pytest.raises(CocoError, match=r"more148\.jpg.*expected height 10 and width 20"):
        match(predictions, truth)


def test_exchanged_records_pass_before_boxes_too(predictions, truth):
    for annotation in truth["annotations"]:
        del annotation["segmentation"]
    for image in predictions["images"]:
        image["width"], image["height"] = image["height"], image["width"]
    matched = match(predictions, truth)
    assert len(matched.predictions) == 6 and len(matched.images) == 3
