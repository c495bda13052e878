import json
from pathlib import Path

import numpy as np
import pytest

from cuts3d_cli.config import SelfTrainConfig, TrainConfig
from cuts3d_cli.detector import inference
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.store.checksums import read_own
from cuts3d_cli.store.coco import annotation
from cuts3d_cli.store.confidence import Confidence
from cuts3d_cli.store.curve import read_curve
from cuts3d_cli.store.masks import PSEUDO_MASKS, MaskFile, read_masks
from cuts3d_cli.training import selftrain, train

H, W = 20, 30


def mask(left, right):
    out = np.zeros((H, W), bool)
    out[5:15, left:right] = True
    return out


def mask_file(*entries):
    images = [{"id": i, "file_name": f"{i}.png", "width": W, "height": H} for i in (1, 2, 3)]
    return MaskFile(PSEUDO_MASKS, Path("images"), images, list(entries))


def test_merge_of_a_round():
    ours = {"cut": 0, "confidence": Confidence(np.ones((3, 3)), 0.5)}
    earlier = mask_file(
        annotation(1, mask(0, 10), 0.9, **ours),  # IoU 1 with a kept prediction: goes
        annotation(1, mask(15, 25), 0.4, **ours),  # apart: stays
        annotation(2, mask(0, 10), 0.5, **ours),  # its image has no confident prediction: stays
    )
    predictions = [
        annotation(1, mask(0, 10), 0.8),
        annotation(1, mask(16, 26), 0.7),  # at the threshold, not above: out
        annotation(2, mask(0, 10), 0.2),
        annotation(3, mask(3, 9), 0.95),  # an image without masks so far
    ]
    merged, n_new = selftrain.merge_labels(earlier, predictions, 0.7, 0.5)
    assert n_new == 2
    assert [(entry["image_id"], entry["score"]) for entry in merged] == [(1, 0.8), (1, 0.4), (2, 0.5), (3, 0.95)]
    assert not any({"confidence", "cut"} & entry.keys() for entry in merged)


@pytest.mark.parametrize(("shift", "stays"), [(4, False), (5, True)])
def test_overlap_with_earlier_masks(shift, stays):
    # 12 wide, shifted: IoU 8/16 = 0.5 stays at most merge_iou = 0.5 ... 7/17 below
    earlier = mask_file(annotation(1, mask(0, 12), 0.9))
    merged, _ = selftrain.merge_labels(earlier, [annotation(1, mask(shift, shift + 12), 0.9)], 0.7, 0.45)
    assert (len(merged) == 2) is stays


def test_round_settings_use_no_confidence():
    config = selftrain.round_config(
        SelfTrainConfig(iterations=7, lr=0.5, batch_size=3), TrainConfig(image_size=96, iterations=900, init="x.pth")
    )
    assert (config.loss, config.alpha_blend, config.copy_paste_select) == ("none", "none", "random")
    assert (config.iterations, config.lr, config.batch_size, config.image_size) == (7, 0.5, 3, 96)
    assert config.init is None and config.droploss is False and config.copy_paste_scale == (0.5, 1.0)


@pytest.fixture
def round0(labelled, micro, tmp_path):
    train.run(labelled, tmp_path / "round0", config=micro, device="cpu", threads=1)
    return tmp_path / "round0/checkpoint.pth"


def run(checkpoint, annotations, out, micro, number=1, resume=True, max_failed=1.0, **values):
    config = SelfTrainConfig(iterations=2, batch_size=2, warmup_iterations=1, **values)
    train_config = micro.model_copy(update={"lr_steps": []})
    return selftrain.run(
        checkpoint, annotations, out, round_number=number, config=config, train=train_config, device="cpu", threads=1,
        resume=resume, max_failed=max_failed,
    )  # fmt: skip


def test_two_rounds(round0, labelled, micro, tmp_path):
    # A threshold every prediction passes in round 1: its labels are the predictions and what they miss.
    counts = run(round0, labelled, tmp_path / "round1", micro, score_threshold=0.0, max_detections=3)
    assert counts.total == 5
    first = read_masks(tmp_path / "round1/annotations.json")
    assert [image["id"] for image in first.images] == [1, 2, 3, 4, 5]
    assert first.image_root.resolve() == (tmp_path / "images").resolve() and first.counts == counts
    assert len(first.annotations) >= 5 and len(read_curve(tmp_path / "round1/metrics.jsonl")) == 2
    run(tmp_path / "round1/checkpoint.pth", tmp_path / "round1/annotations.json", tmp_path / "round2", micro, number=2)
    assert (tmp_path / "round2/checkpoint.pth").is_file() and (tmp_path / "round2/config.json").is_file()


