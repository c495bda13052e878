"""Heads of the cascade: one mask head with the soft target loss, box heads with DropLoss.

Each class overrides the narrowest method of MMDetection 3.3 that it can.
"""

from __future__ import annotations

import torch
from mmdet.models.roi_heads import CascadeRoIHead
from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.task_modules.samplers import PseudoSampler, RandomSampler
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor
from torchvision.ops import roi_align

from cuts3d_cli.detector.losses import droploss_weights, scalar_confidence_bce, spatial_confidence_bce


class _KeepGroundTruth:
    """Adds all boxes of an image to the sampling result.

    MMDetection's own holds only those that got a positive proposal, while DropLoss compares with all.
    """

    def sample(self, assign_result, pred_instances, gt_instances, *args, **kwargs):
        """As the parent's, with ``all_gt_bboxes`` (m, 4) added to the result."""
        result = super().sample(assign_result, pred_instances, gt_instances, *args, **kwargs)
        result.all_gt_bboxes = get_box_tensor(gt_instances.bboxes)
        return result


@TASK_UTILS.register_module()
class GroundTruthRandomSampler(_KeepGroundTruth, RandomSampler):
    """Random proposals at a set share of positives; keeps all ground truth for DropLoss."""


@TASK_UTILS.register_module()
class GroundTruthPseudoSampler(_KeepGroundTruth, PseudoSampler):
    """All proposals, relabelled but not resampled, as later stages of detectron2's cascade do."""


