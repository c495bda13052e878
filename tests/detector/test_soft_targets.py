"""The released code's DropLoss and CuVLER's soft target, in the box head."""

import numpy as np
import pytest
import torch
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch.nn import functional as F

from cuts3d_cli.config import TrainConfig
from cuts3d_cli.detector.configs import parts
from cuts3d_cli.detector.heads import DropLossBBoxHead, GroundTruthPseudoSampler, SoftTargetMaskHead, matched_scores

GT = torch.tensor([[0.0, 0, 20, 20], [40, 40, 60, 60]])
# Three for the first object; one that overlaps the second a little; one that overlaps none.
PROPOSALS = torch.tensor([[0.0, 0, 20, 20], [2, 2, 20, 20], [0, 0, 18, 18], [50, 50, 75, 75], [80, 80, 90, 90]])
LABELS = torch.tensor([0, 0, 0, 1, 1])


def sampled(gt=GT, scores=(0.8, 0.6), proposals=PROPOSALS):
    instances = InstanceData(
        bboxes=gt, labels=torch.zeros(len(gt), dtype=torch.long), scores=torch.tensor(scores[: len(gt)])
    )
    priors = InstanceData(priors=proposals)
    assigned = MaxIoUAssigner(0.5, 0.5, 0.5, match_low_quality=False).assign(priors, instances)
    return GroundTruthPseudoSampler().sample(assigned, priors, instances)


def losses(scores, deltas, results, **values):
    torch.manual_seed(0)
    config = parts.bbox_heads(TrainConfig(**values), 2, 4, grad_scale=1.0)[0]
    assert config.pop("type") == "DropLossBBoxHead"
    model = DropLossBBoxHead(**{**config, "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": False}})
    rois = torch.cat([F.pad(r.priors, (1, 0), value=float(i)) for i, r in enumerate(results)])
    return model.loss_and_target(scores, deltas, rois, results, ConfigDict(pos_weight=-1))["loss_bbox"]


@pytest.fixture
def scores():
    return torch.randn(5, 2, generator=torch.Generator().manual_seed(1), requires_grad=True)


class TestCutlerDropLoss:
    def test_an_object_that_comes_late_does_not_count(self, scores):
        # Matched boxes in order: A A A B A; two distinct, so the first two rows, A A, are "the ground truth".
        each = F.cross_entropy(scores, LABELS, reduction="none")
        paper = losses(scores, torch.zeros(5, 4), [sampled()])["loss_cls"].item()
        cutler = losses(scores, torch.zeros(5, 4), [sampled()], droploss_rule="cutler")["loss_cls"].item()
        assert paper == pytest.approx(each[:4].sum().item() / 5)
        assert cutler == pytest.approx(each[:3].sum().item() / 5)

    def test_with_one_object_both_rules_agree(self, scores):
        found = [
            losses(scores, torch.zeros(5, 4), [sampled(GT[:1])], droploss_rule=rule)["loss_cls"].item()
            for rule in ("paper", "cutler")
        ]
        assert found[0] == found[1]

    @pytest.mark.parametrize(("rule", "kept"), [("paper", [0, 1, 2, 3, 5, 6, 7, 8, 9]), ("cutler", range(10))])
    def test_an_image_without_objects_in_the_batch(self, rule, kept):
        scores = torch.randn(10, 2, generator=torch.Generator().manual_seed(1))
        found = losses(scores, torch.zeros(10, 4), [sampled(), sampled(GT[:0])], droploss_rule=rule)
        each = F.cross_entropy(scores, torch.cat([LABELS, torch.ones(5, dtype=torch.long)]), reduction="none")
        assert found["loss_cls"].item() == pytest.approx(each[list(kept)].sum().item() / 10)

    def test_no_other_rule(self):
        with pytest.raises(ValueError, match="paper or cutler"):
            DropLossBBoxHead(droploss_rule="mine")


class TestCuvler:
    def test_scores_of_the_regions(self):
        both = sampled(proposals=torch.cat([PROPOSALS, GT[1:]]))
        assert matched_scores([both, sampled(GT[:0])]).tolist() == pytest.approx([0.8, 0.8, 0.8, 0.6] + [1] * 7)

    def test_classification_by_hand(self, scores):
        log_p = F.log_softmax(scores.detach(), dim=1)
        soft = -(0.8 * log_p[:3, 0] + 0.2 * log_p[:3, 1]).sum() - log_p[3:, 1].sum()
        plain = losses(scores, torch.zeros(5, 4), [sampled()], loss="cuvler", droploss=False)
        assert plain["loss_cls"].item() == pytest.approx(soft.item() / 5, rel=1e-5)
        dropped = losses(scores, torch.zeros(5, 4), [sampled()], loss="cuvler")  # the last region goes
        assert dropped["loss_cls"].item() == pytest.approx((soft + log_p[4, 1]).item() / 5, rel=1e-5)

    def test_boxes_count_by_the_score_over_all_regions(self, scores):
        deltas = torch.randn(5, 4, generator=torch.Generator().manual_seed(2)) * 0.1
        plain, soft = (losses(scores, deltas, [sampled()], loss=loss)["loss_bbox"] for loss in ("none", "cuvler"))
        torch.testing.assert_close(soft, 0.8 * plain)  # all three positives are of the object with score 0.8
        # L1 over the positives, by hand: targets are offsets of the first object over the stage's deviations
        from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder

        coder = DeltaXYWHBBoxCoder(target_stds=parts.TARGET_STDS[0])
        expected = 0.8 * (deltas[:3] - coder.encode(PROPOSALS[:3], GT[:1].expand(3, 4))).abs().sum() / 5
        torch.testing.assert_close(soft, expected)

    def test_full_scores_are_the_usual_losses(self, scores):
        deltas = torch.randn(5, 4, generator=torch.Generator().manual_seed(2)) * 0.1
        usual, soft = (losses(scores, deltas, [sampled(scores=(1.0, 1.0))], loss=loss) for loss in ("none", "cuvler"))
        for key in usual:
            torch.testing.assert_close(soft[key], usual[key])

    def test_masks_are_weighted_as_by_the_scalar(self):
        logits = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(3))
        instances = InstanceData(
            bboxes=GT, masks=BitmapMasks(np.ones((2, 60, 60), np.uint8), 60, 60), scores=torch.tensor([0.8, 0.6])
        )
        found = {
            kind: SoftTargetMaskHead(
                num_convs=1, in_channels=2, conv_out_channels=2, num_classes=1, class_agnostic=True, confidence=kind
            ).loss_and_target(logits, [sampled()], [instances], ConfigDict(mask_size=4))["loss_mask"]["loss_mask"]
            for kind in ("cuvler", "scalar", "none")
        }
        assert found["cuvler"] == found["scalar"]
        torch.testing.assert_close(found["cuvler"], 0.8 * found["none"])  # all positives are of the first object
        with pytest.raises(ValueError, match="cuvler or none"):
            SoftTargetMaskHead(confidence="both")


def test_table6_is_four_configurations():
    rows = [
        {"copy_paste_select": "random", "alpha_blend": "none", "loss": "none"},
        {"copy_paste_select": "confident", "alpha_blend": "none", "loss": "none"},
        {"copy_paste_select": "confident", "alpha_blend": "spatial", "loss": "none"},
        {"copy_paste_select": "confident", "alpha_blend": "spatial", "loss": "spatial"},
    ]
    built = [TrainConfig(**row) for row in rows]
    assert built[-1] == TrainConfig()
    assert len({config.model_dump_json() for config in built}) == 4
    assert [parts.mask_head(config, 8, 1)["confidence"] for config in built] == ["none"] * 3 + ["spatial"]
