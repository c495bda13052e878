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
from mmdet.structures.bbox import bbox2roi, get_box_tensor
from torch import Tensor
from torchvision.ops import roi_align

from cuts3d_cli.detector.losses import (
    cutler_gt_boxes,
    droploss_weights,
    matched_boxes,
    scalar_confidence_bce,
    soft_target_ce,
    spatial_confidence_bce,
)


class _KeepGroundTruth:
    """Adds all boxes of an image to the sampling result, and the scores of those its positives stand for.

    MMDetection's own holds only the boxes that got a positive proposal, while DropLoss compares with all.
    """

    def sample(self, assign_result, pred_instances, gt_instances, *args, **kwargs):
        """As the parent's, with ``all_gt_bboxes`` (m, 4) and, where masks have scores, ``pos_gt_scores`` (p,) added."""
        result = super().sample(assign_result, pred_instances, gt_instances, *args, **kwargs)
        result.all_gt_bboxes = get_box_tensor(gt_instances.bboxes)
        if "scores" in gt_instances:
            result.pos_gt_scores = gt_instances.scores[result.pos_assigned_gt_inds]
        return result


@TASK_UTILS.register_module()
class GroundTruthRandomSampler(_KeepGroundTruth, RandomSampler):
    """Random proposals with a fixed fraction of positives; keeps all ground truth for DropLoss."""


@TASK_UTILS.register_module()
class GroundTruthPseudoSampler(_KeepGroundTruth, PseudoSampler):
    """All proposals, relabelled but not resampled, as later stages of detectron2's cascade do."""


