import json
import logging

import numpy as np
import pytest

from cuts3d_cli import __version__
from cuts3d_cli.config import EvaluateConfig
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.evaluation import evaluate
from cuts3d_cli.evaluation.benchmarks import get_benchmark
from cuts3d_cli.evaluation.paper_tables import TABLE_1
from cuts3d_cli.log import logger
from cuts3d_cli.store.checksums import read_own
from cuts3d_cli.store.coco import encode_mask
from cuts3d_cli.store.coco_document import check_coco


@pytest.fixture
def files(predictions, truth, tmp_path):
    (tmp_path / "p.json").write_text(json.dumps(predictions))
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    return tmp_path / "p.json", tmp_path / "gt.json", tmp_path / "out" / "result.json"


def test_writes_what_it_returns_with_provenance(files):
    predictions, annotations, out = files
    config = EvaluateConfig(max_dets=(1, 2, 5), iou_types=["segm"])
    result = evaluate.run(predictions, annotations, config=config, out=out)
    assert read_own(out) == result
    assert list(result["metrics"]) == ["segm"]
    assert result["metrics"]["segm"]["AR5"] == pytest.approx(1)
    provenance = result["provenance"]
    assert provenance["version"] == __version__
    assert provenance["config"] == config.model_dump(mode="json")
    assert provenance["predictions_info"] == {"kind": "predictions", "fingerprint": "f00"}
    assert provenance["predictions_digest"] != provenance["annotations_digest"]
    assert "result" in evaluate.format_table({"result": result})


def test_nothing_is_written_on_an_error(files):
    predictions, annotations, out = files
    annotations.write_text("[]")
    with pytest.raises(Cuts3dError):
        evaluate.run(predictions, annotations, config=EvaluateConfig(), out=out)
    assert not out.exists()


def test_notes_are_logged(files, truth, caplog, monkeypatch):
    predictions, annotations, _ = files
    truth["annotations"][0]["ignore"] = 1
    annotations.write_text(json.dumps(truth))
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.WARNING, logger="cuts3d"):
        evaluate.run(predictions, annotations, config=EvaluateConfig())
    assert "1 objects flagged difficult or ignore" in caplog.text


def test_a_benchmark_adds_published_numbers(files):
    predictions, annotations, out = files
    truth = evaluate.load_truth(annotations, benchmark=get_benchmark("coco"))
    result = evaluate.run(predictions, truth, config=EvaluateConfig(), out=out)
    assert read_own(out) == result
    assert (result["benchmark"], result["published"]["unit"]) == ("coco", "percent")
    number = {"method": "CutS3D", "setting": "zero-shot", "iou_type": "segm", "metric": "AP", "value": 10.7}
    assert {**number, "source": TABLE_1} in result["published"]["numbers"]
    assert {number["setting"] for number in result["published"]["numbers"]} == {"zero-shot"}
    text = evaluate.format_results({"mine": result}, truth)
    assert "COCO, mask (%)" in text and "this run" in text


def test_a_benchmark_of_boxes_leaves_masks_out(files):
    """Converters write boxes as polygons, so the registry decides, not the file."""
    predictions, annotations, _ = files
    truth = evaluate.load_truth(annotations, benchmark=get_benchmark("voc"))
    result = evaluate.run(predictions, truth, config=EvaluateConfig())
    assert list(result["metrics"]) == ["bbox"]
    assert any("benchmark of boxes" in note for note in result["notes"])
    with pytest.raises(Cuts3dError, match="voc compares boxes only"):
        evaluate.run(predictions, truth, config=EvaluateConfig(iou_types=["segm"]))


def test_written_ground_truth_scores_the_same(files, truth, make_record, tmp_path):
    predictions, annotations, _ = files
    for n, annotation in enumerate(truth["annotations"]):
        annotation["category_id"] = 1 + n % 2
    truth["categories"] = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    truth["annotations"][0]["ignore"] = 1
    truth["annotations"].append(make_record(5, (90, 90), (0, 65, 35, 25), iscrowd=1, id=99))
    annotations.write_text(json.dumps(truth))
    before = evaluate.load_truth(annotations)
    evaluate.write_truth(before, tmp_path / "one.json")
    after = evaluate.load_truth(tmp_path / "one.json")
    assert {a["category_id"] for a in after.read.document.annotations} == {1}
    assert after.read.document.categories == [{"id": 1, "name": "object"}]
    found, expected = (evaluate.run(predictions, t, config=EvaluateConfig()) for t in (after, before))
    assert found["metrics"] == expected["metrics"]
    assert (found["n_ignored"], found["n_crowd"]) == (1, 1)
    evaluate.write_truth(before, tmp_path / "all.json", class_agnostic=False)
    assert len(evaluate.load_truth(tmp_path / "all.json").read.document.categories) == 2


def test_classes_are_in_the_json_and_the_table(files, truth):
    predictions, annotations, _ = files
    truth["categories"] = [{"id": 1, "name": "thing"}]
    annotations.write_text(json.dumps(truth))
    source = evaluate.load_truth(annotations, benchmark=get_benchmark("coco"))
    result = evaluate.run(predictions, source, config=EvaluateConfig(class_agnostic=False))
    assert result["per_class"]["segm"]["thing"]["AP"] == pytest.approx(1)
    text = evaluate.format_results({"mine": result}, source, class_agnostic=False)
    assert "thing" in text and "5 % of labels" in text and "FreeSOLO" not in text


