"""A step of the optimiser: parts of a batch, clipping, half precision, and batch norm's statistics afterwards."""

import logging

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from torch import nn

from cuts3d_cli.config import SelfTrainConfig, TrainConfig, resolve
from cuts3d_cli.detector import checkpoints, training
from cuts3d_cli.detector.configs import build_detector
from cuts3d_cli.detector.precise_bn import update_statistics
from cuts3d_cli.detector.runner import TensorClipAmpOptimWrapper, TensorClipOptimWrapper, split_batch, train_step
from cuts3d_cli.errors import ConfigError
from cuts3d_cli.store.curve import read_curve
from cuts3d_cli.training import selftrain, train


class Line(BaseModel):
    """Mean squared error of a small network, optionally with batch norm."""

    def __init__(self, norm=False):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 4), *([nn.BatchNorm1d(4)] if norm else []), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, inputs, data_samples, mode="loss"):
        found = self.net(torch.stack(inputs))[:, 0]
        return {"loss_fit": ((found - torch.stack(data_samples)) ** 2).mean()}


def batch(n=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 3, generator=generator) * 3 + 1
    return {"inputs": list(inputs), "data_samples": list(inputs.sum(dim=1))}


def wrapper(model, lr=1.0, **kwargs):
    return TensorClipOptimWrapper(torch.optim.SGD(model.parameters(), lr=lr), **kwargs)


def moved(parts, norm=False):
    """Each parameter's change in one step of length 1, which is its negative gradient, and the losses."""
    model = Line(norm)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    losses = train_step(model, batch(), wrapper(model), parts)
    changes = [after.detach() - old for after, old in zip(model.parameters(), before, strict=True)]
    return changes, {key: value.item() for key, value in losses.items()}


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_the_gradient_of_parts_is_that_of_the_whole(parts):
    (whole, losses), (split, again) = moved(1), moved(parts)
    for a, b in zip(whole, split, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert losses == pytest.approx(again, rel=1e-5) and losses["loss"] == losses["loss_fit"] > 0


def test_with_batch_norm_it_is_not():
    assert not torch.allclose(moved(1, norm=True)[0][0], moved(2, norm=True)[0][0], rtol=1e-3)


def test_parts_keep_order_and_length():
    parts = list(split_batch({"inputs": [1, 2, 3, 4], "data_samples": list("abcd")}, 2))
    assert parts == [{"inputs": [1, 2], "data_samples": ["a", "b"]}, {"inputs": [3, 4], "data_samples": ["c", "d"]}]


def test_every_tensor_is_clipped_by_itself():
    model = Line()
    optimizer = wrapper(model, lr=0.0, clip_grad={"max_norm": 0.01})
    gradients = []
    optimizer.optimizer.register_step_pre_hook(
        lambda *_: gradients.extend(parameter.grad.norm().item() for parameter in model.parameters())
    )
    train_step(model, batch(), optimizer)
    assert gradients == pytest.approx([0.01] * 4, rel=1e-3)  # all together they would share 0.01


@pytest.fixture
def half_precision(monkeypatch):
    """Half precision on this CPU, where it is bfloat16."""
    module = "mmengine.optim.optimizer.amp_optimizer_wrapper"
    monkeypatch.setattr(f"{module}.is_cuda_available", lambda: True)
    monkeypatch.setattr(f"{module}.GradScaler", lambda **kwargs: torch.amp.GradScaler("cpu", **kwargs))


@pytest.mark.parametrize("values", [{}, {"loss": "cuvler", "droploss_rule": "cutler"}])
def test_a_detector_trains_in_half_precision(labelled, micro, half_precision, values):
    config = micro.model_copy(update={"iterations": 1, **values})
    detector = build_detector(config)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(ConfigDict(detector["model"])).train()
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    optimizer = TensorClipAmpOptimWrapper(
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1), clip_grad={"max_norm": 1.0}
    )
    stream = training.training_stream(detector, labelled, config, 0)
    for samples in training.data_loader(stream, config, 0):
        assert train_step(model, samples, optimizer)["loss"].isfinite()
    assert all(value.isfinite().all() for value in model.parameters())
    assert any(not torch.equal(value, before[key]) for key, value in model.named_parameters())


def test_half_precision_unscales_before_it_clips(half_precision):
    found = {}
    for kind, values in ((TensorClipOptimWrapper, {}), (TensorClipAmpOptimWrapper, {"loss_scale": 1024.0})):
        model = Line()
        optimizer = kind(optimizer=torch.optim.SGD(model.parameters(), lr=0.0), clip_grad={"max_norm": 5.0}, **values)
        gradients = found.setdefault(kind, [])
        optimizer.optimizer.register_step_pre_hook(
            lambda *_, model=model, gradients=gradients: gradients.extend(p.grad.clone() for p in model.parameters())
        )
        train_step(model, batch(), optimizer, parts=2)
    full, half = found.values()
    for a, b in zip(full, half, strict=True):  # computed in bfloat16 here
        assert b.norm() <= 5.0 + 1e-3
        torch.testing.assert_close(a, b, rtol=0.1, atol=0.1)


