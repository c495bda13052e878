"""Parts the detector configs share, as plain dicts for MMDetection's registries."""

from __future__ import annotations

from typing import Any

from cuts3d_cli.config import TrainConfig

MEAN_RGB = [123.675, 116.28, 103.53]
STD_RGB = [58.395, 57.12, 57.375]

TARGET_STDS = ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067])
EXACT_STDS = ([1 / 10, 1 / 10, 1 / 5, 1 / 5], [1 / 20, 1 / 20, 1 / 10, 1 / 10], [1 / 30, 1 / 30, 1 / 15, 1 / 15])
"""Of detectron2's box coding, whose weights 10, 10, 5, 5 (then 20, 30) are their inverse."""

XAVIER = {"type": "Caffe2Xavier", "layer": "Conv2d"}
BOX_LAYERS = [
    {"type": "Caffe2Xavier", "layer": "Linear"},
    {"type": "Normal", "std": 0.01, "override": {"name": "fc_cls"}},
    {"type": "Normal", "std": 0.001, "override": {"name": "fc_reg"}},
]
"""First weights as detectron2's; MMDetection's differ in the hidden layers of the box heads."""

STAGE_IOUS = (0.5, 0.6, 0.7)


def preprocessor(pad_size_divisor: int) -> dict[str, Any]:
    """Normalisation with ImageNet's statistics and padding; images are RGB from the start."""
    return {
        "type": "DetDataPreprocessor",
        "mean": MEAN_RGB,
        "std": STD_RGB,
        "bgr_to_rgb": False,
        "pad_mask": True,
        "pad_size_divisor": pad_size_divisor,
    }


def rpn_head(channels: int, strides: list[int], scale: int, kind: str = "RPNHead") -> dict[str, Any]:
    """Region proposal network with L1 box loss, as detectron2's."""
    return {
        "type": kind,
        "in_channels": channels,
        "feat_channels": channels,
        "anchor_generator": {
            "type": "AnchorGenerator",
            "scales": [scale],
            "ratios": [0.5, 1.0, 2.0],
            "strides": strides,
        },
        "bbox_coder": {"type": "DeltaXYWHBBoxCoder", "target_means": [0.0] * 4, "target_stds": [1.0] * 4},
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
        "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
    }


def roi_extractor(
    channels: int, strides: list[int], size: int, sampling_ratio: int, finest_scale: int = 56
) -> dict[str, Any]:
    """RoIAlign on the pyramid level that fits a box."""
    return {
        "type": "SingleRoIExtractor",
        "roi_layer": {"type": "RoIAlign", "output_size": size, "sampling_ratio": sampling_ratio},
        "out_channels": channels,
        "featmap_strides": strides,
        "finest_scale": finest_scale,
    }


def bbox_heads(
    train: TrainConfig,
    channels: int,
    hidden: int,
    grad_scale: float,
    kind: str = "DropLossBBoxHead",
    stds: tuple[list[float], ...] = TARGET_STDS,
) -> list[dict[str, Any]]:
    """A class-agnostic box head per stage, with DropLoss where it is on.

    Args:
        train: the training settings.
        channels: channels of the pyramid.
        hidden: units of the two hidden layers.
        grad_scale: factor on each stage's gradient into the pyramid (detectron2: 1 / stages).
        kind: registered class of the heads.
        stds: standard deviations of the box targets, one list per stage.
    """
    return [
        {
            "type": kind,
            "in_channels": channels,
            "fc_out_channels": hidden,
            "roi_feat_size": 7,
            "num_classes": 1,
            "reg_class_agnostic": True,
            "bbox_coder": {"type": "DeltaXYWHBBoxCoder", "target_means": [0.0] * 4, "target_stds": list(deviations)},
            "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
            "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
            "droploss_iou": train.droploss_iou if train.droploss else None,
            "droploss_rule": train.droploss_rule,
            "soft_target": train.loss == "cuvler",
            "feature_grad_scale": grad_scale,
        }
        for deviations in stds
    ]


