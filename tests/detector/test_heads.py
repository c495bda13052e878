from types import SimpleNamespace

import pytest
import torch
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch.nn import functional as F

from cuts3d_cli.detector.heads import (
    DropLossBBoxHead,
    GroundTruthPseudoSampler,
    GroundTruthRandomSampler,
    SoftTargetMaskHead,
    crop_confidences,
)

GT = torch.tensor([[0.0, 0, 20, 20], [40, 40, 60, 60]])
PROPOSALS = torch.tensor([[0.0, 0, 20, 20], [2, 2, 20, 20], [15, 15, 35, 35], [80, 80, 90, 90], [70, 0, 90, 10]])
# IoU with a ground truth: 1, 0.81, 25/775 = 0.03, none, none -> the last two are dropped
TRAIN = ConfigDict(pos_weight=-1, mask_size=4)


def sampled(gt=GT, proposals=PROPOSALS, sampler=None):
    instances = InstanceData(bboxes=gt, labels=torch.zeros(len(gt), dtype=torch.long))
    priors = InstanceData(priors=proposals)
    assigned = MaxIoUAssigner(0.5, 0.5, 0.5, match_low_quality=False).assign(priors, instances)
    return (sampler or GroundTruthPseudoSampler()).sample(assigned, priors, instances)


def head(droploss_iou=0.01, **kwargs):
    torch.manual_seed(0)
    return DropLossBBoxHead(
        in_channels=2, fc_out_channels=4, roi_feat_size=7, num_classes=1, reg_class_agnostic=True,
        bbox_coder={"type": "DeltaXYWHBBoxCoder", "target_means": [0.0] * 4, "target_stds": [0.1] * 4},
        loss_cls={"type": "CrossEntropyLoss", "use_sigmoid": False}, loss_bbox={"type": "L1Loss"},
        droploss_iou=droploss_iou, **kwargs,
    )  # fmt: skip


def losses(model, scores, deltas, results):
    rois = torch.cat([F.pad(r.priors, (1, 0), value=float(i)) for i, r in enumerate(results)])
    return model.loss_and_target(scores, deltas, rois, results, TRAIN)["loss_bbox"]


@pytest.fixture
def scores():
    return torch.randn(5, 2, generator=torch.Generator().manual_seed(1), requires_grad=True)


def test_droploss_by_hand(scores):
    result = sampled()
    found = losses(head(), scores, torch.zeros(5, 4), [result])
    # positives come first, then negatives, in the order of the proposals: labels 0 0 1 1 1
    each = F.cross_entropy(scores, torch.tensor([0, 0, 1, 1, 1]), reduction="none")
    assert found["loss_cls"].item() == pytest.approx((each[0] + each[1] + each[2]).item() / 5)  # 5, not 3


def test_dropped_proposals_get_no_gradient(scores):
    losses(head(), scores, torch.zeros(5, 4), [sampled()])["loss_cls"].backward()
    assert (scores.grad[3:] == 0).all() and (scores.grad[:3] != 0).all()


def test_off_is_mean_cross_entropy(scores):
    found = losses(head(None), scores, torch.zeros(5, 4), [sampled()])
    assert found["loss_cls"].item() == pytest.approx(F.cross_entropy(scores, torch.tensor([0, 0, 1, 1, 1])).item())


def test_the_box_loss_is_untouched(scores):
    deltas = torch.randn(5, 4, generator=torch.Generator().manual_seed(2)) * 0.1
    on, off = (losses(head(value), scores, deltas, [sampled()]) for value in (0.01, None))
    torch.testing.assert_close(on["loss_bbox"], off["loss_bbox"])
    assert on["loss_bbox"] > 0 and on["loss_cls"] != off["loss_cls"]


def test_the_regressed_box_decides(scores):
    # Moved by its own width (stds 0.1), the first proposal overlaps nothing any more.
    deltas = torch.zeros(5, 4)
    deltas[0, 0] = 10.0
    each = F.cross_entropy(scores, torch.tensor([0, 0, 1, 1, 1]), reduction="none")
    found = losses(head(), scores, deltas, [sampled()])
    assert found["loss_cls"].item() == pytest.approx((each[1] + each[2]).item() / 5)


def test_every_ground_truth_counts(scores):
    # No proposal is positive for the second object, yet one overlaps it a little and must count.
    proposals = PROPOSALS.clone()
    proposals[4] = torch.tensor([50.0, 50, 75, 75])
    result = sampled(proposals=proposals)
    assert len(result.pos_gt_bboxes.unique(dim=0)) == 1 and len(result.all_gt_bboxes) == 2
    each = F.cross_entropy(scores, torch.tensor([0, 0, 1, 1, 1]), reduction="none")
    expected = (each[0] + each[1] + each[2] + each[4]).item() / 5
    assert losses(head(), scores, torch.zeros(5, 4), [result])["loss_cls"].item() == pytest.approx(expected)


