"""Cascade Mask R-CNN with a ResNet-50 FPN from DINO weights, as CutLER and CutS3D train it (Tables 16, 17).

Multi-scale training on the short side and batch norm that learns, as in CutLER's configuration.
"""

from __future__ import annotations

from typing import Any

from cuts3d_cli.config import TrainConfig
from cuts3d_cli.detector.configs import parts

CHANNELS = 256
ROI_STRIDES = [4, 8, 16, 32]
SHORT_SIDES = (240, 320, 480, 640, 672, 704, 736, 768, 800, 1024)
LONG_SIDE = 1333
TEST_SHORT_SIDE = 800


def build(train: TrainConfig) -> dict[str, Any]:
    """Detector, resizing and optimiser; image sizes are CutLER's, ``train.image_size`` is not used."""
    norm = {"type": "BN"}
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
            },
            "rpn_head": parts.rpn_head(CHANNELS, [*ROI_STRIDES, 64], scale=8),
            "roi_head": {
                "type": "OneMaskCascadeRoIHead",
                "num_stages": len(parts.STAGE_IOUS),
                "stage_loss_weights": [1.0] * len(parts.STAGE_IOUS),
                "bbox_roi_extractor": parts.roi_extractor(CHANNELS, ROI_STRIDES, 7, sampling_ratio=0),
                "bbox_head": parts.bbox_heads(train, CHANNELS, 1024, grad_scale=1 / len(parts.STAGE_IOUS)),
                "mask_roi_extractor": parts.roi_extractor(CHANNELS, ROI_STRIDES, 14, sampling_ratio=0),
                "mask_head": parts.mask_head(train, CHANNELS, convs=4),
            },
            "train_cfg": parts.train_cfg(rpn_samples=256, roi_samples=512, proposals=parts.proposals(2000, 4000, 0.65)),
            "test_cfg": parts.test_cfg(parts.proposals(1000, 1000, 0.65)),
        },
        "load": [
            {
                "type": "RandomChoiceResize",
                "resize_type": "ConfidenceResize",
                "scales": [[LONG_SIDE, short] for short in SHORT_SIDES],
                "keep_ratio": True,
            }
        ],
        "test": [{"type": "ConfidenceResize", "scale": [LONG_SIDE, TEST_SHORT_SIDE], "keep_ratio": True}],
        "optim_wrapper": parts.sgd(train),
        "needs_init": (
            "ResNet-50 weights with torchvision key names, such as dino_resnet50_pretrain.pth "
            "(DINO, Apache-2.0, torch hub facebookresearch/dino dino_resnet50), or a cuts3d checkpoint of this detector"
        ),
    }
