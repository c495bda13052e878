import copy
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cuts3d_cli.errors import CocoError
from cuts3d_cli.evaluation.coco_eval import evaluate, evaluate_files, judged, metric_names, read_metrics
from cuts3d_cli.evaluation.matching import match

STANDARD = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100"]


def direct(truth, results, iou_type):
    """The first nine numbers that pycocotools prints, from its own loading of a results list."""
    ground = COCO()
    ground.dataset = copy.deepcopy(truth)
    ground.createIndex()
    results = copy.deepcopy(results)
    if iou_type == "segm":
        for result in results:
            result.pop("bbox")
    evaluator = COCOeval(ground, ground.loadRes(results), iou_type)
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    return evaluator.stats[:9]


@pytest.fixture
def random_results(truth, make_record):
    """Boxes drawn around true ones, some far off, with random scores and ties among them."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}

    def draw(seed, n):
        rng = np.random.default_rng(seed)
        results = []
        for _ in range(n):
            true = truth["annotations"][rng.integers(len(truth["annotations"]))]
            h, w = sizes[true["image_id"]]
            x, y, bw, bh = np.array(true["bbox"], int) + rng.integers(-4, 5, 4)
            x, y = np.clip([x, y], 0, [w - 5, h - 5])
            box = (int(x), int(y), int(np.clip(bw, 3, w - x)), int(np.clip(bh, 3, h - y)))
            results.append(make_record(true["image_id"], (h, w), box, score=round(float(rng.random()), 1)))
        return results

    return draw


def test_perfect_predictions_score_one_whatever_their_ids_and_order(predictions, truth):
    result = evaluate(predictions, truth)
    for iou_type in ("bbox", "segm"):
        metrics = result.metrics[iou_type]
        assert list(metrics) == metric_names()
        whole = ("AP", "AP50", "AP75", "APs", "APm", "AR10", "AR100", "R50")
        assert [metrics[m] for m in whole] == pytest.approx([1.0] * 8)
        assert metrics["AR1"] == pytest.approx(0.5)  # one detection an image finds 3 of 6 objects
        assert metrics["APl"] is None
    assert (result.n_images, result.n_objects, result.n_predictions) == (3, 6, 6)
    assert result.predictions_per_image == result.objects_per_image == 2
    assert result.notes == []
    json.dumps(result.as_dict())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_equals_a_direct_run_of_pycocotools(truth, random_results, iou_type, seed):
    results = random_results(seed, 40)
    expected = direct(truth, results, iou_type)
    assert 0.05 < expected[0] < 0.95
    for predictions in (results, {"images": truth["images"], "annotations": results}):
        metrics = evaluate(predictions, truth).metrics[iou_type]
        found = [-1 if metrics[m] is None else metrics[m] for m in STANDARD]
        assert found == pytest.approx(list(expected))


@pytest.mark.parametrize("rows", [[0, 1, 2], [0, 0, 2], [1, 1, 1], [0, 1, 1, 2, 2, 2]])
def test_images_drawn_anew_equal_an_evaluation_of_their_copies(truth, random_results, rows):
    results = random_results(3, 30)
    drawn = judged(match(results, truth), iou_type="segm").on_images(np.array(rows))
    ids = sorted(image["id"] for image in truth["images"])
    copies = {"images": [], "annotations": [], "categories": truth["categories"]}
    found = []
    for new_id, row in enumerate(rows, start=1):
        (image,) = (image for image in truth["images"] if image["id"] == ids[row])
        copies["images"].append({**image, "id": new_id, "file_name": f"{new_id}.jpg"})
        for records, target in ((truth["annotations"], copies["annotations"]), (results, found)):
            target += [{**record, "image_id": new_id} for record in records if record["image_id"] == ids[row]]
    expected = read_metrics(judged(match(found, copies), iou_type="segm"))
    assert 0 < expected["AP"] < 1
    assert drawn == {name: expected[name] for name in ("AP", "AP50")}


def test_a_shift_costs_the_thresholds_above_its_iou(predictions, truth, make_record):
    image = next(i for i in predictions["images"] if i["file_name"] == "sub/im3.jpg")
    truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] == 3]
    # 50 x 150 moved by 10 px: IoU 40 / 60 = 0.667 passes 0.5, 0.55, 0.6, 0.65 of ten thresholds
    predictions["annotations"] = [make_record(image["id"], (200, 120), (30, 20, 50, 150), score=0.5)]
    metrics = evaluate(predictions, truth).metrics["segm"]
    assert metrics["AP"] == pytest.approx(0.4)
    assert (metrics["AP50"], metrics["AP75"], metrics["R50"]) == pytest.approx((1, 0, 1))


def test_duplicates_are_false_positives(predictions, truth):
    alone = evaluate(predictions, truth).metrics["segm"]["AP"]
    high = [{**a, "score": a["score"] + 0.001} for a in copy.deepcopy(predictions["annotations"])]
    twice = {**predictions, "annotations": predictions["annotations"] + high}
    result = evaluate(twice, truth).metrics["segm"]
    assert result["AP"] < alone
    assert result["AR100"] == pytest.approx(1.0)
    # 6 objects, each found first and then again: precision 1/1, 2/3, 3/5, ... at recalls 1/6, 2/6, ...
    steps = [k / (2 * k - 1) for k in range(1, 7)]
    recalls = np.linspace(0, 1, 101)
    expected = np.mean([max(p for k, p in enumerate(steps, 1) if k / 6 >= r - 1e-9) for r in recalls])
    assert result["AP"] == pytest.approx(expected)


def test_missing_score_is_one_and_said(predictions, truth):
    for annotation in predictions["annotations"][:2]:
        del annotation["score"]
    result = evaluate(predictions, truth)
    assert result.metrics["segm"]["AP"] == pytest.approx(1)
    assert any("2 of 6 predictions have no score" in note for note in result.notes)


def test_several_categories_count_as_one_and_are_said_where_the_predictions_have_classes_too(predictions, truth):
    for n, annotation in enumerate(truth["annotations"]):
        annotation["category_id"] = 1 + n % 3
    predictions["annotations"][0]["category_id"] = 44
    result = evaluate(predictions, truth)
    assert result.metrics["segm"]["AP"] == pytest.approx(1)
    assert any("the predictions' 2 classes count as one" in note for note in result.notes)
    for annotation in predictions["annotations"]:
        annotation["category_id"] = 1
    result = evaluate(predictions, truth)  # what class-agnostic evaluation is
    assert result.metrics["segm"]["AP"] == pytest.approx(1) and not any("class" in note for note in result.notes)


def test_crowd_regions_count_neither_way(predictions, truth, make_record):
    size_hw, box = (90, 90), (0, 65, 35, 25)
    truth["annotations"].append(make_record(5, size_hw, box, iscrowd=1, id=99))
    image_id = next(i["id"] for i in predictions["images"] if i["file_name"] == "sub/im5.jpg")
    on_crowd = [make_record(image_id, size_hw, (x, 65, 10, 25), score=0.99) for x in (0, 12, 24)]
    result = evaluate({**predictions, "annotations": predictions["annotations"] + on_crowd}, truth)
    assert result.metrics["segm"]["AP"] == pytest.approx(1)
    assert (result.n_objects, result.n_crowd) == (6, 1)
    truth["annotations"].pop()
    worse = evaluate({**predictions, "annotations": predictions["annotations"] + on_crowd}, truth)
    assert worse.metrics["segm"]["AP"] < 0.9


def test_images_without_prediction_are_misses(predictions, truth):
    gone = next(i["id"] for i in predictions["images"] if i["file_name"] == "sub/im7.jpg")
    predictions["images"] = [i for i in predictions["images"] if i["id"] != gone]
    predictions["annotations"] = [a for a in predictions["annotations"] if a["image_id"] != gone]
    result = evaluate(predictions, truth)
    assert result.metrics["segm"]["AR100"] == pytest.approx(0.5)  # 3 of 6 objects
    assert (result.n_images, result.n_images_missing, result.n_images_empty) == (3, 1, 1)
    assert any("1 of 3 images have no prediction" in note for note in result.notes)


def test_images_listed_without_instances_are_misses_too(predictions, truth):
    predictions["annotations"] = []
    result = evaluate(predictions, truth)
    assert result.metrics["segm"]["AP"] == 0
    assert (result.n_images_missing, result.n_images_empty) == (0, 3)


def test_images_beyond_the_ground_truth_are_left_out(predictions, truth, make_record):
    predictions["images"].append({"id": 50, "file_name": "other.jpg", "width": 10, "height": 10})
    predictions["annotations"].append(make_record(50, (10, 10), (0, 0, 5, 5), score=1.0))
    result = evaluate(predictions, truth)
    assert result.metrics["segm"]["AP"] == pytest.approx(1)
    assert (result.n_images_left_out, result.n_predictions) == (1, 6)
    assert any("on 1 images that the ground truth lacks" in note for note in result.notes)


def test_every_ap_is_read_at_the_last_of_max_dets(truth, random_results):
    results = random_results(0, 60)
    image_id = truth["images"][0]["id"]
    results = [{**r, "score": r["score"] / 2} for r in results]
    far = [{**r, "score": r["score"] + 0.5} for r in results if r["image_id"] == image_id][:5]
    few = evaluate(results + far, truth, max_dets=(1, 2, 3))
    same = evaluate(results + far, truth, max_dets=(3, 1, 2))
    assert few.metrics == same.metrics
    metrics = few.metrics["segm"]
    assert list(metrics)[6:9] == ["AR1", "AR2", "AR3"]
    kept = []
    for image in truth["images"]:
        mine = [r for r in results + far if r["image_id"] == image["id"]]
        kept += sorted(mine, key=lambda r: -r["score"])[:3]
    expected = evaluate(kept, truth).metrics["segm"]
    assert [metrics[m] for m in STANDARD[:6]] == pytest.approx([expected[m] for m in STANDARD[:6]], nan_ok=False)


def test_large_objects_by_mask_area_small_by_box(make_record):
    """A thin diagonal line is large as a box and small as a mask; pycocotools takes the prediction's own area."""
    size_hw = (150, 300)
    line = np.zeros(size_hw, bool)
    line[np.arange(140), 2 * np.arange(140)] = True
    from cuts3d_cli.store.coco import encode_mask

    box = [0.0, 0.0, 279.0, 140.0]
    extra = {"image_id": 1, "category_id": 1, "segmentation": encode_mask(line), "bbox": box, "score": 0.9}
    truth = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 150, "width": 300}],
        "annotations": [{"id": 1, **make_record(1, size_hw, (200, 20, 30, 30))}],
    }
    found = make_record(1, size_hw, (200, 20, 30, 30), score=0.5)
    metrics = evaluate([extra, found], truth).metrics
    # the object is small: as a mask the line is a small false positive, as a large box it is out of range
    assert metrics["segm"]["APs"] == pytest.approx(0.5)
    assert metrics["bbox"]["APs"] == pytest.approx(1.0)


