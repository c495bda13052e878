"""The losses CutS3D and CutLER add, as pure functions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def spatial_confidence_bce(logits: Tensor, target: Tensor, confidence: Tensor) -> Tensor:
    """Spatial Confidence soft target loss: binary cross-entropy weighted pixel by pixel (Sec. 3.5, Eq. 6).

    Args:
        logits: (n, h, w) mask logits.
        target: (n, h, w) pseudo-masks, 0 or 1.
        confidence: (n, h, w) Spatial Confidence in (0, 1]; counts inside the mask, outside it is 1.

    Returns:
        Scalar, the mean over all pixels; 0 (with a gradient) where there is no mask.
    """
    weight = torch.where(target > 0.5, confidence, torch.ones_like(confidence))
    return _weighted_mean_bce(logits, target, weight)


def scalar_confidence_bce(logits: Tensor, target: Tensor, score: Tensor) -> Tensor:
    """Mask loss weighted by one number per instance, its mean confidence (the scalar of CuVLER).

    Args:
        logits: (n, h, w) mask logits.
        target: (n, h, w) pseudo-masks, 0 or 1.
        score: (n,) weight of each instance.

    Returns:
        Scalar, the mean over all pixels.
    """
    return _weighted_mean_bce(logits, target, score[:, None, None].expand_as(logits))


def droploss_weights(boxes: Tensor, gt_boxes: Tensor, iou_threshold: float) -> Tensor:
    """Which proposals count in the classification loss (DropLoss of CutLER).

    A proposal that no pseudo-mask overlaps may be an object the pseudo-masks missed, so it is not
    taught as background.

    Args:
        boxes: (n, 4) regressed boxes of one image, x1, y1, x2, y2 in px.
        gt_boxes: (m, 4) boxes of all its pseudo-masks.
        iou_threshold: a box whose largest IoU is at most this is dropped.

    Returns:
        (n,) 0 where dropped, else 1; all 1 for an image without pseudo-masks, as in CutLER.
    """
    if len(gt_boxes) == 0 or len(boxes) == 0:
        return boxes.new_ones(len(boxes))
    return (box_iou(boxes, gt_boxes).amax(dim=1) > iou_threshold).to(boxes.dtype)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of each box of ``a`` (n, 4) with each of ``b`` (m, 4), x1, y1, x2, y2 in px: (n, m).

    A box turned inside out has no area; two empty boxes have IoU 0.
    """
    size_a = (a[:, 2:] - a[:, :2]).clamp(min=0)
    size_b = (b[:, 2:] - b[:, :2]).clamp(min=0)
    overlap = torch.minimum(a[:, None, 2:], b[None, :, 2:]) - torch.maximum(a[:, None, :2], b[None, :, :2])
    inside = overlap.clamp(min=0).prod(dim=-1)
    union = size_a.prod(dim=1)[:, None] + size_b.prod(dim=1)[None, :] - inside
    return inside / union.clamp(min=1e-6)


def _weighted_mean_bce(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    if logits.numel() == 0:
        return logits.sum()
    return (weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).mean()