@MODELS.register_module()
class DropLossBBoxHead(Shared2FCBBoxHead):
    """Box head with DropLoss (CutLER) and detectron2's gradient scale.

    The weight of a proposal is 0 when the box this stage regresses for it overlaps no pseudo-mask by
    more than ``droploss_iou``. It multiplies the classification loss only; dropped proposals stay
    in the mean's denominator, and box regression never sees it.

    Args:
        droploss_iou: largest IoU at which a proposal is dropped; None turns DropLoss off.
        feature_grad_scale: factor on the gradient into the features (detectron2: 1 / stages).
    """

    def __init__(self, *args, droploss_iou: float | None = None, feature_grad_scale: float = 1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.droploss_iou = droploss_iou
        self.feature_grad_scale = feature_grad_scale

    def forward(self, x: Tensor) -> tuple:
        """Class scores (n, 2) and box deltas (n, 4) of RoI features (n, C, h, w)."""
        if self.training and self.feature_grad_scale != 1:
            x = x * self.feature_grad_scale + x.detach() * (1 - self.feature_grad_scale)
        return super().forward(x)

    def loss_and_target(self, cls_score, bbox_pred, rois, sampling_results, rcnn_train_cfg, **kwargs) -> dict:
        """As the parent's; the classification loss is replaced by the weighted one."""
        result = super().loss_and_target(cls_score, bbox_pred, rois, sampling_results, rcnn_train_cfg, **kwargs)
        if self.droploss_iou is None or cls_score.numel() == 0:
            return result
        labels, label_weights = result["bbox_targets"][:2]
        weights = self._droploss_weights(bbox_pred, rois, sampling_results)
        result["loss_bbox"]["loss_cls"] = self.loss_cls(
            cls_score, labels, label_weights * weights, avg_factor=max((label_weights > 0).sum().item(), 1)
        )
        return result

    @torch.no_grad()
    def _droploss_weights(self, bbox_pred: Tensor, rois: Tensor, sampling_results: list) -> Tensor:
        """(n,) weights of all proposals of the batch, in the order of ``rois``."""
        boxes = get_box_tensor(self.bbox_coder.decode(rois[:, 1:], bbox_pred))
        image = rois[:, 0]
        weights = boxes.new_ones(len(boxes))
        for number, sampled in enumerate(sampling_results):
            mine = image == number
            weights[mine] = droploss_weights(boxes[mine], sampled.all_gt_bboxes.to(boxes), self.droploss_iou)
        return weights


@MODELS.register_module()
class SoftTargetMaskHead(FCNMaskHead):
    """Mask head with the Spatial Confidence soft target loss (Sec. 3.5, Eq. 6).

    Args:
        confidence: ``spatial`` weights pixels by their Spatial Confidence, ``scalar`` weights an
            instance by its score, ``none`` is the usual mean cross-entropy.
        loss_weight: factor of the mask loss.
    """

    def __init__(self, *args, confidence: str = "spatial", loss_weight: float = 1.0, **kwargs):
        super().__init__(*args, **kwargs)
        if confidence not in ("spatial", "scalar", "none"):
            raise ValueError(f"confidence: expected spatial, scalar or none, found {confidence!r}")
        self.confidence, self.loss_weight = confidence, loss_weight

    def loss_and_target(self, mask_preds, sampling_results, batch_gt_instances, rcnn_train_cfg) -> dict:
        """Loss of mask logits (n, 1, h, w); the confidence is cropped like the mask targets."""
        targets = self.get_targets(sampling_results, batch_gt_instances, rcnn_train_cfg)
        logits = mask_preds[:, 0]
        if self.confidence == "spatial":
            confidence = crop_confidences(sampling_results, batch_gt_instances, tuple(logits.shape[-2:]))
            loss = spatial_confidence_bce(logits, targets, confidence.to(logits))
        else:
            scores = torch.ones_like(logits[:, 0, 0])
            if self.confidence == "scalar":
                pairs = zip(sampling_results, batch_gt_instances, strict=True)
                scores = torch.cat([gt.scores[sampled.pos_assigned_gt_inds] for sampled, gt in pairs]).to(logits)
            loss = scalar_confidence_bce(logits, targets, scores)
        return {"loss_mask": {"loss_mask": loss * self.loss_weight}, "mask_targets": targets}


def crop_confidences(sampling_results: list, batch_gt_instances: list, size_hw: tuple[int, int]) -> Tensor:
    """Spatial Confidence of the positive proposals, cropped and resized as their mask targets are.

    Returns:
        (n, h, w), n positive proposals of the batch in order.
    """
    crops = []
    for sampled, gt in zip(sampling_results, batch_gt_instances, strict=True):
        boxes, index = get_box_tensor(sampled.pos_priors), sampled.pos_assigned_gt_inds
        if len(boxes) == 0:
            crops.append(boxes.new_zeros((0, *size_hw)))
            continue
        maps = gt.confidences.to(boxes)
        limit = boxes.new_tensor([maps.shape[2], maps.shape[1]] * 2)
        rois = torch.cat([index[:, None].to(boxes), torch.minimum(boxes.clamp(min=0), limit)], dim=1)
        crops.append(roi_align(maps[:, None], rois, size_hw, aligned=True)[:, 0])
    return torch.cat(crops)


@MODELS.register_module()
class OneMaskCascadeRoIHead(CascadeRoIHead):
    """Cascade with a single mask head, trained on the proposals of the first stage (as detectron2's).

    MMDetection's has a mask head per stage and averages them.
    """

    def init_mask_head(self, mask_roi_extractor, mask_head) -> None:
        """Build the one mask head and its RoI extractor."""
        self.mask_head = torch.nn.ModuleList([MODELS.build(mask_head)])
        self.mask_roi_extractor = torch.nn.ModuleList([MODELS.build(mask_roi_extractor)])
        self.share_roi_extractor = False

    def mask_loss(self, stage, x, sampling_results, batch_gt_instances) -> dict:
        """Mask loss in the first stage, none after it."""
        if stage > 0:
            return {"loss_mask": {}}
        return super().mask_loss(stage, x, sampling_results, batch_gt_instances)

    def predict_mask(self, x, batch_img_metas, results_list, rescale: bool = False) -> list:
        """Masks of the final boxes, from the one head."""
        stages, self.num_stages = self.num_stages, 1
        try:
            return super().predict_mask(x, batch_img_metas, results_list, rescale)
        finally:
            self.num_stages = stages
