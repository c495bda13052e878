"""The losses CutS3D and CutLER add, as pure functions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def spatial_confidence_bce(logits: Tensor, target: Tensor, confidence: Tensor) -> Tensor:
    """Spatial Confidence soft target loss: binary cross-entropy weighted pixel by pixel (Sec. 3.4, Eq. 6).

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


def soft_target_ce(logits: Tensor, foreground: Tensor, score: Tensor, weight: Tensor) -> Tensor:
    """Classification loss against soft targets (CuVLER): (s, 1 - s) for a foreground region, (0, 1) for background.

    Args:
        logits: (n, 2) of object and background.
        foreground: (n,) bool, whether a region stands for a mask.
        score: (n,) score s of that mask; not read for background.
        weight: (n,) DropLoss weights, 0 or 1.

    Returns:
        Scalar, the mean over all regions, the dropped ones included; 0 (with a gradient) where there is none.
    """
    if len(logits) == 0:
        return logits.sum()
    target = torch.where(foreground, score, torch.zeros_like(score)).to(logits)
    log_p = F.log_softmax(logits, dim=1)
    return -(weight * (target * log_p[:, 0] + (1 - target) * log_p[:, 1])).mean()


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


def cutler_gt_boxes(matched: Tensor, first: int = 100) -> Tensor:
    """Boxes that the released code of CutLER takes for the ground truth in DropLoss.

    It has no list of an image's boxes at that point, only the box each region is matched with, and
    takes the first K of these, K being the number of distinct boxes among the first 100. With
    one object that is the ground truth; with several it may hold some twice and others not at all,
    whose regions are then dropped.

    Args:
        matched: (n, 4) box each region of an image is matched with, foreground regions first.
        first: rows in which distinct boxes are counted.

    Returns:
        (K, 4) rows of ``matched``.
    """
    return matched[: len(torch.unique(matched[:first], dim=0))]


def matched_boxes(boxes: Tensor, n_positive: int, gt_boxes: Tensor) -> Tensor:
    """The ground-truth box that each region of an image overlaps most, in the order of detectron2's sampler.

    That order is random within the foreground and within the background, which decides what
    :func:`cutler_gt_boxes` finds.

    Args:
        boxes: (n, 4) regions, the foreground first.
        n_positive: how many are foreground.
        gt_boxes: (m, 4), m at least 1.

    Returns:
        (n, 4) rows of ``gt_boxes``.
    """
    matched = gt_boxes[box_iou(boxes, gt_boxes).argmax(dim=1)]
    background = n_positive + torch.randperm(len(boxes) - n_positive)
    return matched[torch.cat([torch.randperm(n_positive), background]).to(matched.device)]


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
