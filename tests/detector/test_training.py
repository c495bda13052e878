import errno
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cuts3d_cli.config import TrainConfig
from cuts3d_cli.detector import checkpoints
from cuts3d_cli.detector.hooks import StateHook
from cuts3d_cli.errors import Cuts3dError, DamagedError, ModelError, OutputError
from cuts3d_cli.store.curve import read_curve
from cuts3d_cli.training import train


class Killed(Exception):
    pass


@pytest.fixture
def kill_at(monkeypatch):
    """Make a training stop at an iteration as a kill would, with a half-written line in its curve."""

    def arm(iteration):
        save = StateHook.after_train_iter

        def stop(self, runner, batch_idx, **kwargs):
            save(self, runner, batch_idx, **kwargs)
            if batch_idx + 1 == iteration:
                with (self.path.parent / "metrics.jsonl").open("a") as file:
                    file.write('{"iteration": 9')
                raise Killed

        monkeypatch.setattr(StateHook, "after_train_iter", stop)

    yield arm
    monkeypatch.undo()


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"  # Z: ended, not yet collected
    except FileNotFoundError:
        return False


def run(labelled, out, config, **kwargs):
    train.run(labelled, out, config=config, seed=3, device="cpu", threads=1, **kwargs)
    return read_curve(out / "metrics.jsonl"), checkpoints.load_detector(out / "checkpoint.pth")