def test_polygons_and_uncompressed_masks_equal_compressed_ones(predictions, truth):
    from pycocotools import mask as rle

    polygon, counts = copy.deepcopy(truth), copy.deepcopy(truth)
    for annotation in polygon["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    for annotation in counts["annotations"]:
        flat = rle.decode(annotation["segmentation"]).ravel(order="F")
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
        runs = np.diff(np.concatenate([[0], edges])).tolist()
        annotation["segmentation"] = {"size": annotation["segmentation"]["size"], "counts": runs}
    expected = evaluate(predictions, truth).metrics
    assert evaluate(predictions, counts).metrics == expected
    assert evaluate(predictions, polygon).metrics["segm"]["AP"] == pytest.approx(1)


def test_masks_without_a_pixel_are_said(predictions, truth):
    """More of them than 255, which pycocotools does not measure at once."""
    expected = evaluate(predictions, truth)
    tiny = {"image_id": 7, "category_id": 1, "segmentation": [[3.1, 3.1, 3.3, 3.1, 3.3, 3.3]], "area": 1}
    truth["annotations"] += [{"id": 100 + n, **tiny} for n in range(300)]
    result = evaluate(predictions, truth)
    assert "the masks of 300 objects of the ground truth have no pixel: no mask can find them" in result.notes
    recall = expected.metrics["segm"]["AR100"] * 6 / 306
    assert result.n_objects == 306 and result.metrics["segm"]["AR100"] == pytest.approx(recall)


def test_boxes_alone_can_be_compared_and_masks_are_asked_for(predictions, truth):
    for annotation in predictions["annotations"]:
        del annotation["segmentation"]
    metrics = evaluate(predictions, truth, iou_types=["bbox"]).metrics
    assert list(metrics) == ["bbox"]
    assert metrics["bbox"]["AP"] == pytest.approx(1)
    with pytest.raises(CocoError, match=r"without segmentation.*iou_types"):
        evaluate(predictions, truth)


def test_absent_boxes_and_areas_come_from_masks(predictions, truth):
    expected = evaluate(predictions, truth).metrics
    for annotation in truth["annotations"]:
        annotation["area"] = 0
    assert evaluate(predictions, truth).metrics == expected
    for annotation in predictions["annotations"] + truth["annotations"]:
        annotation.pop("bbox")
        annotation.pop("area")
    assert evaluate(predictions, truth).metrics == expected


def test_the_judge_prints_nothing_and_inputs_stay_as_they_are(predictions, truth, capsys):
    before = copy.deepcopy((predictions, truth))
    evaluate(predictions, truth)
    assert capsys.readouterr() == ("", "")
    assert (predictions, truth) == before


def test_files_are_read_and_named_in_errors(predictions, truth, tmp_path):
    there, gone, broken = tmp_path / "gt.json", tmp_path / "gone.json", tmp_path / "broken.json"
    there.write_text(json.dumps(truth))
    (tmp_path / "p.json").write_text(json.dumps(predictions))
    broken.write_text("{not json")
    assert evaluate_files(tmp_path / "p.json", there).metrics["segm"]["AP"] == pytest.approx(1)
    with pytest.raises(CocoError, match=r"gone\.json.*no such file"):
        evaluate_files(gone, there)
    with pytest.raises(CocoError, match=r"broken\.json.*COCO JSON"):
        evaluate_files(there, broken)


def test_boxes_alone_in_the_ground_truth_leave_masks_out(predictions, truth):
    expected = evaluate(predictions, truth).metrics["bbox"]
    for annotation in truth["annotations"]:
        del annotation["segmentation"]
    result = evaluate(predictions, truth)
    assert result.metrics == {"bbox": expected}
    assert "the ground truth has boxes only: masks were not compared" in result.notes
    with pytest.raises(CocoError, match=r"ground truth: 6 of 6 annotations without segmentation.*iou_types"):
        evaluate(predictions, truth, iou_types=["segm"])


def test_some_objects_without_mask_are_an_error(predictions, truth):
    del truth["annotations"][0]["segmentation"]
    with pytest.raises(CocoError, match="ground truth: 1 of 6 annotations without segmentation"):
        evaluate(predictions, truth)


@pytest.fixture
def classes(truth, random_results):
    """The truth in three categories, a fourth without objects, and results with the right category mostly."""
    truth["categories"] = [{"id": i, "name": n} for i, n in ((3, "cat"), (1, "dog"), (9, "Car"), (4, "none"))]
    for n, annotation in enumerate(truth["annotations"]):
        annotation["category_id"] = (3, 1, 9)[n % 3]
    rng = np.random.default_rng(5)
    results = random_results(1, 60)
    for result in results:
        near = [a for a in truth["annotations"] if a["image_id"] == result["image_id"]]
        true = min(near, key=lambda a: abs(a["bbox"][0] - result["bbox"][0]) + abs(a["bbox"][1] - result["bbox"][1]))
        result["category_id"] = true["category_id"] if rng.random() < 0.8 else 3
    return truth, results


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_with_classes_equals_a_direct_run_of_pycocotools(classes, iou_type):
    truth, results = classes
    expected = direct(truth, results, iou_type)
    assert 0.05 < expected[0] < 0.95
    result = evaluate(results, truth, class_agnostic=False)
    metrics = result.metrics[iou_type]
    assert [-1 if metrics[m] is None else metrics[m] for m in STANDARD] == pytest.approx(list(expected), abs=1e-12)
    assert metrics != evaluate(results, truth).metrics[iou_type]
    json.dumps(result.as_dict())


def test_each_class_equals_an_evaluation_of_it_alone(classes):
    truth, results = classes
    result = evaluate(results, truth, class_agnostic=False)
    per_class = result.per_class["segm"]
    assert list(per_class) == ["cat", "dog", "Car", "none"]
    assert per_class["none"] == {"AP": None, "AP50": None, "AR100": None, "n_objects": 0}
    aps = []
    for category in truth["categories"][:3]:
        alone = {**truth, "annotations": [a for a in truth["annotations"] if a["category_id"] == category["id"]]}
        mine = [r for r in results if r["category_id"] == category["id"]]
        expected = evaluate(mine, alone).metrics["segm"]
        found = per_class[category["name"]]
        assert found["n_objects"] == 2
        assert {key: found[key] for key in ("AP", "AP50", "AR100")} == pytest.approx(
            {key: expected[key] for key in ("AP", "AP50", "AR100")}
        )
        aps.append(found["AP"])
    assert result.metrics["segm"]["AP"] == pytest.approx(np.mean(aps))


def test_one_class_gives_the_same_either_way(truth, random_results):
    results = random_results(2, 30)
    agnostic, aware = (evaluate(results, truth, class_agnostic=flag) for flag in (True, False))
    assert aware.metrics == agnostic.metrics
    assert agnostic.per_class == {}


def test_categories_are_matched_by_name_before_id(classes):
    truth, results = classes
    expected = evaluate(results, truth, class_agnostic=False).metrics
    other = {3: 100, 1: 101, 9: 3, 4: 1}
    names = [{"id": other[c["id"]], "name": f" {c['name'].upper()}"} for c in truth["categories"]]
    renamed = [{**r, "category_id": other[r["category_id"]]} for r in results]
    document = {"images": truth["images"], "annotations": renamed, "categories": names}
    assert evaluate(document, truth, class_agnostic=False).metrics == expected


def test_predictions_of_unknown_classes_are_left_out_and_said(classes):
    truth, results = classes
    expected = evaluate(results, truth, class_agnostic=False).metrics
    strange = [{**r, "category_id": 77, "score": 1.0} for r in results[:5]]
    result = evaluate(results + strange, truth, class_agnostic=False)
    assert result.metrics == expected
    assert any("5 predictions of categories that the ground truth lacks" in note for note in result.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, p: t.pop("categories"), "ground truth: no categories"),
        (lambda t, p: t["categories"].append({"id": 3, "name": "x"}), "category id 3 occurs twice"),
        (lambda t, p: t["categories"].append({"id": 33, "name": "cat"}), "category name cat occurs twice"),
        (
            lambda t, p: t["annotations"][0].update(category_id=50),
            "annotation 1: category_id; .*; found 50",
        ),
        (lambda t, p: p.update(categories=[{"id": 3, "name": "object"}]), "share no category.*like cat; found object"),
        (lambda t, p: [r.update(category_id=50) for r in p["annotations"]], "share no category.*ids like 3; found 50"),
        (lambda t, p: p["annotations"][0].pop("category_id"), "a prediction without category_id"),
    ],
)
def test_classes_that_do_not_fit_are_named(classes, change, message):
    truth, results = classes
    predictions = {"images": truth["images"], "annotations": results}
    change(truth, predictions)
    with pytest.raises(CocoError, match=message) as error:
        evaluate(predictions, truth, class_agnostic=False)
    assert "\n" not in str(error.value)


