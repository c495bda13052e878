"""The released detector's own outputs, from weights that a formula gives (tests/golden)."""

import json
import logging
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.config import ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope

from cuts3d_cli.detector import checkpoints, d2_checkpoint
from cuts3d_cli.errors import ModelError

GOLDEN = Path(__file__).parents[1] / "golden"
FACTORS = {
    "conv3.weight": 0.2, "lateral": 0.3, "objectness_logits": 0.1, "anchor_deltas": 0.02, "bbox_pred": 0.05,
    "cls_score": 0.1, "mask_head.predictor": 0.3,
}  # fmt: skip


def weight(key, shape):
    """The golden weight of a name: normal numbers seeded by it, scaled by its kind."""
    r = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    if key.endswith("running_var"):
        values = 1 + 0.1 * np.abs(r)
    elif key.endswith(("running_mean", "norm.bias")):
        values = 0.05 * r
    elif key.endswith("norm.weight"):
        values = 1 + 0.05 * r
    elif key.endswith(".bias"):
        values = 0.01 * r
    else:
        values = r * math.sqrt(2 / np.prod(shape[1:])) * math.prod(f for part, f in FACTORS.items() if part in key)
    return torch.from_numpy(values.astype(np.float32))


@pytest.fixture(scope="module")
def released():
    """``model`` of a released checkpoint, as the golden file lists it."""
    shapes = json.loads((GOLDEN / "detector_d2_keys.json").read_text())
    return {key: weight(key, shape) for key, shape in shapes.items()}


@pytest.fixture
def empty():
    """The same tensors, each of one number of its own, which takes no memory."""
    shapes = json.loads((GOLDEN / "detector_d2_keys.json").read_text())
    return {key: torch.tensor(float(number)).expand(shape) for number, (key, shape) in enumerate(shapes.items())}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "detector_d2.npz") as file:
        return {key: file[key] for key in file.files}


@pytest.fixture(scope="module")
def outputs(released, golden):
    """Features, proposals, detections and mask probabilities of the converted model on the golden image."""
    checkpoint = d2_checkpoint.from_detectron2({"model": released}, "golden")
    config = ConfigDict(checkpoint["meta"]["detector"]["model"])
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = revert_sync_batchnorm(MODELS.build(config)).eval()
    checkpoints.fill(model, checkpoint["state_dict"], "golden")
    image = torch.from_numpy(golden["image"]).permute(2, 0, 1)
    size = tuple(image.shape[1:])
    sample = DetDataSample(metainfo={"img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0), "img_id": 1})
    with torch.inference_mode():
        batch = model.data_preprocessor({"inputs": [image], "data_samples": [sample]}, False)
        features = model.extract_feat(batch["inputs"])
        proposals = model.rpn_head.predict(features, batch["data_samples"], rescale=False)[0]
        found = model.roi_head.predict_bbox(
            features, [sample.metainfo], [proposals], model.roi_head.test_cfg, rescale=False
        )[0]
        logits = model.roi_head._mask_forward(0, features, bbox2roi([found.bboxes[:40]]))["mask_preds"]
    return {
        "padded_hw": batch["inputs"].shape[-2:],
        "features": [level[0].numpy() for level in features],
        "proposals": proposals,
        "detections": found,
        "masks": logits[:, 0].sigmoid().numpy(),
    }


def test_features(outputs, golden):
    assert tuple(outputs["padded_hw"]) == tuple(golden["padded_hw"])
    for level in (4, 5, 6):
        np.testing.assert_allclose(outputs["features"][level - 2], golden[f"feat_p{level}"], rtol=0, atol=1e-3)
    for level in (2, 3):
        means = outputs["features"][level - 2].mean(axis=(1, 2))
        np.testing.assert_allclose(means, golden[f"feat_p{level}_mean_per_channel"], rtol=0, atol=1e-3)


def nearest(boxes, theirs):
    """For each of their boxes the distance in px to the most similar of ours, and its number."""
    distance = np.abs(boxes[None] - theirs[:, None]).max(axis=2)
    return distance.min(axis=1), distance.argmin(axis=1)


def test_proposals(outputs, golden):
    proposals, count = outputs["proposals"], len(golden["proposal_logits"])
    scores = proposals.scores[:count].double()
    np.testing.assert_allclose(torch.logit(scores).numpy(), golden["proposal_logits"], rtol=0, atol=1e-4)
    distance, index = nearest(proposals.bboxes.numpy(), golden["proposals_xyxy_px"])
    assert distance.max() <= 0.05
    assert len(set(index)) == count


def test_detections(outputs, golden):
    found, count = outputs["detections"], len(golden["scores"])
    assert len(found) == 100  # TEST.DETECTIONS_PER_IMAGE
    np.testing.assert_allclose(found.scores[:count].numpy(), golden["scores"], rtol=0, atol=1e-4)
    distance, index = nearest(found.bboxes.numpy(), golden["boxes_xyxy_px"])
    assert distance.max() <= 0.05
    np.testing.assert_allclose(found.scores.numpy()[index], golden["scores"], rtol=0, atol=1e-4)
    kept = index < count
    assert kept.sum() >= count - 1
    np.testing.assert_allclose(outputs["masks"][index[kept]], golden["mask_probs"][kept], rtol=0, atol=2e-3)


def test_every_key_and_value_comes_back(empty, tmp_path):
    counters = {
        key.replace("running_mean", "num_batches_tracked"): torch.tensor(160000 + number)
        for number, key in enumerate(empty)
        if key.endswith("running_mean")
    }
    whole = {
        "model": {
            "pixel_mean": torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1),
            "pixel_std": torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1),
            **empty,
            **counters,
        },
        "iteration": 159999,
        "__author__": "someone",
    }
    checkpoints.save(tmp_path / "theirs.pth", {**whole, "optimizer": {"state": {0: torch.zeros(2)}}})
    ours = checkpoints.load_detector(tmp_path / "theirs.pth")
    checkpoints.save(tmp_path / "ours.pth", ours)
    again = checkpoints.load_detector(tmp_path / "ours.pth")
    back = d2_checkpoint.to_detectron2(again, "ours.pth")
    assert {key: value for key, value in back.items() if key != "model"} == {
        "iteration": 159999,
        "__author__": "someone",
    }
    assert list(back["model"]) == list(whole["model"])
    for key, value in whole["model"].items():
        assert torch.equal(back["model"][key], value) and back["model"][key].dtype == value.dtype, key
    assert sum(key.endswith("num_batches_tracked") for key in ours["state_dict"]) == len(counters)


