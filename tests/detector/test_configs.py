import json
from importlib import import_module

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

from cuts3d_cli.config import SelfTrainConfig, TrainConfig
from cuts3d_cli.detector.configs import build_detector, detector_names
from cuts3d_cli.detector.dataset import PseudoMaskDataset, compose
from cuts3d_cli.errors import ConfigError
from cuts3d_cli.training.selftrain import round_config


def build(detector):
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(ConfigDict(detector["model"]))


def test_names():
    assert detector_names() == ["embedded_cascade", "embedded_mask_rcnn", "paper_cascade", "paper_mask_rcnn"]


@pytest.mark.parametrize("name", detector_names())
def test_detectors_build_and_are_json(name):
    detector = build_detector(TrainConfig(detector=name))
    assert json.loads(json.dumps(detector)) == detector
    roi_head = build(detector).roi_head
    if name.endswith("cascade"):
        assert len(roi_head.bbox_head) == 3 and len(roi_head.mask_head) == 1
        heads = list(roi_head.bbox_head)
    else:
        heads = [roi_head.bbox_head]
    for head in heads:
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


def test_training_sets_the_proposals_and_prediction_does_not():
    model = build_detector(TrainConfig(detector="paper_cascade", rpn_nms=0.7, rpn_proposals=1000))["model"]
    training, test = model["train_cfg"]["rpn_proposal"], model["test_cfg"]["rpn"]
    assert (training["nms_pre"], training["max_per_img"], training["nms"]["iou_threshold"]) == (2000, 1000, 0.7)
    assert (test["nms_pre"], test["max_per_img"], test["nms"]["iou_threshold"]) == (1000, 1000, 0.65)


def test_rounds_train_with_detectron2s_proposals():
    first = TrainConfig(detector="paper_cascade")
    later = round_config(SelfTrainConfig(), first)
    assert (first.rpn_nms, first.rpn_proposals, later.rpn_nms, later.rpn_proposals) == (0.65, 4000, 0.7, 1000)


def test_paper_detectors_do_not_decay_batch_norm():
    detector = build_detector(TrainConfig(detector="paper_cascade", weight_decay=0.01))
    model = build(detector)
    import_module("cuts3d_cli.detector.runner")  # registers the wrapper
    with DefaultScope.overwrite_default_scope("mmdet"):
        optimizer = build_optim_wrapper(model, ConfigDict(detector["optim_wrapper"])).optimizer
    decay = {id(parameter): group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    for module in model.modules():
        norm = isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
        for parameter in module.parameters(recurse=False):
            assert decay[id(parameter)] == (0 if norm else 0.01)


def test_batch_norm_is_shared_by_all_processes_in_backbone_and_pyramid():
    with torch.device("meta"):
        modules = list(build(build_detector(TrainConfig(detector="paper_cascade"))).named_modules())
    norms = [
        (name.split(".")[0], type(module).__name__) for name, module in modules if "BatchNorm" in str(type(module))
    ]
    assert set(norms) == {("backbone", "SyncBatchNorm"), ("neck", "SyncBatchNorm")} and len(norms) == 53 + 8


def test_the_papers_first_weights_are_detectron2s():
    torch.manual_seed(0)
    model = build(build_detector(TrainConfig(detector="paper_mask_rcnn")))
    for part in (model.neck, model.roi_head):
        part.init_weights()
    boxes = model.roi_head.bbox_head
    expected = {
        model.roi_head.mask_head.conv_logits: 0.001,
        boxes.fc_cls: 0.01,
        boxes.fc_reg: 0.001,
        boxes.shared_fcs[0]: 12544**-0.5,
        boxes.shared_fcs[1]: 1024**-0.5,
        model.neck.lateral_convs[0].conv: 256**-0.5,
        model.neck.fpn_convs[1].conv: (9 * 256) ** -0.5,
    }
    for layer, deviation in expected.items():
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.1), layer
        assert layer.bias is None or (layer.bias == 0).all()


def test_unknown_names():
    with pytest.raises(ConfigError, match=r"embedded_cascade, .*, paper_mask_rcnn or a Python file.*'nope'"):
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
