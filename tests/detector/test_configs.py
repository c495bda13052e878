import json

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope

from cuts3d_cli.config import TrainConfig
from cuts3d_cli.detector.configs import build_detector, detector_names
from cuts3d_cli.detector.dataset import PseudoMaskDataset, compose
from cuts3d_cli.errors import ConfigError


def build(detector):
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(ConfigDict(detector["model"]))


def test_names():
    assert detector_names() == ["embedded_cascade", "paper_cascade"]


@pytest.mark.parametrize("name", detector_names())
def test_detectors_build_and_are_json(name):
    detector = build_detector(TrainConfig(detector=name))
    assert json.loads(json.dumps(detector)) == detector
    model = build(detector)
    assert len(model.roi_head.bbox_head) == 3 and len(model.roi_head.mask_head) == 1
    for head in model.roi_head.bbox_head:
        assert head.num_classes == 1 and head.reg_class_agnostic


@pytest.mark.parametrize("name", detector_names())
def test_images_keep_their_aspect(name, labelled):
    detector = build_detector(TrainConfig(detector=name))
    load = [{"type": "LoadRgb"}, {"type": "LoadPseudoMasks"}]
    entry = PseudoMaskDataset(labelled).get_data_info(0)
    for resize in (detector["load"], detector["test"]):
        results = compose([*load, *resize])(entry)
        height, width = results["img_shape"]
        assert width / height == pytest.approx(96 / 60, rel=0.02) and width > 96
        assert results["gt_masks"].masks.shape == results["gt_confidences"].shape == (2, height, width)


def test_paper_backbone_has_torchvisions_key_names():
    from torchvision.models import resnet50

    ours = build(build_detector(TrainConfig(detector="paper_cascade"))).backbone.state_dict()
    theirs = {key: value for key, value in resnet50(weights=None).state_dict().items() if not key.startswith("fc.")}
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}


@pytest.mark.parametrize("loss", ["spatial", "scalar", "none"])
@pytest.mark.parametrize("droploss", [True, False])
def test_the_train_section_reaches_the_heads(loss, droploss):
    model = build(build_detector(TrainConfig(loss=loss, droploss=droploss, droploss_iou=0.07)))
    assert model.roi_head.mask_head[0].confidence == loss
    assert {head.droploss_iou for head in model.roi_head.bbox_head} == {0.07 if droploss else None}


def test_unknown_names():
    with pytest.raises(ConfigError, match=r"embedded_cascade, paper_cascade or a Python file.*'nope'"):
        build_detector(TrainConfig(detector="nope"))


def test_a_file_without_build(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("model = {}\n")
    with pytest.raises(ConfigError, match=r"function build\(train\).*no build"):
        build_detector(TrainConfig(detector=str(path)))


def test_gradients_are_clipped_tensor_by_tensor():
    from cuts3d_cli.detector.runner import TensorClipOptimWrapper

    parameters = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))]
    wrapper = TensorClipOptimWrapper(torch.optim.SGD(parameters, lr=1.0), clip_grad={"max_norm": 1.0})
    loss = (parameters[0] * torch.tensor([30.0, 40.0])).sum() + (parameters[1] * torch.tensor([0.0, 0.5])).sum()
    wrapper.update_params(loss)
    torch.testing.assert_close(parameters[0].data, torch.tensor([-0.6, -0.8]), atol=1e-4, rtol=0)
    torch.testing.assert_close(parameters[1].data, torch.tensor([0.0, -0.5]))  # small ones stay
