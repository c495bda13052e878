"""Weights to start from: files, URLs, names, and files that must not be read."""

import pickle

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope

from cuts3d_cli.config import TrainConfig
from cuts3d_cli.detector import checkpoints, d2_checkpoint
from cuts3d_cli.detector.configs import build_detector
from cuts3d_cli.errors import DamagedError, ModelError


def detector(name, device="cpu"):
    config = ConfigDict(build_detector(TrainConfig(detector=name))["model"])
    with torch.device(device), DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(config)


def dino_resnet50():
    """Names and shapes of DINO's ResNet-50, whose classifier was taken off before it was saved."""
    from torchvision.models import resnet50

    with torch.device("meta"):
        state = resnet50().state_dict()
    return {
        key: torch.tensor(float(number)).expand(value.shape)
        for number, (key, value) in enumerate(state.items())
        if not key.startswith("fc.") and not key.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"state_dict": {f"module.{k}": v for k, v in w.items()}}])
def test_the_whole_backbone_comes_from_dino(tmp_path, wrap):
    weights = dino_resnet50()
    assert len(weights) == 265  # 53 convolutions and four tensors of each of their batch norms
    torch.save(wrap(weights), tmp_path / "dino.pth")
    model = detector("paper_cascade")
    assert checkpoints.start_from(model, tmp_path / "dino.pth") == "backbone"
    own = model.backbone.state_dict()
    assert {key for key in own if not key.endswith("num_batches_tracked")} == weights.keys()
    for key, value in weights.items():
        assert torch.equal(own[key], value), key


def test_a_backbone_with_a_gap_is_refused(tmp_path):
    weights = dino_resnet50()
    del weights["layer3.4.bn2.running_var"]
    torch.save(weights, tmp_path / "dino.pth")
    with pytest.raises(ModelError, match=r"1 of \d+ tensors missing; found first layer3.4.bn2.running_var"):
        checkpoints.start_from(detector("paper_cascade"), tmp_path / "dino.pth")


def test_a_training_starts_from_the_released_detector(tmp_path):
    shapes = d2_checkpoint.expected_shapes("paper_cascade")
    theirs = {
        d2_checkpoint.detectron2_name(key): torch.tensor(float(number)).expand(shape)
        for number, (key, shape) in enumerate(shapes.items())
        if not key.endswith("num_batches_tracked")
    }
    torch.save({"model": theirs}, tmp_path / "cutler.pth")
    model = detector("paper_cascade")
    assert checkpoints.start_from(model, tmp_path / "cutler.pth") == "detector"
    own = model.state_dict()
    for key in ("backbone.layer2.1.bn3.bias", "neck.fpn_convs.2.bn.weight", "roi_head.bbox_head.1.fc_reg.bias"):
        assert torch.equal(own[key], theirs[d2_checkpoint.detectron2_name(key)])


def test_pickles_are_refused_unread(tmp_path):
    path = tmp_path / "dino_RN50_pretrain_d2_format.pkl"
    path.write_bytes(pickle.dumps({"model": {"conv1.weight": np.zeros(3, np.float32)}}))
    with pytest.raises(
        ModelError, match=r"is a pickle.*where you trust it.*pickle\.load\(open\('.*\.pkl', 'rb'\)\)"
    ) as caught:
        checkpoints.load_detector(path)
    command = str(caught.value).split('python -c "')[1].rstrip('"')
    exec(command.replace("'weights.pth'", repr(str(tmp_path / "weights.pth"))), {})  # the hint does what it says
    assert torch.equal(checkpoints.load(tmp_path / "weights.pth")["model"]["conv1.weight"], torch.zeros(3))


def test_objects_in_a_torch_file_are_not_read(tmp_path):
    path = tmp_path / "theirs.pth"
    torch.save({"model": {"a.weight": torch.ones(2)}, "scheduler": np.float64(1.0)}, path)
    with pytest.raises(ModelError, match=r"cannot be read.*where you trust it.*weights_only=False"):
        checkpoints.load(path)


@pytest.mark.parametrize("content", [b'{"a": 1}', b"<html>", b""])
def test_what_is_no_weights_file_gets_no_advice_to_trust_it(tmp_path, content):
    (tmp_path / "page.pth").write_bytes(content)
    with pytest.raises(ModelError if content else DamagedError, match=r"cannot be read|an empty file") as caught:
        checkpoints.load(tmp_path / "page.pth")
    assert "trust" not in str(caught.value) and "arbitrary code" not in str(caught.value)


def test_other_weights_are_no_detector(tmp_path):
    torch.save(dino_resnet50(), tmp_path / "dino.pth")
    with pytest.raises(ModelError, match="expected a checkpoint written by `cuts3d train`, or one of CutLER's"):
        checkpoints.load_detector(tmp_path / "dino.pth")


def test_a_disk_that_is_full_says_so(tmp_path, monkeypatch):
    """torch ends with its own error about the archive, whatever the disk said."""
    import errno
    import io

    from cuts3d_cli.errors import OutputError

    class Full(io.FileIO):
        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.open", lambda path, mode: Full(path, mode))
    with pytest.raises(OutputError, match="the disk is full"):
        checkpoints.save(tmp_path / "c.pth", {"model": {"w": torch.zeros(1000)}})