def mask_head(train: TrainConfig, channels: int, convs: int) -> dict[str, Any]:
    """The class-agnostic mask head with the loss the configuration asks for."""
    return {
        "type": "SoftTargetMaskHead",
        "num_convs": convs,
        "in_channels": channels,
        "conv_out_channels": channels,
        "num_classes": 1,
        "class_agnostic": True,
        "confidence": train.loss,
    }


def train_cfg(
    rpn_samples: int,
    roi_samples: int,
    proposals: dict[str, Any],
    mask_size: int = 28,
    rpn_assigner: str = "MaxIoUAssigner",
) -> dict[str, Any]:
    """Assignment and sampling; later stages relabel the first stage's boxes, as detectron2's cascade."""
    stages = []
    for stage, iou in enumerate(STAGE_IOUS):
        first = {
            "type": "GroundTruthRandomSampler",
            "num": roi_samples,
            "pos_fraction": 0.25,
            "add_gt_as_proposals": True,
        }
        stages.append(
            {
                "assigner": assigner(iou, iou, iou, low_quality=False),
                "sampler": first if stage == 0 else {"type": "GroundTruthPseudoSampler"},
                "mask_size": mask_size,
                "pos_weight": -1,
                "debug": False,
            }
        )
    sampler = {"type": "RandomSampler", "num": rpn_samples, "pos_fraction": 0.5, "add_gt_as_proposals": False}
    rpn = {
        "assigner": anchor_assigner(rpn_assigner),
        "sampler": sampler,
        "allowed_border": -1,
        "pos_weight": -1,
        "debug": False,
    }
    return {"rpn": rpn, "rpn_proposal": proposals, "rcnn": stages}


def anchor_assigner(kind: str) -> dict[str, Any]:
    """Which anchors of the RPN stand for an object."""
    if kind == "MaxIoUAssigner":
        return assigner(0.7, 0.3, 0.3, low_quality=True)
    return {"type": kind, "pos_iou_thr": 0.7, "neg_iou_thr": 0.3}


def assigner(positive: float, negative: float, least: float, *, low_quality: bool) -> dict[str, Any]:
    """Which ground truth a box stands for, by IoU."""
    return {
        "type": "MaxIoUAssigner",
        "pos_iou_thr": positive,
        "neg_iou_thr": negative,
        "min_pos_iou": least,
        "match_low_quality": low_quality,
        "ignore_iof_thr": -1,
    }


def proposals(before_nms: int, after_nms: int, nms_iou: float) -> dict[str, Any]:
    """How many proposals go on."""
    return {
        "nms_pre": before_nms,
        "max_per_img": after_nms,
        "nms": {"type": "nms", "iou_threshold": nms_iou},
        "min_bbox_size": 0,
    }


def test_cfg(rpn_proposals: dict[str, Any]) -> dict[str, Any]:
    """Prediction; the score threshold and number of detections are set by the predict section."""
    rcnn = {"score_thr": 0.0, "nms": {"type": "nms", "iou_threshold": 0.5}, "max_per_img": 100, "mask_thr_binary": 0.5}
    return {"rpn": rpn_proposals, "rcnn": rcnn}


def sgd(train: TrainConfig) -> dict[str, Any]:
    """SGD, gradients clipped to norm 1 tensor by tensor (CutLER)."""
    return {
        "type": "TensorClipOptimWrapper",
        "optimizer": {
            "type": "SGD",
            "lr": train.used_lr,
            "momentum": train.momentum,
            "weight_decay": train.weight_decay,
        },
        "clip_grad": {"max_norm": 1.0},
    }


def without_cascade(detector: dict[str, Any]) -> dict[str, Any]:
    """The same detector with one box stage, at IoU 0.5: Mask R-CNN."""
    model = detector["model"]
    roi_head = {key: value for key, value in model["roi_head"].items() if not key.startswith(("num_", "stage_"))}
    roi_head |= {"type": "StandardRoIHead", "bbox_head": {**roi_head["bbox_head"][0], "feature_grad_scale": 1.0}}
    training = {**model["train_cfg"], "rcnn": model["train_cfg"]["rcnn"][0]}
    return {**detector, "model": {**model, "type": "MaskRCNN", "roi_head": roi_head, "train_cfg": training}}
