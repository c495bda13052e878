"""Cascade Mask R-CNN with a ResNet-50 FPN from DINO weights, as CutLER and CutS3D train it (Tables 16, 17).

The architecture is that of the released detector, whose checkpoints it takes (``cuts3d convert``);
``docs/detector.md`` compares them item by item.
"""

from __future__ import annotations

from typing import Any

from cuts3d_cli.config import TrainConfig
from cuts3d_cli.detector.configs import parts

CHANNELS = 256
ROI_STRIDES = [4, 8, 16, 32]
SHORT_SIDES = (240, 320, 480, 640, 672, 704, 736, 768, 800, 1024)
LABEL_SHORT_SIDES = (640, 672, 704, 736, 768, 800)
"""Of CutLER's fine-tuning on labels."""
LONG_SIDE = 1333
TEST_SHORT_SIDE = 800
TEST_PROPOSALS = parts.proposals(1000, 1000, 0.65)
"""Of CutLER's first training, which is also what it evaluates with after self-training."""


def resize(short_sides: tuple[int, ...]) -> dict[str, Any]:
    """Resizing of a training image to one of several sizes."""
    return {
        "type": "RandomChoiceResize",
        "resize_type": "ConfidenceResize",
        "scales": [[LONG_SIDE, short] for short in short_sides],
        "keep_ratio": True,
        "backend": "pillow",
    }


def build(train: TrainConfig) -> dict[str, Any]:
    """Detector, resizing and optimiser; image sizes are CutLER's, ``train.image_size`` is not used."""
    n_stages = len(parts.STAGE_IOUS)
    heads = parts.bbox_heads(train, CHANNELS, 1024, 1 / n_stages, "Detectron2BBoxHead", parts.EXACT_STDS)
    norm = {"type": "SyncBN"}  # over all processes; plain batch norm where there is one
    return {
        "model": {
            "type": "CascadeRCNN",
            "data_preprocessor": parts.preprocessor(32),
            "backbone": {
                "type": "ResNet",
                "depth": 50,
                "norm_cfg": norm,
                "norm_eval": False,
                "frozen_stages": -1,
                "style": "pytorch",
            },
            "neck": {
                "type": "FPN",
                "in_channels": [256, 512, 1024, 2048],
                "out_channels": CHANNELS,
                "num_outs": 5,
                "norm_cfg": norm,
                "init_cfg": parts.XAVIER,
            },
            "rpn_head": parts.rpn_head(CHANNELS, [*ROI_STRIDES, 64], scale=8, kind="Detectron2RPNHead"),
            "roi_head": {
                "type": "Detectron2CascadeRoIHead",
                "num_stages": n_stages,
                "stage_loss_weights": [1.0] * n_stages,
                "bbox_roi_extractor": parts.roi_extractor(CHANNELS, ROI_STRIDES, 7, sampling_ratio=0),
                "bbox_head": [{**head, "init_cfg": parts.BOX_LAYERS} for head in heads],
                "mask_roi_extractor": parts.roi_extractor(CHANNELS, ROI_STRIDES, 14, sampling_ratio=0),
                "mask_head": {**parts.mask_head(train, CHANNELS, convs=4), "predictor_std": 0.001},
            },
            "train_cfg": parts.train_cfg(
                rpn_samples=256,
                roi_samples=512,
                proposals=parts.proposals(2000, train.rpn_proposals, train.rpn_nms),
                rpn_assigner="Detectron2AnchorAssigner",
            ),
            "test_cfg": parts.test_cfg(TEST_PROPOSALS),
        },
        "load": [resize(SHORT_SIDES)],
        "load_labels": [resize(LABEL_SHORT_SIDES)],
        "test": [
            {
                "type": "ConfidenceResize",
                "scale": [LONG_SIDE, TEST_SHORT_SIDE],
                "keep_ratio": True,
                "backend": "pillow",  # averages where it shrinks, as detectron2's reading does
            }
        ],
        "optim_wrapper": {**parts.sgd(train), "paramwise_cfg": {"norm_decay_mult": 0.0}},
        "needs_init": (
            "dino-resnet50 (fetched), a file or URL of ResNet-50 weights with torchvision key names, "
            "or a checkpoint of this detector, ours or CutLER's"
        ),
    }