def test_a_file_of_others_with_its_images_elsewhere(labelled, micro, tmp_path):
    document = json.loads(labelled.read_text())
    del document["info"], document["crc32"]
    for entry in document["annotations"]:
        x, y, w, h = entry["bbox"]
        entry |= {"segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}
        del entry["score"], entry["confidence"], entry["cut"]
    document["annotations"].append({"id": 99, "image_id": 1, "iscrowd": 1, "bbox": [0, 0, 20, 20]})
    (tmp_path / "theirs").mkdir()
    path = tmp_path / "theirs/coco.json"
    path.write_text(json.dumps(document))
    train.run(path, tmp_path / "round0", config=micro, device="cpu", threads=1, images=tmp_path / "images")
    config = SelfTrainConfig(iterations=2, batch_size=2, warmup_iterations=1, score_threshold=1.0, score_step=0.0)
    inputs = (tmp_path / "round0/checkpoint.pth", path, tmp_path / "round1")
    options = {"round_number": 1, "config": config, "train": micro.model_copy(update={"lr_steps": []}),
               "device": "cpu", "threads": 1}  # fmt: skip
    with pytest.raises(Cuts3dError, match="--image-root DIR"):
        selftrain.run(*inputs, **options)
    counts = selftrain.run(*inputs, **options, images=tmp_path / "images")
    labels = read_masks(tmp_path / "round1/annotations.json")
    assert not counts.failures and len(labels.annotations) == 10
    assert labels.image_root.resolve() == (tmp_path / "images").resolve()


def test_without_confident_predictions_the_masks_stay(round0, labelled, micro, tmp_path):
    run(round0, labelled, tmp_path / "round1", micro, score_threshold=1.0, score_step=0.0)
    before, after = read_masks(labelled).annotations, read_masks(tmp_path / "round1/annotations.json").annotations
    assert [entry["segmentation"] for entry in before] == [entry["segmentation"] for entry in after]


def test_labels_of_a_stopped_round_are_reused(round0, labelled, micro, tmp_path, monkeypatch):
    run(round0, labelled, tmp_path / "round1", micro)
    expected = (tmp_path / "round1/annotations.json").read_bytes()
    (tmp_path / "round1/annotations.json").unlink()

    def fail(*_args, **_kwargs):
        raise AssertionError("predicted again")

    monkeypatch.setattr("cuts3d_cli.detector.inference.predict_images", fail)
    run(round0, labelled, tmp_path / "round1", micro)
    assert (tmp_path / "round1/annotations.json").read_bytes() == expected
    with pytest.raises(AssertionError, match="predicted again"):
        run(round0, labelled, tmp_path / "round1", micro, merge_iou=0.1)


def test_labels_of_an_older_cuts3d_are_made_again(round0, labelled, micro, tmp_path):
    run(round0, labelled, tmp_path / "round1", micro)
    labels = tmp_path / "round1/work/annotations.json"
    document = read_own(labels)
    del document["info"]["format_version"]
    labels.write_text(json.dumps(document))
    run(round0, labelled, tmp_path / "round1", micro)
    assert read_masks(labels).counts.total == 5


def test_a_fresh_round_keeps_its_labels(round0, labelled, micro, tmp_path):
    run(round0, labelled, tmp_path / "round1", micro)
    before = (tmp_path / "round1/checkpoint.pth").stat().st_mtime_ns
    run(round0, labelled, tmp_path / "round1", micro, resume=False)
    assert (tmp_path / "round1/checkpoint.pth").stat().st_mtime_ns > before
    assert len(read_curve(tmp_path / "round1/metrics.jsonl")) == 2


def test_failures_are_told_again_when_labels_are_reused(round0, labelled, micro, tmp_path):
    (tmp_path / "images/3.png").write_bytes(b"no image")
    first, again = (run(round0, labelled, tmp_path / "round1", micro) for _ in range(2))
    assert list(first.failures) == ["3.png"] and again.failures == first.failures and again.total == first.total == 5


def test_labels_of_an_image_that_failed_are_made_once_it_is_back(round0, labelled, micro, tmp_path, monkeypatch):
    image = tmp_path / "images/3.png"
    content = image.read_bytes()
    image.write_bytes(b"no image")
    assert list(run(round0, labelled, tmp_path / "round1", micro).failures) == ["3.png"]
    image.write_bytes(content)
    read, predict = [], inference.predict_image

    def noted(detector, record, path):
        read.append(record.file_name)
        return predict(detector, record, path)

    monkeypatch.setattr(inference, "predict_image", noted)
    assert not run(round0, labelled, tmp_path / "round1", micro).failures and read == ["3.png"]
    run(round0, labelled, tmp_path / "whole", micro)
    again, whole = (read_masks(tmp_path / name / "annotations.json") for name in ("round1", "whole"))
    assert (again.annotations, again.counts) == (whole.annotations, whole.counts)


def test_too_many_failures_stop_a_round_before_its_training(round0, labelled, micro, tmp_path):
    (tmp_path / "images/3.png").write_bytes(b"no image")
    with pytest.raises(Cuts3dError, match=r"selftrain: 1 of 5 images failed.*at most 0.1 of them"):
        run(round0, labelled, tmp_path / "round1", micro, max_failed=0.1)
    assert not (tmp_path / "round1/checkpoint.pth").exists() and not (tmp_path / "round1/work/state.pth").exists()
    run(round0, labelled, tmp_path / "round1", micro, max_failed=0.2)


def test_files_of_others(round0, labelled, micro, tmp_path):
    # Polygons, uncompressed run lengths, and image records with exchanged width and height (CutLER's).
    document = read_own(labelled)
    first, second = document["annotations"][:2]
    first["segmentation"] = [[4, 4, 30, 4, 30, 30, 4, 30]]
    second["segmentation"] = {"size": [60, 96], "counts": [60 * 50, 60 * 20, 60 * 26]}
    for image in document["images"][1:]:
        image["width"], image["height"] = image["height"], image["width"]
    labelled.write_text(json.dumps(document))
    counts = run(round0, labelled, tmp_path / "round1", micro, score_threshold=0.06)
    assert counts.total == 5 and not counts.failures
    made = read_masks(tmp_path / "round1/annotations.json")
    assert {(image["width"], image["height"]) for image in made.images} == {(96, 60)}


def test_a_missing_checkpoint(labelled, micro, tmp_path):
    with pytest.raises(Cuts3dError, match="no checkpoint"):
        run(tmp_path / "gone.pth", labelled, tmp_path / "round1", micro)


def test_rounds_count_from_one(round0, labelled, micro, tmp_path):
    with pytest.raises(Cuts3dError, match="1 or more"):
        run(round0, labelled, tmp_path / "round1", micro, number=0)


@pytest.mark.parametrize(("number", "threshold"), [(1, 0.70), (2, 0.65), (3, 0.60)])
def test_thresholds_of_the_paper(number, threshold):
    assert selftrain.round_threshold(SelfTrainConfig(), number) == pytest.approx(threshold)
    assert SelfTrainConfig().max_detections == 30


def test_as_many_detections_as_allowed(round0, labelled, micro, tmp_path):
    labels = tmp_path / "labels.json"
    for most in (1, 3):
        config = SelfTrainConfig(score_threshold=0.0, max_detections=most, merge_iou=0.0)
        selftrain.make_labels(round0, labelled, labels, round_number=1, config=config, device="cpu", threads=1)
        old = {json.dumps(entry["segmentation"]) for entry in read_masks(labelled).annotations}
        new = [e for e in read_masks(labels).annotations if json.dumps(e["segmentation"]) not in old]
        per_image = [sum(entry["image_id"] == image for entry in new) for image in range(1, 6)]
        assert max(per_image) == most


class TestTarget:
    """In-domain self-training: another set's images, no earlier masks."""

    def run(self, checkpoint, images, out, micro, **values):
        config = SelfTrainConfig(
            iterations=9,
            target_iterations=2,
            batch_size=2,
            warmup_iterations=1,
            lr_steps=[],
            max_detections=3,
            **values,
        )
        return selftrain.run_target(checkpoint, [images], out, config=config, train=micro, device="cpu", threads=1)

    def test_labels_are_predictions_alone(self, round0, micro, tmp_path):
        (tmp_path / "images/broken.png").write_bytes(b"no image")
        counts = self.run(round0, tmp_path / "images", tmp_path / "target", micro, target_threshold=0.0)
        assert counts.total == 6 and list(counts.failures) == ["broken.png"]
        labels = read_masks(tmp_path / "target/annotations.json")
        assert len(labels.images) == 5 and 5 <= len(labels.annotations) <= 15
        assert labels.provenance.config["selftrain"]["score_threshold"] == 0.0
        assert labels.provenance.images == read_masks(tmp_path / "target/images.json").provenance.images != ""
        assert labels.image_root.resolve() == (tmp_path / "images").resolve()
        assert len(read_curve(tmp_path / "target/metrics.jsonl")) == 2
        assert (tmp_path / "target/checkpoint.pth").is_file()

    def test_nothing_confident_is_an_error(self, round0, micro, tmp_path):
        with pytest.raises(Cuts3dError, match=r"no annotation to train on.*selftrain.target_threshold"):
            self.run(round0, tmp_path / "images", tmp_path / "target", micro, target_threshold=1.0)

    def test_the_command(self, round0, micro, tmp_path):
        from click.testing import CliRunner

        from cuts3d_cli.cli.selftrain import command

        flags = ["--target-threshold", "0", "--target-iterations", "1", "--batch-size", "2", "--max-detections", "2"]
        settings = [f"--set=train.{key}={getattr(micro, key)}" for key in ("detector", "image_size", "workers")]
        where = ["--checkpoint", str(round0), "--out", str(tmp_path / "target"), "--device", "cpu"]
        ended = CliRunner().invoke(
            command, [*where, "--target-images", str(tmp_path / "images"), *flags, *settings], catch_exceptions=False
        )
        assert ended.exit_code == 0, ended.output
        assert len(read_curve(tmp_path / "target/metrics.jsonl")) == 1
        ended = CliRunner().invoke(command, where)
        assert ended.exit_code == 2 and "--target-images FOLDER" in ended.output


def test_labels_are_plain_json(round0, labelled, micro, tmp_path):
    run(round0, labelled, tmp_path / "round1", micro, score_threshold=0.0)
    info = json.loads((tmp_path / "round1/annotations.json").read_text())["info"]
    settings = info["config"]["selftrain"]
    assert settings["round"] == 1 and settings["score_threshold"] == pytest.approx(-0.05)
    assert info["inputs"].keys() == {"checkpoint", "annotations"}