def test_a_checkpoint_of_ours_goes_there_and_back():
    shapes = d2_checkpoint.expected_shapes("paper_cascade")
    state = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    theirs = d2_checkpoint.to_detectron2({"state_dict": state, "meta": {}}, "ours")
    assert theirs["__author__"].startswith("cuts3d")
    names = json.loads((GOLDEN / "detector_d2_keys.json").read_text())
    without_counters = {key: list(value.shape) for key, value in theirs["model"].items() if "batches" not in key}
    assert without_counters == names
    assert d2_checkpoint.from_detectron2(theirs, "theirs")["state_dict"].keys() == state.keys()


@pytest.mark.parametrize("name", ["paper_cascade", "paper_mask_rcnn"])
def test_names_are_one_to_one(name):
    ours = d2_checkpoint.expected_shapes(name)
    theirs = {d2_checkpoint.detectron2_name(key) for key in ours}
    assert len(theirs) == len(ours)
    assert ("roi_heads.box_predictor.cls_score.weight" in theirs) == (name == "paper_mask_rcnn")


def test_mask_rcnn_converts():
    shapes = d2_checkpoint.expected_shapes("paper_mask_rcnn")
    theirs = {d2_checkpoint.detectron2_name(key): torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    converted = d2_checkpoint.from_detectron2({"model": theirs}, "theirs")
    assert converted["meta"]["detector"]["model"]["type"] == "MaskRCNN"
    assert converted["state_dict"].keys() == shapes.keys()


def refused(model, match):
    with pytest.raises(ModelError, match=match) as caught:
        d2_checkpoint.from_detectron2({"model": model}, "theirs.pth")
    assert "\n" not in str(caught.value) and "theirs.pth" in str(caught.value)


def test_nothing_is_skipped_silently(empty):
    less = {key: value for key, value in empty.items() if "fc2" not in key}
    refused(less, r"6 of \d+ tensors missing; found first roi_heads\.box_head\.\d\.fc2")
    refused({**empty, "sem_seg_head.weight": torch.zeros(1)}, r"1 of \d+ tensors unknown; found first sem_seg_head")
    refused({**empty, "pixel_mode": torch.zeros(1)}, "unknown; found first pixel_mode")
    refused({**empty, "roi_heads.mask_head.deconv.bias": [0.0] * 256}, "not a tensor; found first roi_heads.mask_head")


def test_several_classes_are_another_shape(empty):
    empty["roi_heads.box_predictor.0.cls_score.weight"] = torch.zeros(81, 1024)
    refused(empty, r"different shape; expected .*cls_score.weight \(2, 1024\); found first .* \(81, 1024\).*one class")


def test_other_pixels_and_anchors_are_refused(empty):
    refused(
        {**empty, "pixel_mean": torch.tensor([103.53, 116.28, 123.675])}, "different inputs; expected 123.675, .*103.53"
    )
    sizes = [torch.tensor([[-2.0, -1, 2, 1], [-1, -1, 1, 1], [-1, -2, 1, 2]]) * size for size in (8, 16, 32, 64, 128)]
    anchors = {f"proposal_generator.anchor_generator.cell_anchors.{i}": level for i, level in enumerate(sizes)}
    refused({**empty, **anchors}, "different inputs")


def test_their_anchors_are_ours(empty):
    """Cell anchors by detectron2's rule: areas 32^2 to 512^2, ratios height / width 0.5, 1, 2, centred on 0."""
    anchors = {}
    for level, size in enumerate((32, 64, 128, 256, 512)):
        rows = []
        for ratio in (0.5, 1.0, 2.0):
            width = math.sqrt(size**2 / ratio)
            rows.append([-width / 2, -ratio * width / 2, width / 2, ratio * width / 2])
        anchors[f"proposal_generator.anchor_generator.cell_anchors.{level}"] = torch.tensor(rows)
    converted = d2_checkpoint.from_detectron2({"model": {**empty, **anchors}}, "theirs")
    assert converted["detectron2"]["constants"].keys() == anchors.keys()


def test_what_a_training_saved_beside_the_weights_is_named(empty, caplog):
    with caplog.at_level(logging.INFO, logger=d2_checkpoint.logger.name):
        d2_checkpoint.from_detectron2({"model": empty, "optimizer": {}, "scheduler": {}, "iteration": 3}, "theirs")
    assert "omitted: optimizer, scheduler" in caplog.text


def test_the_small_detector_has_no_counterpart(tmp_path):
    state = {
        "neck.lateral_convs.0.conv.weight": torch.zeros(64, 32, 1, 1),
        "roi_head.bbox_head.0.fc_cls.bias": torch.zeros(2),
    }
    with pytest.raises(ModelError, match="does not fit paper_cascade"):
        d2_checkpoint.to_detectron2({"state_dict": state, "meta": {}}, "small.pth")
    with pytest.raises(ModelError, match="no counterpart"):
        d2_checkpoint.detectron2_name("backbone.layer1.0.se.weight")
