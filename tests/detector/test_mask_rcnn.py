"""The detector without the cascade trains and predicts."""

import json

import pytest
import torch

from cuts3d_cli.config import PredictConfig, TrainConfig
from cuts3d_cli.detector.configs import build_detector
from cuts3d_cli.store.curve import read_curve
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.training import predict, train

CONFIG = """
from cuts3d_cli.detector.configs import embedded_cascade, parts


def build(train):
    return parts.without_cascade(embedded_cascade.build(train, width=8, channels=16, hidden=16, mask_convs=1))
"""


@pytest.mark.parametrize("name", ["embedded", "paper"])
def test_what_stays_and_what_goes(name):
    cascade, single = (build_detector(TrainConfig(detector=f"{name}_{kind}")) for kind in ("cascade", "mask_rcnn"))
    assert single["model"]["backbone"] == cascade["model"]["backbone"]
    assert single["model"]["rpn_head"] == cascade["model"]["rpn_head"]
    assert single["model"]["test_cfg"] == cascade["model"]["test_cfg"]
    head = single["model"]["roi_head"]["bbox_head"]
    assert head["feature_grad_scale"] == 1 and head["bbox_coder"]["target_stds"] == [0.1, 0.1, 0.2, 0.2]
    assert single["model"]["train_cfg"]["rcnn"]["assigner"]["pos_iou_thr"] == 0.5


def test_train_and_predict(labelled, micro, tmp_path):
    (tmp_path / "single.py").write_text(CONFIG)
    config = micro.model_copy(update={"detector": str(tmp_path / "single.py"), "iterations": 2, "lr_steps": []})
    train.run(labelled, tmp_path / "out", config=config, device="cpu", threads=1)
    losses = read_curve(tmp_path / "out/metrics.jsonl")[-1]
    assert {"loss_cls", "loss_bbox", "loss_mask", "loss_rpn_cls", "loss_rpn_bbox"} <= losses.keys()
    weights = torch.load(tmp_path / "out/checkpoint.pth", weights_only=True)["state_dict"]
    assert "roi_head.bbox_head.fc_cls.weight" in weights and "roi_head.mask_head.conv_logits.weight" in weights
    images = json.loads(labelled.read_text())["images"]
    counts = predict.run(
        tmp_path / "out/checkpoint.pth", tmp_path / "p.json", config=PredictConfig(), device="cpu", threads=1,
        records=[ImageRecord(e["id"], e["file_name"], e["height"], e["width"], "") for e in images],
        image_root=labelled.parent / "images",
    )  # fmt: skip
    assert counts.done == len(images)