@MODELS.register_module()
class DropLossBBoxHead(Shared2FCBBoxHead):
    """Box head with DropLoss (CutLER), CuVLER's soft target and detectron2's gradient scale.

    The weight of a proposal is 0 when the box this stage regresses for it overlaps no pseudo-mask by
    more than ``droploss_iou``. It multiplies the classification loss only; dropped proposals stay
    in the mean's denominator, and box regression never sees it.

    Args:
        droploss_iou: largest IoU at which a proposal is dropped; None turns DropLoss off.
        droploss_rule: ``paper`` compares with all pseudo-masks of the image, ``cutler`` with those that
            CutLER's code takes for them (:func:`losses.cutler_gt_boxes`), and drops nothing in a
            batch that has an image without masks.
        soft_target: classify against the score of the matched mask and weight box regression by it (CuVLER).
        feature_grad_scale: factor on the gradient into the features (detectron2: 1 / stages).
    """

    def __init__(
        self,
        *args,
        droploss_iou: float | None = None,
        droploss_rule: str = "paper",
        soft_target: bool = False,
        feature_grad_scale: float = 1.0,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        if droploss_rule not in ("paper", "cutler"):
            raise ValueError(f"droploss_rule: expected paper or cutler, found {droploss_rule!r}")
        self.droploss_iou, self.droploss_rule, self.soft_target = droploss_iou, droploss_rule, soft_target
        self.feature_grad_scale = feature_grad_scale

    def forward(self, x: Tensor) -> tuple:
        """Class scores (n, 2) and box deltas (n, 4) of RoI features (n, C, h, w)."""
        if self.training and self.feature_grad_scale != 1:
            x = x * self.feature_grad_scale + x.detach() * (1 - self.feature_grad_scale)
        return super().forward(x)

    def get_targets(self, sampling_results, rcnn_train_cfg, concat: bool = True) -> tuple:
        """As the parent's; with the soft target, box regression of a region weighs as much as its mask's score."""
        labels, label_weights, box_targets, box_weights = super().get_targets(sampling_results, rcnn_train_cfg, concat)
        if self.soft_target and concat:
            box_weights = box_weights * matched_scores(sampling_results).to(box_weights)[:, None]
        return labels, label_weights, box_targets, box_weights

    def loss_and_target(self, cls_score, bbox_pred, rois, sampling_results, rcnn_train_cfg, **kwargs) -> dict:
        """As the parent's; the classification loss is replaced by the weighted or soft one."""
        result = super().loss_and_target(cls_score, bbox_pred, rois, sampling_results, rcnn_train_cfg, **kwargs)
        if cls_score.numel() == 0 or (self.droploss_iou is None and not self.soft_target):
            return result
        labels, label_weights = result["bbox_targets"][:2]
        if self.droploss_iou is not None:
            label_weights = label_weights * self._droploss_weights(bbox_pred, rois, sampling_results)
        if self.soft_target:
            scores = matched_scores(sampling_results).to(cls_score)
            loss = soft_target_ce(cls_score, labels < self.num_classes, scores, label_weights)
        else:
            n_regions = max((result["bbox_targets"][1] > 0).sum().item(), 1)
            loss = self.loss_cls(cls_score, labels, label_weights, avg_factor=n_regions)
        result["loss_bbox"]["loss_cls"] = loss
        return result

    @torch.no_grad()
    def _droploss_weights(self, bbox_pred: Tensor, rois: Tensor, sampling_results: list) -> Tensor:
        """(n,) weights of all proposals of the batch, in the order of ``rois``."""
        boxes = get_box_tensor(self.bbox_coder.decode(rois[:, 1:], bbox_pred))
        image = rois[:, 0]
        weights = boxes.new_ones(len(boxes))
        cutler = self.droploss_rule == "cutler"
        if cutler and any(len(sampled.all_gt_bboxes) == 0 for sampled in sampling_results):
            return weights
        for number, sampled in enumerate(sampling_results):
            mine, truth = image == number, sampled.all_gt_bboxes.to(boxes)
            if cutler:
                matched = matched_boxes(rois[mine, 1:].to(truth), len(sampled.pos_inds), truth)
                truth = cutler_gt_boxes(matched)
            weights[mine] = droploss_weights(boxes[mine], truth, self.droploss_iou)
        return weights


def matched_scores(sampling_results: list) -> Tensor:
    """(n,) score of the mask that each region of the batch stands for, 1 for background."""
    parts = []
    for sampled in sampling_results:
        positive = sampled.pos_gt_scores
        parts += [positive, positive.new_ones(len(sampled.neg_inds))]
    return torch.cat(parts)


@MODELS.register_module()
class SoftTargetMaskHead(FCNMaskHead):
    """Mask head with the Spatial Confidence soft target loss (Sec. 3.4, Eq. 6).

    Args:
        confidence: ``spatial`` weights pixels by their Spatial Confidence, ``scalar`` weights an
            instance by its score (so does ``cuvler``, with the box heads' soft target), ``none`` is the
            usual mean cross-entropy.
        loss_weight: factor of the mask loss.
        predictor_std: standard deviation the last layer starts with (detectron2: 0.001); None is MMDetection's
            rule, which for one class means 1.4 and so large first losses.
    """

    def __init__(
        self,
        *args,
        confidence: str = "spatial",
        loss_weight: float = 1.0,
        predictor_std: float | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.predictor_std = predictor_std
        if confidence not in ("spatial", "scalar", "cuvler", "none"):
            raise ValueError(f"confidence: expected spatial, scalar, cuvler or none, found {confidence!r}")
        self.confidence, self.loss_weight = confidence, loss_weight

    def init_weights(self) -> None:
        """As the parent's, and the last layer as ``predictor_std`` says."""
        super().init_weights()
        if self.predictor_std is not None:
            torch.nn.init.normal_(self.conv_logits.weight, std=self.predictor_std)

    def loss_and_target(self, mask_preds, sampling_results, batch_gt_instances, rcnn_train_cfg) -> dict:
        """Loss of mask logits (n, 1, h, w); the confidence is cropped like the mask targets."""
        targets = self.get_targets(sampling_results, batch_gt_instances, rcnn_train_cfg)
        logits = mask_preds[:, 0]
        if self.confidence == "spatial":
            confidence = crop_confidences(sampling_results, batch_gt_instances, tuple(logits.shape[-2:]))
            loss = spatial_confidence_bce(logits, targets, confidence.to(logits))
        else:
            scores = torch.ones_like(logits[:, 0, 0])
            if self.confidence in ("scalar", "cuvler"):
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
        rois = bbox2roi([found.bboxes for found in results_list])
        if len(rois) == 0:
            return super().predict_mask(x, batch_img_metas, results_list, rescale)
        logits = self._mask_forward(0, x, rois)["mask_preds"].split([len(found) for found in results_list])
        return self.mask_head[0].predict_by_feat(logits, results_list, batch_img_metas, self.test_cfg, rescale=rescale)