def test_half_precision_is_for_gpus(micro, caplog, monkeypatch):
    monkeypatch.setattr("cuts3d_cli.log.logger.propagate", True)
    caplog.set_level(logging.INFO)
    config = micro.model_copy(update={"amp": True})
    detector = build_detector(config)
    assert training.optimizer(detector, config, torch.device("cpu"))["type"] == "TensorClipOptimWrapper"
    assert "amp has no effect on cpu" in caplog.text
    assert training.optimizer(detector, config, torch.device("cuda"))["type"] == "TensorClipAmpOptimWrapper"
    assert training.optimizer(detector, micro, torch.device("cuda"))["type"] == "TensorClipOptimWrapper"


class TestLearningRate:
    def test_it_follows_the_batch_size(self):
        assert TrainConfig(lr=0.01, batch_size=8).used_lr == 0.01
        assert TrainConfig(lr=0.01, batch_size=8, lr_batch=4).used_lr == pytest.approx(0.02)
        assert TrainConfig(lr=0.01, batch_size=1, lr_batch=4, accumulate=1).used_lr == pytest.approx(0.0025)
        built = build_detector(TrainConfig(lr=0.01, batch_size=2, lr_batch=4))
        assert built["optim_wrapper"]["optimizer"]["lr"] == pytest.approx(0.005)

    @pytest.mark.parametrize("preset", ["paper", "paper-dino"])
    def test_the_papers_own_batch_is_not_scaled(self, preset):
        config = resolve({"preset": preset})
        assert (config.train.batch_size, config.train.used_lr) == (4, 0.01)
        one = selftrain.round_config(config.selftrain, config.train)
        assert (one.batch_size, one.used_lr, one.lr_batch) == (8, 0.005, 8)
        assert config.train.init == "dino-resnet50"
        assert config.train.amp and config.train.precise_bn == 200 and config.selftrain.target_iterations == 14000

    def test_a_round_has_its_own_rule(self):
        one = selftrain.round_config(SelfTrainConfig(lr=0.1, batch_size=4), TrainConfig(lr_batch=16, accumulate=4))
        assert one.used_lr == 0.1 and one.accumulate == 1


class TestStatistics:
    def test_they_are_those_of_all_batches_together(self):
        model, batches = Line(norm=True), [batch(seed=seed) for seed in range(5)]
        layer = model.net[1]
        before = {key: value.clone() for key, value in model.state_dict().items() if "running" not in key}
        assert update_statistics(model.train(), batches) == 1
        with torch.no_grad():
            values = [model.net[0](torch.stack(b["inputs"])) for b in batches]
        torch.testing.assert_close(layer.running_mean, torch.cat(values).mean(dim=0))
        # torch's running variance is unbiased within a batch
        means = torch.stack([value.mean(dim=0) for value in values])
        variance = torch.stack([value.var(dim=0) for value in values]).mean(dim=0) + means.var(dim=0, unbiased=False)
        torch.testing.assert_close(layer.running_var, variance)
        assert layer.momentum == 0.1
        for key, value in model.state_dict().items():
            if "running" not in key and "num_batches" not in key:
                torch.testing.assert_close(value, before[key])

    def test_frozen_layers_keep_theirs(self):
        model = Line(norm=True).eval()
        assert update_statistics(model, [batch()]) == 0
        assert (model.net[1].running_mean == 0).all()

    def test_only_they_change_in_a_training(self, labelled, micro, tmp_path):
        states = {}
        for name, count in (("without", 0), ("with", 2)):
            train.run(
                labelled,
                tmp_path / name,
                config=micro.model_copy(update={"precise_bn": count}),
                device="cpu",
                threads=1,
            )
            states[name] = checkpoints.load_detector(tmp_path / name / "checkpoint.pth")["state_dict"]
        assert read_curve(tmp_path / "with/metrics.jsonl") == read_curve(tmp_path / "without/metrics.jsonl")
        changed = {key for key, value in states["with"].items() if not torch.equal(value, states["without"][key])}
        assert changed and all("running" in key or "num_batches" in key for key in changed)


@pytest.mark.parametrize(("size", "parts"), [(4, 3), (2, 4)])
def test_a_batch_that_cannot_be_shared_out(labelled, micro, tmp_path, size, parts):
    config = micro.model_copy(update={"batch_size": size, "accumulate": parts})
    with pytest.raises(ConfigError, match=f"batch_size; expected a multiple of 1 processes x {parts} parts"):
        train.run(labelled, tmp_path / "a", config=config, device="cpu", threads=1)
