"""The released detector's rules against small references written from their formulas."""

import copy

import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures.bbox import bbox2roi
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch.nn import functional as F

from cuts3d_cli.config import TrainConfig
from cuts3d_cli.detector.configs import parts
from cuts3d_cli.detector.detectron2_compat import Detectron2AnchorAssigner, Detectron2BBoxHead, not_empty
from cuts3d_cli.detector.losses import box_iou

SIZE = (64, 96)
META = {"img_shape": SIZE, "pad_shape": (64, 96), "ori_shape": SIZE, "scale_factor": (1.0, 1.0)}
GT = torch.tensor([[4.0, 4, 40, 40], [50, 10, 60, 20]])
WEIGHTS = [(10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0)]


def encode(boxes, targets, weights):
    """Box coding: shifts in units of the box, logarithms of the size ratios, times the weights."""
    size, goal = boxes[:, 2:] - boxes[:, :2], targets[:, 2:] - targets[:, :2]
    shift = ((targets[:, 2:] + targets[:, :2]) - (boxes[:, 2:] + boxes[:, :2])) / 2 / size
    return torch.cat([shift, (goal / size).log()], dim=1) * torch.tensor(weights)


def ground_truth(boxes=GT):
    return InstanceData(bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long))


class TestAnchors:
    def assign(self, anchors, boxes):
        return Detectron2AnchorAssigner(pos_iou_thr=0.7, neg_iou_thr=0.3).assign(
            InstanceData(priors=anchors), ground_truth(boxes)
        )

    def reference(self, anchors, boxes):
        iou = box_iou(boxes, anchors)
        best, nearest = iou.max(dim=0)
        labels = torch.full((len(anchors),), -1)
        labels[best < 0.3], labels[best >= 0.7] = 0, 1
        labels[(iou == iou.max(dim=1).values[:, None]).any(dim=0)] = 1
        return torch.where(labels == 1, nearest + 1, labels)

    def test_random_boxes(self):
        generator = torch.Generator().manual_seed(0)
        corner = torch.rand(300, 2, generator=generator) * 60
        anchors = torch.cat([corner, corner + 4 + torch.rand(300, 2, generator=generator) * 30], dim=1)
        found = self.assign(anchors, anchors[:4] + 3)
        assert torch.equal(found.gt_inds, self.reference(anchors, anchors[:4] + 3))
        assert {-1, 0} < set(found.gt_inds.tolist())
        assert torch.equal(found.labels >= 0, found.gt_inds > 0)

    def test_the_best_anchors_count_however_small_their_overlap(self):
        anchors = torch.tensor([[0.0, 0, 100, 100], [0, 0, 100, 100], [200, 200, 210, 210]])
        assert self.assign(anchors, torch.tensor([[10.0, 10, 20, 20]])).gt_inds.tolist() == [1, 1, 0]  # IoU 0.01, a tie

    def test_an_anchor_regresses_to_what_it_overlaps_most(self):
        # The first anchor is the best of the second object, yet overlaps the first more.
        boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 20, 40]])
        found = self.assign(torch.tensor([[0.0, 0, 10, 11], [50, 50, 60, 60]]), boxes)
        assert found.gt_inds.tolist() == [1, 0]

    def test_without_objects_all_is_background(self):
        assert self.assign(torch.rand(5, 4), GT[:0]).gt_inds.tolist() == [0] * 5


