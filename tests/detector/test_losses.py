import math

import pytest
import torch
from torch.nn import functional as F

from cuts3d_cli.detector.losses import (
    box_iou,
    cutler_gt_boxes,
    droploss_weights,
    matched_boxes,
    scalar_confidence_bce,
    soft_target_ce,
    spatial_confidence_bce,
)


def bce(logit, target):
    p = 1 / (1 + math.exp(-logit))
    return -(target * math.log(p) + (1 - target) * math.log(1 - p))


def test_eq6_by_hand():
    logits = torch.tensor([[[2.0, -1.0], [0.5, 3.0]]])
    target = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    confidence = torch.tensor([[[0.5, 0.8], [0.6, 0.1]]])  # outside the mask it must not count
    expected = (0.5 * bce(2, 1) + 0.8 * bce(-1, 1) + bce(0.5, 0) + bce(3, 0)) / 4
    assert spatial_confidence_bce(logits, target, confidence).item() == pytest.approx(expected, rel=1e-6)


def test_full_confidence_is_the_usual_loss():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 5, generator=generator)
    target = (torch.rand(3, 4, 5, generator=generator) > 0.5).float()
    expected = F.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(spatial_confidence_bce(logits, target, torch.ones(3, 4, 5)), expected)
    torch.testing.assert_close(scalar_confidence_bce(logits, target, torch.ones(3)), expected)


def test_gradient_scales_with_confidence():
    logits = torch.zeros(1, 1, 2, requires_grad=True)
    spatial_confidence_bce(logits, torch.ones(1, 1, 2), torch.tensor([[[1.0, 0.5]]])).backward()
    assert logits.grad[0, 0, 0] == pytest.approx(2 * logits.grad[0, 0, 1].item())


def test_scalar_weights_the_whole_instance():
    logits, target = torch.tensor([[[1.0]], [[1.0]]]), torch.tensor([[[1.0]], [[0.0]]])
    expected = (0.5 * bce(1, 1) + 0.25 * bce(1, 0)) / 2
    assert scalar_confidence_bce(logits, target, torch.tensor([0.5, 0.25])).item() == pytest.approx(expected)


def test_no_mask_gives_zero_with_a_gradient():
    logits = torch.zeros(0, 4, 4, requires_grad=True)
    loss = spatial_confidence_bce(logits, torch.zeros(0, 4, 4), torch.zeros(0, 4, 4))
    loss.backward()
    assert loss.item() == 0


def test_droploss_weights_by_hand():
    gt = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    boxes = torch.tensor(
        [
            [0.0, 0, 10, 10],  # the first itself
            [55.0, 55, 65, 65],  # part of the second
            [20.0, 20, 30, 30],  # overlaps none
            [9.0, 9, 19, 19],  # IoU 1 / 199 with the first, below 0.01
            [10.0, 0, 20, 10],  # touches the first
        ]
    )
    assert droploss_weights(boxes, gt, 0.01).tolist() == [1, 1, 0, 0, 0]
    assert droploss_weights(boxes, gt, 0.005).tolist() == [1, 1, 0, 1, 0]
    assert droploss_weights(boxes, gt[:0], 0.01).tolist() == [1] * 5


def test_iou_of_boxes_turned_inside_out_is_zero():
    gt = torch.tensor([[0.0, 0, 10, 10]])
    assert box_iou(torch.tensor([[8.0, 8, 2, 2], [5, 5, 5, 5]]), gt).tolist() == [[0.0], [0.0]]


def test_soft_target_by_hand():
    logits = torch.tensor([[1.0, -1.0], [0.5, 0.0], [0.0, 2.0]])
    log_p = F.log_softmax(logits, dim=1)
    foreground, score = torch.tensor([True, True, False]), torch.tensor([0.9, 0.5, 0.3])  # no score in the background
    weight = torch.tensor([1.0, 0.0, 1.0])  # the second is dropped and stays in the mean
    expected = -(0.9 * log_p[0, 0] + 0.1 * log_p[0, 1] + log_p[2, 1]) / 3
    torch.testing.assert_close(soft_target_ce(logits, foreground, score, weight), expected)
    none = torch.zeros(0, 2, requires_grad=True)
    soft_target_ce(none, foreground[:0], score[:0], weight[:0]).backward()
    assert none.grad.shape == (0, 2)


class TestCutlerRule:
    A, B, C = [0.0, 0, 10, 10], [20.0, 20, 30, 30], [40.0, 40, 50, 50]

    def test_first_rows_as_many_as_there_are_distinct_boxes(self):
        a, b, c = self.A, self.B, self.C
        assert cutler_gt_boxes(torch.tensor([a, a, a])).tolist() == [a]
        assert cutler_gt_boxes(torch.tensor([a, b, a, b])).tolist() == [a, b]
        assert cutler_gt_boxes(torch.tensor([a, a, c, b, a])).tolist() == [a, a, c]  # b is lost

    def test_distinct_boxes_are_counted_in_the_first_rows_only(self):
        rows = torch.tensor([self.A] * 100 + [self.B])
        assert cutler_gt_boxes(rows).tolist() == [self.A]

    def test_a_region_of_a_lost_box_is_dropped(self):
        truth = cutler_gt_boxes(torch.tensor([self.A, self.A, self.B]))
        boxes = torch.tensor([self.A, self.B])
        assert droploss_weights(boxes, truth, 0.01).tolist() == [1, 0]

    def test_matches_keep_the_foreground_first(self):
        truth = torch.tensor([self.A, self.B])
        boxes = torch.tensor([self.A, self.B, self.B, [22.0, 22, 60, 60], [70.0, 70, 80, 80]])
        orders = set()
        for seed in range(20):
            torch.manual_seed(seed)
            matched = matched_boxes(boxes, 3, truth).tolist()
            assert sorted(matched[:3]) == [self.A, self.B, self.B] and sorted(matched[3:]) == [self.A, self.B]
            orders.add(str(matched))
        assert len(orders) > 1


@pytest.mark.parametrize(("threshold", "weight"), [(0.5, 0), (0.4, 1)])
def test_droploss_drops_at_the_threshold_itself(threshold, weight):
    box, gt = torch.tensor([[0.0, 0, 1, 2]]), torch.tensor([[0.0, 0, 2, 2]])  # IoU 1/2
    assert droploss_weights(box, gt, threshold).tolist() == [weight]