def test_images_of_a_batch_do_not_see_each_others_objects():
    scores = torch.randn(10, 2, generator=torch.Generator().manual_seed(1))
    other = sampled(gt=torch.tensor([[80.0, 80, 90, 90]]))
    found = losses(head(), scores, torch.zeros(10, 4), [sampled(), other])
    labels = torch.tensor([0, 0, 1, 1, 1, 0, 1, 1, 1, 1])
    each = F.cross_entropy(scores, labels, reduction="none")
    assert found["loss_cls"].item() == pytest.approx((each[:3].sum() + each[5]).item() / 10)


def test_an_image_without_objects_is_all_background():
    scores = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    found = losses(head(), scores, torch.zeros(5, 4), [sampled(gt=GT[:0])])
    assert found["loss_cls"].item() == pytest.approx(F.cross_entropy(scores, torch.ones(5, dtype=torch.long)).item())


def test_random_sampler_keeps_all_ground_truth():
    result = sampled(sampler=GroundTruthRandomSampler(num=4, pos_fraction=0.25, add_gt_as_proposals=True))
    torch.testing.assert_close(result.all_gt_bboxes, GT)


class TestMaskLoss:
    GT = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 8, 8], [8, 8, 16, 16]]),
        labels=torch.zeros(2, dtype=torch.long),
        masks=BitmapMasks([torch.ones(16, 16).numpy().astype("uint8")] * 2, 16, 16),
        confidences=torch.stack([torch.full((16, 16), 0.5), torch.full((16, 16), 0.75)]),
        scores=torch.tensor([0.6, 0.9]),
    )
    POSITIVE = SimpleNamespace(
        pos_priors=torch.tensor([[8.0, 8, 16, 16], [0, 0, 8, 8]]),
        pos_assigned_gt_inds=torch.tensor([1, 0]),
        pos_gt_labels=torch.zeros(2, dtype=torch.long),
    )

    def loss(self, confidence, logits):
        model = SoftTargetMaskHead(
            num_convs=1, in_channels=2, conv_out_channels=2, num_classes=1, class_agnostic=True, confidence=confidence
        )
        return model.loss_and_target(logits, [self.POSITIVE], [self.GT], TRAIN)["loss_mask"]["loss_mask"].item()

    def test_by_hand(self):
        logits = torch.tensor([1.0, -1.0])[:, None, None, None].expand(2, 1, 4, 4)
        first, second = F.softplus(torch.tensor(-1.0)).item(), F.softplus(torch.tensor(1.0)).item()
        assert self.loss("none", logits) == pytest.approx((first + second) / 2)
        assert self.loss("spatial", logits) == pytest.approx((0.75 * first + 0.5 * second) / 2)
        assert self.loss("scalar", logits) == pytest.approx((0.9 * first + 0.6 * second) / 2)

    def test_confidences_are_cropped_like_the_targets(self):
        ramp = torch.linspace(0.5, 1, 16).repeat(16, 1)  # grows to the right
        gt = InstanceData(bboxes=self.GT.bboxes, confidences=torch.stack([ramp, ramp.T]))
        right, left = crop_confidences([self.POSITIVE], [gt], (4, 4))
        # the first positive belongs to the second mask, whose field grows downwards
        assert (right.diff(dim=0) > 0).all() and (left.diff(dim=1) > 0).all()
        assert left.max() < right.min()
        soft = BitmapMasks((ramp * 200).numpy().astype("uint8")[None], 16, 16)
        boxes, inds = self.POSITIVE.pos_priors[1:].numpy(), torch.tensor([0]).numpy()
        same = soft.crop_and_resize(boxes, (4, 4), inds=inds, binarize=False).masks[0]
        torch.testing.assert_close(left, torch.as_tensor(same) / 200, atol=0.01, rtol=0)

    def test_unknown_weighting(self):
        with pytest.raises(ValueError, match="spatial, scalar, cuvler or none"):
            SoftTargetMaskHead(num_classes=1, confidence="soft")


@pytest.mark.parametrize("scale", [1.0, 1 / 3])
def test_a_stage_scales_its_gradient_into_the_features(scale):
    settings = {"in_channels": 2, "fc_out_channels": 3, "roi_feat_size": 7, "num_classes": 1}
    torch.manual_seed(0)
    head = DropLossBBoxHead(**settings, reg_class_agnostic=True, feature_grad_scale=scale)
    plain = DropLossBBoxHead(**settings, reg_class_agnostic=True)
    plain.load_state_dict(head.state_dict())
    x = torch.rand(2, 2, 7, 7, generator=torch.Generator().manual_seed(0))
    gradients = []
    for one in (one.train() for one in (head, plain)):
        features = x.clone().requires_grad_()
        scores, deltas = one(features)
        (scores.sum() + deltas.sum()).backward()
        gradients.append((features.grad, one.shared_fcs[0].weight.grad))
    assert gradients[1][0].abs().max() > 1e-3  # far above what assert_close forgives
    torch.testing.assert_close(gradients[0][0], scale * gradients[1][0])
    torch.testing.assert_close(gradients[0][1], gradients[1][1])  # the head's own weights learn as ever
    torch.testing.assert_close(head(x)[0], plain(x)[0])
    assert head.eval()(x)[0].equal(plain(x)[0])