def test_no_ground_truth_at_all():
    with pytest.raises(Cuts3dError, match="no ground truth"):
        evaluate.load_truth()


def test_pseudo_masks_can_be_ranked_by_the_attempt_that_found_them(files, predictions):
    """The same masks in another order of scores: only what ranks them differs; detections keep their score."""
    path, annotations, _ = files
    by_score, by_attempt = (EvaluateConfig(pseudo_mask_rank=rank, iou_types=["segm"]) for rank in ("score", "attempts"))
    places = {}
    for record in predictions["annotations"]:  # an image's attempts in order, the surest last
        places[record["image_id"]] = places.get(record["image_id"], 0) + 1
        record["score"] = 0.1 * places[record["image_id"]]
    ranked = evaluate.ranked(check_coco(predictions, "p"), "attempts")[0].annotations
    assert [r["score"] for r in ranked] == [1 / round(10 * r["score"]) for r in predictions["annotations"]]
    expected = {**predictions, "annotations": ranked}

    def ap(document, config):
        path.write_text(json.dumps(document))
        return evaluate.run(path, annotations, config=config)["metrics"]["segm"]

    assert ap(predictions, by_attempt) == ap(predictions, by_score)  # kind: predictions
    masks = {**predictions, "info": {"kind": "pseudo-masks"}}
    assert ap(masks, by_attempt) == ap(expected, by_score)


def test_pseudo_masks_can_be_ranked_by_quality(files, predictions):
    """The right masks have the quality, the wrong ones the score."""
    path, annotations, _ = files
    by_score, by_quality = (EvaluateConfig(pseudo_mask_rank=rank, iou_types=["segm"]) for rank in ("score", "quality"))
    right = [{**record, "score": 0.1, "quality": 0.9} for record in predictions["annotations"]]
    wrong = [{**record, "segmentation": {**record["segmentation"]}} for record in right]
    for record in wrong:
        height, width = record["segmentation"]["size"]
        corner = np.zeros((height, width), bool)
        corner[0, 0] = True
        record |= {"id": record["id"] + 1000, "segmentation": encode_mask(corner), "score": 0.9, "quality": 0.1}
        record.pop("bbox", None)

    def run(records, config):
        path.write_text(json.dumps({**predictions, "annotations": records, "info": {"kind": "pseudo-masks"}}))
        result = evaluate.run(path, annotations, config=config)
        return result["metrics"]["segm"]["AP50"], result["notes"]

    assert run([*right, *wrong], by_score)[0] < 0.6
    assert run([*right, *wrong], by_quality) == (pytest.approx(1), [])


@pytest.mark.parametrize("missing", [None, "high", float("nan")])
def test_masks_without_a_quality_are_ranked_by_score_and_the_reader_is_told(files, predictions, missing):
    path, annotations, _ = files
    first, *others = predictions["annotations"]
    records = [{**first, "quality": missing}, *({**record, "quality": 0.5} for record in others)]
    path.write_text(json.dumps({**predictions, "annotations": records, "info": {"kind": "pseudo-masks"}}))
    found, expected = (
        evaluate.run(path, annotations, config=EvaluateConfig(pseudo_mask_rank=rank)) for rank in ("quality", "score")
    )
    assert found["metrics"] == expected["metrics"]
    (note,) = set(found["notes"]) - set(expected["notes"])
    assert note == f"1 of {len(records)} pseudo-masks have no quality, so all are ranked by score"


@pytest.mark.parametrize("of_ours", [True, False])
def test_images_that_were_not_asked_for_are_left_out_and_failed_ones_count(files, predictions, truth, of_ours):
    path, annotations, _ = files
    first, failed, _ = (image["file_name"] for image in truth["images"])
    kept = next(image for image in predictions["images"] if image["file_name"] == first)
    predictions["images"] = [kept]
    predictions["annotations"] = [a for a in predictions["annotations"] if a["image_id"] == kept["id"]]
    predictions["info"] |= {"counts": {"failures": {failed: "broken"}}} | ({"version": "1"} if of_ours else {})
    predictions["info"]["kind"] = "predictions"
    path.write_text(json.dumps(predictions))

    def scored(**options):
        found = evaluate.run(path, annotations, config=EvaluateConfig(), **options)
        told = [note for note in found["notes"] if "--count-unlisted" in note]
        return found["n_images"], found["n_images_missing"], len(told), found["metrics"]["segm"]["AP"]

    some, whole = scored(), scored(count_unlisted=True)
    assert whole[:3] == (3, 2, 0)
    assert some[:3] == ((2, 1, 1) if of_ours else (3, 2, 0))
    assert (some[3] > whole[3]) == of_ours
    benchmark = evaluate.load_truth(annotations, benchmark=get_benchmark("coco"))
    assert evaluate.run(path, benchmark, config=EvaluateConfig())["n_images"] == 3
