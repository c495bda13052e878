"""Loggers of a training: they take the points of the curve, and change nothing."""

import sys
from contextlib import contextmanager
from types import ModuleType

import pytest
import torch

from cuts3d_cli.config import TrainConfig
from cuts3d_cli.detector import checkpoints, loggers
from cuts3d_cli.detector.hooks import StateHook
from cuts3d_cli.errors import ConfigError
from cuts3d_cli.store.curve import read_curve
from cuts3d_cli.training import train


class Killed(Exception):
    pass


@contextmanager
def killed_after(iteration):
    """Let what is trained in the block stop after an iteration, once its state is saved."""
    save = StateHook.after_train_iter

    def stop(self, runner, batch_idx, **kwargs):
        save(self, runner, batch_idx, **kwargs)
        if batch_idx + 1 == iteration:
            raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(StateHook, "after_train_iter", stop)
        yield


@pytest.fixture
def fake_wandb(monkeypatch):
    """A module in wandb's place; returns what its runs were given, in order."""
    calls = []

    class Run:
        def __init__(self, options):
            self.id = options["id"] or "new"
            calls.append(("init", options))

        def log(self, values, step):
            calls.append(("log", step, values))

        def finish(self):
            calls.append(("finish",))

    module = ModuleType("wandb")
    module.init = lambda **options: Run(options)
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setattr(loggers, "find_spec", lambda name: name)
    return calls


def learn(labelled, out, config):
    train.run(labelled, out, config=config, seed=3, device="cpu", threads=1)
    return read_curve(out / "metrics.jsonl"), checkpoints.load_detector(out / "checkpoint.pth")["state_dict"]


def assert_same(first, second):
    assert first[0] == second[0]
    assert all(torch.equal(value, second[1][key]) for key, value in first[1].items())


def test_none_is_no_logger():
    assert TrainConfig(loggers=None).loggers == TrainConfig().loggers == []


def test_a_missing_package_is_one_line(labelled, micro, tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    config = micro.model_copy(update={"loggers": ["wandb"]})
    with pytest.raises(ConfigError, match=r"train\.loggers; expected .*wandb.*`pip install wandb`"):
        train.run(labelled, tmp_path / "out", config=config, device="cpu", threads=1)
    assert not (tmp_path / "out").exists()


def test_wandb_takes_the_curve_and_a_resumed_run_goes_on(labelled, micro, tmp_path, fake_wandb):
    alone = learn(labelled, tmp_path / "alone", micro)
    assert not fake_wandb
    config = micro.model_copy(update={"loggers": ["wandb"]})
    with killed_after(5):
        learn(labelled, tmp_path / "logged", config)
    assert fake_wandb[0][1]["id"] is None and fake_wandb[-1] == ("finish",)
    assert [call[1] for call in fake_wandb if call[0] == "log"] == [1, 2, 3, 4, 5]
    fake_wandb.clear()
    found = learn(labelled, tmp_path / "logged", config)
    assert fake_wandb[0][1]["id"] == "new" and fake_wandb[0][1]["resume"] == "allow"
    logged = {call[1]: call[2] for call in fake_wandb if call[0] == "log"}
    assert list(logged) == [5, 6] and logged[6]["train/loss"] == found[0][-1]["loss"]
    assert [point["iteration"] for point in found[0]] == [point["iteration"] for point in alone[0]]


def test_tensorboard_takes_the_curve_and_changes_nothing(labelled, micro, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    alone = learn(labelled, tmp_path / "alone", micro)
    logged = learn(labelled, tmp_path / "logged", micro.model_copy(update={"loggers": ["tensorboard"]}))
    assert_same(alone, logged)

    def scalars(folder):
        events = accumulator.EventAccumulator(str(folder / "tensorboard"), purge_orphaned_data=True).Reload()
        names = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
        return {tag: dict(points) for tag, points in names.items()}, {tag: len(points) for tag, points in names.items()}

    found, counts = scalars(tmp_path / "logged")
    assert set(found) == {f"train/{name}" for name in alone[0][0] if name != "iteration"}
    assert found["train/loss"] == {p["iteration"]: pytest.approx(p["loss"], rel=1e-6) for p in alone[0]}
    config = micro.model_copy(update={"loggers": ["tensorboard"]})
    with killed_after(5):
        learn(labelled, tmp_path / "resumed", config)
    learn(labelled, tmp_path / "resumed", config)
    again, times = scalars(tmp_path / "resumed")
    assert again["train/loss"].keys() == found["train/loss"].keys() and times == counts  # iteration 5 is there once
    other = learn(labelled, tmp_path / "resumed", config.model_copy(update={"lr": 0.003}))
    anew, times = scalars(tmp_path / "resumed")
    assert times == counts and anew["train/lr"][6] == pytest.approx(other[0][-1]["lr"])