class TestProposals:
    STRIDES = (8, 16)

    def head(self, samples=256):
        train = {
            "assigner": parts.anchor_assigner("Detectron2AnchorAssigner"),
            "sampler": {"type": "RandomSampler", "num": samples, "pos_fraction": 0.5, "add_gt_as_proposals": False},
            "allowed_border": -1, "pos_weight": -1,
        }  # fmt: skip
        config = ConfigDict(parts.rpn_head(4, list(self.STRIDES), 4, "Detectron2RPNHead"), train_cfg=train)
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope("mmdet"):
            return MODELS.build(ConfigDict(config, test_cfg=parts.proposals(20, 12, 0.6)))

    def outputs(self, images=1):
        generator = torch.Generator().manual_seed(1)
        sizes = [(SIZE[0] // stride, SIZE[1] // stride) for stride in self.STRIDES]
        return (
            [torch.randn(images, 3, *size, generator=generator) for size in sizes],
            [torch.randn(images, 12, *size, generator=generator) * 0.3 for size in sizes],
        )

    def anchors(self):
        """(n, 4) per level: areas (4 x stride)^2, ratios height / width, centred on multiples of the stride."""
        levels = []
        for stride in self.STRIDES:
            rows = []
            for y in range(SIZE[0] // stride):
                for x in range(SIZE[1] // stride):
                    for ratio in (0.5, 1.0, 2.0):
                        width, height = 4 * stride / ratio**0.5, 4 * stride * ratio**0.5
                        cx, cy = x * stride, y * stride
                        rows.append([cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2])
            levels.append(torch.tensor(rows))
        return levels

    @staticmethod
    def flat(score, channels):
        """(h * w * 3, channels) of a map of one image, as the anchors are ordered."""
        return score.permute(1, 2, 0).reshape(-1, channels)

    def test_against_a_slow_reference(self):
        logits, deltas = self.outputs()
        found = self.head().predict_by_feat(logits, deltas, batch_img_metas=[META])[0]
        kept = []
        for level, anchors in enumerate(self.anchors()):
            score, delta = self.flat(logits[level][0], 1)[:, 0], self.flat(deltas[level][0], 4)
            boxes = decoded(anchors, delta, (1.0,) * 4)
            mine = []
            for index in score.argsort(descending=True)[:20].tolist():
                if not_empty(boxes[index : index + 1]) and all(
                    box_iou(boxes[index : index + 1], boxes[other : other + 1]) <= 0.6 for other in mine
                ):
                    mine.append(index)
            kept += [(score[index].item(), boxes[index]) for index in mine]
        kept = sorted(kept, key=lambda pair: -pair[0])[:12]
        torch.testing.assert_close(found.bboxes, torch.stack([box for _, box in kept]), atol=1e-3, rtol=0)
        torch.testing.assert_close(found.scores, torch.tensor([score for score, _ in kept]).sigmoid())

    def test_logits_the_sigmoid_cannot_tell_apart_keep_their_order(self):
        logits, deltas = self.outputs()
        far = [score + 40 for score in logits]
        near, saturated = (
            self.head().predict_by_feat(values, deltas, batch_img_metas=[META])[0] for values in (logits, far)
        )
        assert (saturated.scores == 1).all()
        torch.testing.assert_close(saturated.bboxes, near.bboxes)

    @pytest.mark.parametrize("samples", [8, 100000])
    def test_losses_are_over_the_nominal_samples(self, samples):
        # With more samples asked for than there are anchors, all of them are drawn and the divisor stays.
        head, (logits, deltas) = self.head(samples), self.outputs(images=2)
        torch.manual_seed(3)
        losses = head.loss_by_feat(logits, deltas, [ground_truth(), ground_truth(GT[:0])], [META, META])
        if samples == 100000:
            anchors = torch.cat(self.anchors())
            expected_class = expected_box = 0.0
            for image, boxes in enumerate((GT, GT[:0])):
                score = torch.cat([self.flat(level[image], 1) for level in logits])[:, 0]
                delta = torch.cat([self.flat(level[image], 4) for level in deltas])
                gt_inds = TestAnchors().reference(anchors, boxes) if len(boxes) else torch.zeros(len(anchors)).long()
                used, positive = gt_inds >= 0, gt_inds > 0
                expected_class += F.binary_cross_entropy_with_logits(
                    score[used], positive[used].float(), reduction="sum"
                )
                if positive.any():
                    targets = encode(anchors[positive], boxes[gt_inds[positive] - 1], (1.0,) * 4)
                    expected_box += (delta[positive] - targets).abs().sum()
            assert sum(losses["loss_rpn_cls"]).item() == pytest.approx(expected_class.item() / (2 * samples), rel=1e-4)
            assert sum(losses["loss_rpn_bbox"]).item() == pytest.approx(expected_box.item() / (2 * samples), rel=1e-4)
        zeros = [torch.zeros_like(level) for level in logits]
        even = head.loss_by_feat(zeros, deltas, [ground_truth(), ground_truth(GT[:0])], [META, META])
        drawn = min(1.0, sum(level[0].numel() for level in logits) / samples)
        assert sum(even["loss_rpn_cls"]).item() == pytest.approx(drawn * torch.tensor(2.0).log().item(), rel=0.1)

    def test_anchors_on_padding_count(self):
        padded = {**META, "pad_shape": (32, 32)}
        flags = self.head().get_anchors([(8, 12), (4, 6)], [META, padded], "cpu")[1]
        assert all(level.all() for image in flags for level in image)


def decoded(boxes, deltas, weights):
    """Boxes moved and scaled by deltas, clipped to the image."""
    deltas = deltas / torch.tensor(weights)
    size, centre = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
    centre, size = centre + deltas[:, :2] * size, size * deltas[:, 2:].exp()
    limit = torch.tensor([SIZE[1], SIZE[0]] * 2).float()
    return torch.minimum(torch.cat([centre - size / 2, centre + size / 2], dim=1).clamp(min=0), limit)


@pytest.fixture
def cascade():
    """The paper's cascade with 4 channels and 8 hidden units on two levels."""
    train, strides = TrainConfig(droploss=False, loss="none"), [8, 16]
    roi_head = {
        "type": "Detectron2CascadeRoIHead",
        "num_stages": 3,
        "stage_loss_weights": [1.0] * 3,
        "bbox_roi_extractor": parts.roi_extractor(4, strides, 7, sampling_ratio=0),
        "bbox_head": parts.bbox_heads(train, 4, 8, 1 / 3, "Detectron2BBoxHead", parts.EXACT_STDS),
        "mask_roi_extractor": parts.roi_extractor(4, strides, 14, sampling_ratio=0),
        "mask_head": parts.mask_head(train, 4, convs=1),
        "train_cfg": parts.train_cfg(256, 16, parts.proposals(1, 1, 0.5))["rcnn"],
        "test_cfg": parts.test_cfg(parts.proposals(1, 1, 0.5))["rcnn"],
    }
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        head = MODELS.build(ConfigDict(roi_head))
    for bbox_head in head.bbox_head:
        torch.nn.init.normal_(bbox_head.fc_cls.weight, std=0.5)
        torch.nn.init.normal_(bbox_head.fc_reg.weight, std=1.0)
    return head.eval()


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(2)
    return tuple(torch.randn(2, 4, SIZE[0] // stride, SIZE[1] // stride, generator=generator) for stride in (8, 16))


BOXES = torch.tensor([[5.0, 5, 38, 41], [48, 8, 62, 22], [0, 0, 90, 60], [70, 40, 95, 63], [30, 30, 50, 50]])


@torch.no_grad()
def test_cascade_averages_probabilities(cascade, features):
    proposals = [InstanceData(bboxes=BOXES), InstanceData(bboxes=BOXES[:3])]
    found = cascade.predict_bbox(features, [META, META], proposals, ConfigDict(score_thr=0.0, nms=None, max_per_img=-1))
    for image, boxes in enumerate((BOXES, BOXES[:3])):
        scores = []
        for stage, weights in enumerate(WEIGHTS):
            rois = torch.cat([torch.full((len(boxes), 1), float(image)), boxes], dim=1)
            logits, deltas = cascade.bbox_head[stage](cascade.bbox_roi_extractor[stage](features, rois))
            scores.append(logits.softmax(dim=1)[:, 0])
            boxes = decoded(boxes, deltas, weights)
        mean = torch.stack(scores).mean(dim=0)
        order = mean.argsort(descending=True)
        torch.testing.assert_close(found[image].scores, mean[order])
        torch.testing.assert_close(found[image].bboxes, boxes[order], atol=1e-4, rtol=0)
        assert len(boxes) == len(found[image])


def test_stages_relabel_the_same_boxes(cascade, features, monkeypatch):
    """All three box losses by hand: one draw of proposals, moved by each stage, labelled anew at its IoU."""
    seen = []
    original = type(cascade).bbox_loss

    def keep(self, stage, x, sampling_results):
        seen.append([(result.priors.clone(), len(result.pos_inds)) for result in sampling_results])
        return original(self, stage, x, sampling_results)

    monkeypatch.setattr(type(cascade), "bbox_loss", keep)
    one = tuple(level[:1] for level in features)
    sample = samples_of(GT)
    losses = cascade.train().loss(one, [InstanceData(bboxes=BOXES.clone())], [sample])
    boxes = seen[0][0][0]
    assert len(boxes) == len(BOXES) + len(GT)  # fewer than asked for: all of them, and the ground truth
    for stage, (weights, threshold) in enumerate(zip(WEIGHTS, (0.5, 0.6, 0.7), strict=True)):
        with torch.no_grad():
            rois = bbox2roi([boxes])
            logits, deltas = cascade.bbox_head[stage](cascade.bbox_roi_extractor[stage](one, rois))
            best, nearest = box_iou(boxes, GT).max(dim=1)
            positive = best >= threshold
            expected = F.cross_entropy(logits, (~positive).long())
            moved = deltas[positive] - encode(boxes[positive], GT[nearest[positive]], weights)
            assert losses[f"s{stage}.loss_cls"].item() == pytest.approx(expected.item(), rel=1e-4)
            assert losses[f"s{stage}.loss_bbox"].item() == pytest.approx(
                (moved.abs().sum() / len(boxes)).item(), rel=1e-3, abs=1e-6
            )
            boxes = decoded(boxes, deltas, weights)
            boxes = boxes[not_empty(boxes)]
            assert len(boxes) > 0
    assert sum("loss_mask" in key for key in losses) == 1 and "s0.loss_mask" in losses


def samples_of(boxes):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    masks = BitmapMasks(torch.ones(len(boxes), *SIZE).numpy().astype("uint8"), *SIZE)
    sample = DetDataSample(metainfo=copy.deepcopy(META))
    sample.gt_instances = ground_truth(boxes)
    sample.gt_instances.masks = masks
    return sample


def test_pyramid_level_of_a_box():
    """Level 4 holds boxes of 224 px, every halving of the side goes one level down: 2 to 5."""
    with DefaultScope.overwrite_default_scope("mmdet"):
        extractor = MODELS.build(parts.roi_extractor(4, [4, 8, 16, 32], 7, sampling_ratio=0))
    sides = torch.tensor([1.0, 30, 111.9, 112, 113, 223.9, 224, 225, 447.9, 448, 449, 1300])
    rois = torch.stack([torch.zeros(12), torch.zeros(12), torch.zeros(12), sides * 2, sides / 2], dim=1)
    levels = torch.floor(4 + torch.log2(sides / 224 + 1e-8)).clamp(2, 5).long() - 2
    assert extractor.map_roi_levels(rois, 4).tolist() == levels.tolist()


def test_an_image_without_objects_trains(cascade, features):
    losses = cascade.train().loss(
        features, [InstanceData(bboxes=BOXES.clone()), InstanceData(bboxes=BOXES[:2].clone())],
        [samples_of(GT[:0]), samples_of(GT[:0])],
    )  # fmt: skip
    assert all(torch.isfinite(value) for key, value in losses.items() if "loss" in key)
    assert losses["s2.loss_bbox"] == 0 and losses["s0.loss_mask"] == 0


def test_refined_boxes_without_area_are_left_out():
    head = Detectron2BBoxHead(
        in_channels=2, fc_out_channels=4, num_classes=1, reg_class_agnostic=True,
        bbox_coder={"type": "DeltaXYWHBBoxCoder", "target_stds": [1.0] * 4},
        loss_cls={"type": "CrossEntropyLoss"}, loss_bbox={"type": "L1Loss"},
    )  # fmt: skip
    deltas = torch.zeros(5, 4)
    deltas[1, 0] = 100.0  # far to the right: clipped to the border
    refined = head.refine_bboxes([], {"rois": bbox2roi([BOXES]), "bbox_pred": deltas}, [META, META])
    torch.testing.assert_close(refined[0].bboxes, BOXES[[0, 2, 3, 4]])
    assert refined[1].bboxes.shape == (0, 4)


def test_box_coding_is_the_inverse_of_the_weights():
    boxes, goals = BOXES[:2], GT
    for stds, weights in zip(parts.EXACT_STDS, WEIGHTS, strict=True):
        coder = TASK_UTILS.build({"type": "mmdet.DeltaXYWHBBoxCoder", "target_means": [0.0] * 4, "target_stds": stds})
        torch.testing.assert_close(coder.encode(boxes, goals), encode(boxes, goals, weights))
