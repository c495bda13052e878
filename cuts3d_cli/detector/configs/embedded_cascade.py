"""A small Cascade Mask R-CNN that learns from nothing on two CPU cores in minutes.

The structure is the paper's (FPN, RPN, three cascade stages, one mask head, class-agnostic); only
the sizes are small: a ResNet-18 of half the width, 64 pyramid channels, few proposals.
"""

from __future__ import annotations

from typing import Any

from cuts3d_cli.config import TrainConfig
from cuts3d_cli.detector.configs import parts

STRIDES = [4, 8, 16, 32]


def build(
    train: TrainConfig, *, width: int = 32, channels: int = 64, hidden: int = 256, mask_convs: int = 2
) -> dict[str, Any]:
    """Detector, resizing and optimiser for images of ``train.image_size``.

    Args:
        train: the training settings.
        width: channels of the backbone's first stage (a ResNet-18 has 64).
        channels: channels of the pyramid and the mask head.
        hidden: units of the box heads.
        mask_convs: convolutions of the mask head.
    """
    size = [train.image_size, train.image_size]
    return {
        "model": {
            "type": "CascadeRCNN",
            "data_preprocessor": parts.preprocessor(32),
            "backbone": {
                "type": "ResNet",
                "depth": 18,
                "stem_channels": width,
                "base_channels": width,
                "norm_cfg": {"type": "BN"},
                "norm_eval": False,
                "zero_init_residual": False,  # learns faster in so few steps
                "frozen_stages": -1,
                "style": "pytorch",
            },
            "neck": {
                "type": "FPN",
                "in_channels": [width * factor for factor in (1, 2, 4, 8)],
                "out_channels": channels,
                "num_outs": 4,
                "norm_cfg": {"type": "BN"},
            },
            "rpn_head": parts.rpn_head(channels, STRIDES, scale=8),
            "roi_head": {
                "type": "OneMaskCascadeRoIHead",
                "num_stages": len(parts.STAGE_IOUS),
                "stage_loss_weights": [1.0] * len(parts.STAGE_IOUS),
                "bbox_roi_extractor": parts.roi_extractor(channels, STRIDES, 7, sampling_ratio=1, finest_scale=28),
                "bbox_head": parts.bbox_heads(train, channels, hidden, grad_scale=1.0),
                "mask_roi_extractor": parts.roi_extractor(channels, STRIDES, 14, sampling_ratio=1, finest_scale=28),
                "mask_head": parts.mask_head(train, channels, mask_convs),
            },
            "train_cfg": parts.train_cfg(rpn_samples=128, roi_samples=32, proposals=parts.proposals(150, 100, 0.7)),
            "test_cfg": parts.test_cfg(parts.proposals(200, 100, 0.7)),
        },
        "load": [{"type": "ConfidenceResize", "scale": size, "keep_ratio": True}],
        "test": [{"type": "ConfidenceResize", "scale": size, "keep_ratio": True}],
        "optim_wrapper": parts.sgd(train),
    }
