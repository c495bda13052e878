import json
import os

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.mask import toBbox

from cuts3d_cli.config import PredictConfig
from cuts3d_cli.errors import ModelError
from cuts3d_cli.pipeline.retries import changed_since
from cuts3d_cli.store.coco import decode_mask
from cuts3d_cli.store.layout import failed_path
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.training import predict, train


@pytest.fixture
def checkpoint(labelled, micro, tmp_path):
    train.run(labelled, tmp_path / "round0", config=micro, device="cpu", threads=1)
    return tmp_path / "round0/checkpoint.pth"


def records(labelled):
    return [
        ImageRecord(entry["id"], entry["file_name"], entry["height"], entry["width"], "")
        for entry in json.loads(labelled.read_text())["images"]
    ]


def run(checkpoint, labelled, out, images=None, **values):
    return predict.run(
        checkpoint, out, records=images or records(labelled), image_root=labelled.parent / "images",
        config=PredictConfig(**values), device="cpu", threads=1,
    )  # fmt: skip


def test_pycocotools_reads_masks_of_the_images_size(checkpoint, labelled, tmp_path):
    counts = run(checkpoint, labelled, tmp_path / "p.json")
    assert counts.done == 5
    coco = COCO(str(tmp_path / "p.json"))
    assert len(coco.anns) > 0
    for entry in coco.anns.values():
        image = coco.imgs[entry["image_id"]]
        mask = coco.annToMask(entry)
        assert mask.shape == (image["height"], image["width"]) == (60, 96)
        assert mask.sum() == entry["area"] > 0
        left, top, width, height = entry["bbox"]
        assert 0 <= left <= left + width <= 96 + 1e-3 and 0 <= top <= top + height <= 60 + 1e-3
        rows, columns = np.nonzero(mask)  # pasted into the box, so the mask ends within a pixel of it
        assert left - 1 <= columns.min() and columns.max() <= left + width + 1
        assert top - 1 <= rows.min() and rows.max() <= top + height + 1
        assert 0 <= entry["score"] <= 1 and "confidence" not in entry
    info = json.loads((tmp_path / "p.json").read_text())["info"]
    assert info["kind"] == "predictions" and info["counts"]["done"] == 5
    assert set(info["inputs"]) == {"detector"} and info["config"].keys() == {"predict"} and info["fingerprint"]


def test_the_scores_are_summed_up_in_words(checkpoint, labelled, tmp_path, caplog):
    found = [{"score": 0.2}, {"score": 0.34}, {"score": 0.61}]
    assert predict.scores_in_words(found, 0.5) == "1 of 3 above 0.5, highest 0.61"
    assert predict.scores_in_words(found[:2], 0.5) == "0 of 2 above 0.5, highest 0.34"
    assert predict.scores_in_words([], 0.5) == "none"
    with caplog.at_level("INFO", logger="cuts3d"):
        run(checkpoint, labelled, tmp_path / "p.json")
    assert " above 0.5, highest 0." in caplog.text


def test_boxes_are_those_detected_not_those_of_the_masks(checkpoint, labelled, tmp_path):
    run(checkpoint, labelled, tmp_path / "p.json")
    entries = json.loads((tmp_path / "p.json").read_text())["annotations"]
    assert any(entry["bbox"] != list(toBbox(entry["segmentation"])) for entry in entries)


def test_thresholds_keep_the_best(checkpoint, labelled, tmp_path):
    run(checkpoint, labelled, tmp_path / "all.json")
    everything = json.loads((tmp_path / "all.json").read_text())["annotations"]
    of_first = [entry["score"] for entry in everything if entry["image_id"] == 1]
    assert of_first == sorted(of_first, reverse=True) and len(of_first) > 2
    run(checkpoint, labelled, tmp_path / "two.json", max_detections=2)
    two = [
        entry["score"]
        for entry in json.loads((tmp_path / "two.json").read_text())["annotations"]
        if entry["image_id"] == 1
    ]
    assert two == pytest.approx(of_first[:2])
    limit = float(np.median([entry["score"] for entry in everything]))
    run(checkpoint, labelled, tmp_path / "best.json", score_threshold=limit)
    best = json.loads((tmp_path / "best.json").read_text())["annotations"]
    assert 0 < len(best) < len(everything) and min(entry["score"] for entry in best) >= limit - 1e-6


def test_broken_images_cost_themselves_only(checkpoint, labelled, tmp_path):
    (labelled.parent / "images/2.png").write_bytes(b"no image")
    images = records(labelled)
    images[3] = ImageRecord(4, "4.png", 50, 50, "")
    images.append(ImageRecord(6, "gone.png", 60, 96, ""))
    images.append(ImageRecord(7, "bad.png", 0, 0, "", error="unreadable in prepare"))
    counts = run(checkpoint, labelled, tmp_path / "p.json", images)
    assert counts.done == 3 and set(counts.failures) == {"2.png", "4.png", "gone.png", "bad.png"}
    document = json.loads((tmp_path / "p.json").read_text())
    assert document["info"]["counts"] == {"done": 3, "no_object": 0, "failures": counts.failures}
    assert "50 x 50" in counts.failures["4.png"]
    assert {entry["image_id"] for entry in document["annotations"]} == {1, 3, 5}


def test_an_image_without_detections_counts_as_such(checkpoint, labelled, tmp_path):
    counts = run(checkpoint, labelled, tmp_path / "p.json", score_threshold=1.0)
    assert (counts.done, counts.no_object) == (0, 5)


def test_predictions_are_repeatable(checkpoint, labelled, tmp_path):
    for name in ("a.json", "b.json"):
        run(checkpoint, labelled, tmp_path / name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_other_weights_are_refused(labelled, tmp_path):
    path = tmp_path / "backbone.pth"
    torch.save({"conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match="checkpoint written by `cuts3d train`"):
        run(path, labelled, tmp_path / "p.json")


def test_masks_lie_where_the_boxes_of_the_model_are(checkpoint, labelled, tmp_path):
    from cuts3d_cli.detector.inference import load_model, predict_image

    detector = load_model(checkpoint, PredictConfig(max_detections=5), torch.device("cpu"))
    found = predict_image(detector, records(labelled)[0], labelled.parent / "images/1.png")
    assert 0 < len(found) <= 5
    assert all(decode_mask(entry["segmentation"]).shape == (60, 96) for entry in found)


def test_images_of_a_run_that_failed_are_noted_with_their_files(checkpoint, labelled, tmp_path, cuts3d):
    images, out = labelled.parent / "images", tmp_path / "round0/found.json"
    assert cuts3d("prepare", images, "--run", tmp_path / "val")[0] == 0
    args = ("predict", "--run", tmp_path / "val", "--checkpoint", checkpoint, "--out", out, "--device", "cpu")
    assert cuts3d(*args)[0] == 0 and not failed_path(out).exists()
    os.rename(images / "3.png", tmp_path / "3.png")
    before = out.read_bytes()
    code, _, err = cuts3d(*args, "--max-failed", "0.1")
    assert code == 1 and "predict: 1 of 5 images failed, first 3.png" in err and out.read_bytes() == before
    assert cuts3d(*args)[0] == 0 and changed_since("predict", out, images) == {}
    os.rename(tmp_path / "3.png", images / "3.png")
    assert list(changed_since("predict", out, images)) == ["3.png"]
    assert cuts3d(*args)[0] == 0 and not failed_path(out).exists()