def test_crowd_of_a_class_takes_in_that_class_alone(classes, make_record):
    truth, results = classes
    truth["annotations"].append(make_record(5, (90, 90), (0, 65, 35, 25), iscrowd=1, id=99, category_id=3))
    expected = direct(truth, results, "segm")
    metrics = evaluate(results, truth, class_agnostic=False).metrics["segm"]
    assert [-1 if metrics[m] is None else metrics[m] for m in STANDARD] == pytest.approx(list(expected), abs=1e-12)


def test_objects_flagged_ignore_are_no_crowd(predictions, truth, make_record):
    box = (5, 5, 25, 25)
    flagged = next(a for a in truth["annotations"] if a["image_id"] == 5 and a["bbox"][0] == 5)
    flagged["ignore"] = 1
    result = evaluate(predictions, truth)
    assert (result.n_objects, result.n_ignored, result.n_crowd) == (5, 1, 0)
    assert result.metrics["segm"]["AP"] == pytest.approx(1)
    image_id = next(i["id"] for i in predictions["images"] if i["file_name"] == "sub/im5.jpg")
    part = make_record(image_id, (90, 90), (*box[:2], 10, 10), score=1.0)
    with_part = evaluate({**predictions, "annotations": [*predictions["annotations"], part]}, truth)
    assert with_part.metrics["segm"]["AP"] < 1  # a crowd region would have taken it in
    assert evaluate(predictions, truth, difficult="count").n_objects == 6


def test_names_that_differ_in_capitals_alone_are_told_apart(classes):
    truth, results = classes
    expected = evaluate(results, truth, class_agnostic=False).metrics
    first, second = truth["categories"][:2]
    first["name"], second["name"] = "Cat", "cat"
    document = {"images": truth["images"], "annotations": results, "categories": truth["categories"]}
    assert evaluate(document, truth, class_agnostic=False).metrics == expected
    document["categories"] = [{**each, "name": each["name"].upper()} for each in truth["categories"][2:]]
    if document["categories"]:
        assert evaluate(document, truth, class_agnostic=False)