def assert_same(first, second):
    assert [point["iteration"] for point in first[0]] == [point["iteration"] for point in second[0]]
    for a, b in zip(first[0], second[0], strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-6)
    for key, value in first[1]["state_dict"].items():
        torch.testing.assert_close(value, second[1]["state_dict"][key], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_stopped_training_ends_as_the_undisturbed_one(labelled, micro, tmp_path, kill_at, monkeypatch, accumulate):
    micro = micro.model_copy(update={"accumulate": accumulate, "precise_bn": accumulate - 1})
    undisturbed = run(labelled, tmp_path / "a", micro)
    assert [point["iteration"] for point in undisturbed[0]] == list(range(1, 7))
    kill_at(5)  # the last state is of iteration 4
    with pytest.raises(Killed):
        run(labelled, tmp_path / "b", micro)
    monkeypatch.undo()
    assert not (tmp_path / "b/checkpoint.pth").exists() and not (tmp_path / "b/metrics.jsonl").exists()
    other_workers = micro.model_copy(update={"workers": 1, "checkpoint_every": 5})
    assert_same(undisturbed, run(labelled, tmp_path / "b", other_workers))


def test_other_settings_start_anew(labelled, micro, tmp_path, kill_at, monkeypatch):
    kill_at(3)
    with pytest.raises(Killed):
        run(labelled, tmp_path / "b", micro.model_copy(update={"lr": 0.02}))
    monkeypatch.undo()
    assert_same(run(labelled, tmp_path / "a", micro), run(labelled, tmp_path / "b", micro))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_a_killed_process_is_resumed(labelled, micro, tmp_path):
    config = micro.model_copy(update={"iterations": 200, "lr_steps": [], "checkpoint_every": 1, "workers": 1})
    code = (
        "import sys, json\nfrom cuts3d_cli.config import TrainConfig\nfrom cuts3d_cli.training import train\n"
        "train.run(sys.argv[1], sys.argv[2], config=TrainConfig(**json.loads(sys.argv[3])), device='cpu', threads=1)"
    )
    out = tmp_path / "killed"
    words = [sys.executable, "-c", code, str(labelled), str(out), config.model_dump_json()]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    state = out / "work/state.pth"
    try:
        while not state.exists():
            assert process.poll() is None, "the training ended before its first state"
            time.sleep(0.02)
        children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert children, "no process loads data"
    limit = time.monotonic() + 30
    while any(running(pid) for pid in children):  # a worker must not outlive its training
        assert time.monotonic() < limit, "a worker outlived its training"
        time.sleep(0.1)
    done = checkpoints.load(state)["iteration"]
    assert 1 <= done < 200
    # What the killed process left is a state of a 200-iteration training; go on with it for two more.
    from cuts3d_cli.detector.training import train as go_on
    from cuts3d_cli.training.train import provenance

    short = config.model_copy(update={"iterations": done + 2})
    from cuts3d_cli.detector.configs import build_detector

    detector = build_detector(short)
    meta = provenance(labelled, short, 0, None, detector)
    missing = go_on(
        detector, labelled, out / "work", out / "checkpoint.pth", config=short, seed=0, device=torch.device("cpu"),
        init=None, state=checkpoints.load(state), meta=meta,
    )  # fmt: skip
    assert [point["iteration"] for point in read_curve(out / "work/metrics.jsonl")] == list(range(1, done + 3))
    assert missing == checkpoints.load(out / "checkpoint.pth")["meta"]["missing"] == [] and "missing" not in meta


def test_a_finished_training_is_not_repeated(labelled, micro, tmp_path, monkeypatch):
    first = run(labelled, tmp_path / "a", micro)
    assert not (tmp_path / "a/work/state.pth").exists()
    changed = (tmp_path / "a/checkpoint.pth").stat().st_mtime_ns

    def again(*_args, **_kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr("cuts3d_cli.detector.training.train", again)
    assert_same(first, run(labelled, tmp_path / "a", micro))
    assert (tmp_path / "a/checkpoint.pth").stat().st_mtime_ns == changed
    for otherwise in ({"config": micro.model_copy(update={"lr": 0.02})}, {"config": micro, "resume": False}):
        with pytest.raises(AssertionError, match="trained again"):
            run(labelled, tmp_path / "a", **otherwise)


def test_checkpoint_says_how_it_was_made(labelled, micro, tmp_path):
    _, content = run(labelled, tmp_path / "a", micro)
    meta = content["meta"]
    assert json.loads(json.dumps(meta)) == meta
    assert meta["train"]["iterations"] == 6 and meta["seed"] == 3 and meta["package"]
    assert json.loads((tmp_path / "a/config.json").read_text())["fingerprint"] == meta["fingerprint"]


def test_learning_rates_follow_the_section(labelled, micro, tmp_path):
    curve, _ = run(labelled, tmp_path / "a", micro)
    rates = [point["lr"] for point in curve]
    assert rates[0] < rates[2] == pytest.approx(0.01)  # warm-up of 2
    assert rates[-1] == pytest.approx(0.001)  # step at 5
    assert all(math.isfinite(value) for point in curve for value in point.values())


def test_another_training_starts_from_its_weights(labelled, micro, tmp_path):
    _, first = run(labelled, tmp_path / "a", micro)
    still = micro.model_copy(
        update={"iterations": 1, "lr": 1e-12, "lr_steps": [], "warmup_iterations": 0, "momentum": 0.0}
    )
    _, second = run(labelled, tmp_path / "b", still, init=tmp_path / "a/checkpoint.pth")
    key = "backbone.layer1.0.conv1.weight"
    torch.testing.assert_close(second["state_dict"][key], first["state_dict"][key])


def test_a_diverging_loss_stops(labelled, micro, tmp_path):
    with pytest.raises(Cuts3dError, match=r"diverged at iteration \d.*lower train.lr"):
        run(labelled, tmp_path / "a", micro.model_copy(update={"lr": 1e30, "warmup_iterations": 0}))
    assert not (tmp_path / "a/checkpoint.pth").exists()


class TestStart:
    def test_the_paper_needs_weights(self, labelled, tmp_path):
        with pytest.raises(ModelError, match=r"train.init is not set.*dino-resnet50.*embedded_cascade"):
            run(labelled, tmp_path / "a", TrainConfig(detector="paper_cascade"))

    def test_a_missing_file(self, labelled, micro, tmp_path):
        with pytest.raises(ModelError, match=r"no weights file .*gone.pth"):
            run(labelled, tmp_path / "a", micro, init=tmp_path / "gone.pth")

    def test_weights_of_another_detector(self, labelled, micro, tmp_path):
        path = tmp_path / "other.pth"
        torch.save({"conv1.weight": torch.zeros(3)}, path)
        with pytest.raises(ModelError, match=r"does not fit ResNet.*missing"):
            run(labelled, tmp_path / "a", micro, init=path)

    def test_a_file_that_is_no_weights(self, labelled, micro, tmp_path):
        path = tmp_path / "text.pth"
        path.write_text("hello")
        with pytest.raises(ModelError, match=r"cannot be read.*tensors only"):
            run(labelled, tmp_path / "a", micro, init=path)

    def test_objects_are_never_unpickled(self, tmp_path):
        path = tmp_path / "evil.pth"
        torch.save({"state": TrainConfig()}, path)
        with pytest.raises(ModelError, match="cannot be read"):
            checkpoints.load(path)

    @pytest.mark.parametrize("wrap", ["", "module.", "backbone."])
    def test_backbone_weights_lose_wrapper_and_classifier(self, wrap):
        inner = {f"{wrap}conv1.weight": torch.ones(1), f"{wrap}fc.weight": torch.ones(1)}
        found = checkpoints.backbone_weights({"epoch": 3, "state_dict": inner}, "x")
        assert list(found) == ["conv1.weight"]

    def test_a_backbone_of_torchvision_loads(self):
        from mmdet.models.backbones import ResNet
        from torchvision.models import resnet18

        weights = resnet18(weights=None).state_dict()
        model = torch.nn.Module()
        model.backbone = ResNet(18)
        checkpoints.fill(model.backbone, checkpoints.backbone_weights(weights, "x"), "x")
        torch.testing.assert_close(model.backbone.layer2[0].conv1.weight.data, weights["layer2.0.conv1.weight"])


class TestDamage:
    @pytest.fixture
    def interrupted(self, labelled, micro, tmp_path, kill_at, monkeypatch):
        """Folder of a training that was killed after its first state was saved."""
        kill_at(2)
        with pytest.raises(Killed):
            run(labelled, tmp_path / "a", micro)
        monkeypatch.undo()
        return tmp_path / "a"

    @pytest.mark.parametrize("harm", ["flipped", "cut", "garbage", "other"])
    def test_a_damaged_state_names_the_option_that_starts_over(self, interrupted, labelled, micro, harm):
        state = interrupted / "work/state.pth"
        content = state.read_bytes()
        if harm == "other":
            checkpoints.save(state, {"fingerprint": "f"})
        else:
            middle = len(content) // 2
            flipped = content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]
            state.write_bytes({"flipped": flipped, "cut": content[:middle], "garbage": b"garbage"}[harm])
        told = r"training state .*work/state.pth is damaged, so .*; found .* -> start over with --fresh, or delete"
        with pytest.raises(ModelError, match=told) as caught:
            run(labelled, interrupted, micro)
        assert "\n" not in str(caught.value)
        curve, _ = run(labelled, interrupted, micro, resume=False)
        assert [point["iteration"] for point in curve] == list(range(1, 7))

    def test_a_damaged_checkpoint_is_refused_and_the_training_repeated(self, labelled, micro, tmp_path):
        run(labelled, tmp_path / "a", micro)
        path = tmp_path / "a/checkpoint.pth"
        content = path.read_bytes()
        path.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
        with pytest.raises(DamagedError, match=r"checkpoint.pth is damaged; found .*CRC-32.* -> make or fetch"):
            checkpoints.load_detector(path)
        run(labelled, tmp_path / "a", micro)
        assert path.read_bytes() == content

    def test_a_checkpoint_that_is_cut_off_is_repeated(self, labelled, micro, tmp_path):
        out = tmp_path / "out"
        run(labelled, out, micro)
        whole = (out / "checkpoint.pth").read_bytes()
        (out / "checkpoint.pth").write_bytes(whole[:-100])
        with pytest.raises(DamagedError, match=r"checkpoint.pth is damaged; found .*no end of the file"):
            checkpoints.load_detector(out / "checkpoint.pth")
        run(labelled, out, micro)
        assert len((out / "checkpoint.pth").read_bytes()) == len(whole)

    def test_a_full_disk_names_the_folder_where_a_library_names_no_file(self, labelled, micro, tmp_path, monkeypatch):
        def full(*_args, **_kwargs):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("mmengine.config.Config.dump", full)
        with pytest.raises(OutputError, match=r"cannot write .*out/work: the disk is full"):
            run(labelled, tmp_path / "out", micro)

    def test_no_flipped_bit_of_a_checkpoint_changes_it(self, tmp_path):
        tensors = {f"layer{number}.weight": torch.randn(8, 16) for number in range(3)}
        written = {"state_dict": tensors, "meta": {"detector": "x", "fingerprint": "abc", "seed": 3}}
        path = tmp_path / "a.pth"
        checkpoints.save(path, written)
        content = path.read_bytes()
        for bit in random.Random(0).sample(range(8 * len(content)), 300):
            path.write_bytes(content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :])
            try:
                found = checkpoints.load(path)
            except Cuts3dError as error:
                assert "\n" not in str(error)
                continue
            assert found["meta"] == written["meta"] and found["state_dict"].keys() == tensors.keys()
            assert all(torch.equal(found["state_dict"][name], tensor) for name, tensor in tensors.items())

    def test_a_checkpoint_of_others_may_have_no_checksums(self, tmp_path):
        torch.serialization.set_crc32_options(False)
        try:
            torch.save({"model": {"a": torch.ones(3)}}, tmp_path / "others.pth")
        finally:
            torch.serialization.set_crc32_options(True)
        torch.save({"model": {"a": torch.ones(3)}}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
        for name in ("others.pth", "old.pth"):
            assert torch.equal(checkpoints.load(tmp_path / name)["model"]["a"], torch.ones(3))

    def test_a_full_disk_names_the_file(self, tmp_path, monkeypatch):
        def full(content, file):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(torch, "save", full)
        with pytest.raises(OutputError, match=r"cannot write .*a.pth: the disk is full"):
            checkpoints.save(tmp_path / "a.pth", {})
        assert not list(tmp_path.iterdir())


def test_steps_past_the_end_are_said_to_do_nothing(labelled, micro, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("cuts3d_cli.log.logger.propagate", True)
    curve, _ = run(labelled, tmp_path / "a", micro.model_copy(update={"iterations": 3, "lr_steps": [2, 3]}))
    assert "lr_steps [3] are after the last iteration 3" in caplog.text
    assert curve[-1]["lr"] == pytest.approx(0.001)
