"""Rules of the released detector (CutLER's, on detectron2) where MMDetection's own differ.

With these classes a converted checkpoint gives the same proposals and detections, and a training has
the same targets and loss normalisation. ``docs/detector.md`` lists them item by item. Boxes are
computed in full precision wherever the network is not.
"""

from __future__ import annotations

import torch
from mmcv.ops import batched_nms
from mmdet.models.dense_heads import RPNHead
from mmdet.models.task_modules.assigners import AssignResult, MaxIoUAssigner
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from cuts3d_cli.detector.heads import DropLossBBoxHead, OneMaskCascadeRoIHead


@TASK_UTILS.register_module()
class Detectron2AnchorAssigner(MaxIoUAssigner):
    """Anchors of the RPN: the best anchors of an object are positive however small their IoU, ties included.

    Such an anchor regresses towards the object it overlaps most, which need not be the one it is best
    for; MMDetection's would regress towards that one and asks for a least IoU.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, match_low_quality=False, **kwargs)

    def assign_wrt_overlaps(self, overlaps: Tensor, gt_labels: Tensor) -> AssignResult:
        """Assignment by the IoU (m, n) of m objects with n anchors."""
        result = super().assign_wrt_overlaps(overlaps, gt_labels)
        if overlaps.numel() == 0:
            return result
        best = (overlaps == overlaps.amax(dim=1, keepdim=True)).any(dim=0)
        nearest = overlaps.argmax(dim=0)[best]
        result.gt_inds[best] = nearest + 1
        result.labels[best] = gt_labels[nearest]
        return result


@MODELS.register_module()
class Detectron2RPNHead(RPNHead):
    """Region proposals ranked by logit, anchors on padding included, losses over the nominal number of samples."""

    def get_anchors(self, featmap_sizes, batch_img_metas, device="cuda") -> tuple:
        """As the parent's, but anchors on the padding of a batch count as background like any other."""
        anchors, flags = super().get_anchors(featmap_sizes, batch_img_metas, device)
        return anchors, [[torch.ones_like(level) for level in image] for image in flags]

    def get_targets(self, anchor_list, *args, **kwargs) -> tuple:
        """As the parent's; both losses are divided by samples per image x images, drawn or not."""
        result = super().get_targets(anchor_list, *args, **kwargs)
        nominal = self.train_cfg["sampler"]["num"] * len(anchor_list)
        return (*result[:4], nominal, *result[5:])

    def _predict_by_feat_single(
        self, cls_score_list, bbox_pred_list, score_factor_list, mlvl_priors, img_meta, cfg, **kwargs
    ) -> InstanceData:
        """Proposals of an image: the best of each level, NMS within a level, then the best of all.

        Two logits that the sigmoid makes equal keep their order. Returns ``bboxes`` (n, 4) in px of the
        resized image, ``scores`` (n,) and ``labels`` (n,), best first.
        """
        cfg = self.test_cfg if cfg is None else cfg
        boxes, logits, levels = [], [], []
        for level, (score, deltas, priors) in enumerate(zip(cls_score_list, bbox_pred_list, mlvl_priors, strict=True)):
            flat = score.permute(1, 2, 0).flatten().float()
            top, index = flat.topk(min(cfg["nms_pre"], len(flat)))
            chosen = deltas.permute(1, 2, 0).reshape(-1, 4)[index].float()
            boxes.append(get_box_tensor(self.bbox_coder.decode(priors[index], chosen, img_meta["img_shape"])))
            logits.append(top)
            levels.append(torch.full_like(index, level))
        boxes, logits, levels = torch.cat(boxes), torch.cat(logits), torch.cat(levels)
        keep = not_empty(boxes) & boxes.isfinite().all(dim=1) & logits.isfinite()
        boxes, logits, levels = boxes[keep], logits[keep], levels[keep]
        if len(boxes):
            kept = batched_nms(boxes, logits, levels, cfg["nms"])[1][: cfg["max_per_img"]]
            boxes, logits = boxes[kept], logits[kept]
        return InstanceData(bboxes=boxes, scores=logits.sigmoid(), labels=logits.new_zeros(len(logits)).long())


@MODELS.register_module()
class Detectron2BBoxHead(DropLossBBoxHead):
    """Box head whose refined boxes all go on to the next stage, those of the ground truth as well."""

    @torch.no_grad()
    def refine_bboxes(self, sampling_results, bbox_results, batch_img_metas) -> list[InstanceData]:
        """Boxes (n, 4) of each image for the next stage; only boxes without an area are omitted."""
        rois, deltas = bbox_results["rois"], bbox_results["bbox_pred"].float()
        refined = []
        for number, meta in enumerate(batch_img_metas):
            mine = rois[:, 0] == number
            boxes = get_box_tensor(self.bbox_coder.decode(rois[mine, 1:], deltas[mine], meta["img_shape"]))
            refined.append(InstanceData(bboxes=boxes[not_empty(boxes)]))
        return refined


@MODELS.register_module()
class Detectron2CascadeRoIHead(OneMaskCascadeRoIHead):
    """Cascade that averages the stages' probabilities; MMDetection's averages their logits."""

    def _refine_roi(self, x, rois, batch_img_metas, num_proposals_per_img, **kwargs) -> tuple:
        """Last stage's boxes and deltas, and scores whose softmax is the mean probability, per image."""
        counts = list(num_proposals_per_img)
        probabilities = []
        for stage, head in enumerate(self.bbox_head):
            found = self._bbox_forward(stage, x, rois, **kwargs)
            probabilities.append(found["cls_score"].float().softmax(dim=-1))
            deltas = found["bbox_pred"].float()
            if stage < self.num_stages - 1:
                rois = self._moved(head, rois, deltas, batch_img_metas, counts)
        scores = torch.stack(probabilities).mean(dim=0).log()
        return rois.split(counts), scores.split(counts), deltas.split(counts)

    @staticmethod
    def _moved(head, rois: Tensor, deltas: Tensor, batch_img_metas: list[dict], counts: list[int]) -> Tensor:
        """(n, 5) the boxes a stage hands on, clipped to their images; none is omitted."""
        moved = []
        for mine, delta, meta in zip(rois.split(counts), deltas.split(counts), batch_img_metas, strict=True):
            boxes = get_box_tensor(head.bbox_coder.decode(mine[:, 1:], delta, meta["img_shape"]))
            moved.append(torch.cat([mine[:, :1], boxes], dim=1))
        return torch.cat(moved)


def not_empty(boxes: Tensor) -> Tensor:
    """(n,) whether boxes (n, 4) x1, y1, x2, y2 have an area."""
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
