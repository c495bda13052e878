"""Devices and weight files of the torch backends."""

import pytest

torch = pytest.importorskip("torch")

from cuts3d_cli.backends.model_weights import download  # noqa: E402
from cuts3d_cli.backends.torch_tools import read_weights, resolve_device  # noqa: E402
from cuts3d_cli.errors import ConfigError, DamagedError, ModelError  # noqa: E402


def test_devices():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for wrong in ("gpu", "cuda:99", "cpu:x"):
        with pytest.raises(ConfigError, match="config key device"):
            resolve_device(wrong)


def test_weights_round_trip(tmp_path):
    from safetensors.torch import save_file

    state = {"a": torch.arange(3.0)}
    torch.save(state, tmp_path / "w.pth")
    save_file(state, tmp_path / "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        assert torch.equal(read_weights(tmp_path / name)["a"], state["a"])


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_weights_file_cannot_run_code(tmp_path, capsys):
    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match="more than tensors"):
        read_weights(tmp_path / "evil.pth")
    assert "code ran" not in capsys.readouterr().out


def test_wrong_files_give_one_line(tmp_path):
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "text.safetensors").write_text("no weights")
    (tmp_path / "empty.pth").touch()
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    torch.save({"a": torch.zeros(1000)}, tmp_path / "half.pth")
    whole = (tmp_path / "half.pth").read_bytes()
    (tmp_path / "half.pth").write_bytes(whole[: len(whole) // 2])
    for name in ("text.pth", "text.safetensors", "empty.pth", "tensor.pth", "half.pth", "none.pth", "."):
        with pytest.raises(DamagedError if name in ("empty.pth", "half.pth") else ModelError) as caught:
            read_weights(tmp_path / name)
        assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_failed_download_says_what_to_do():
    with pytest.raises(ModelError) as caught, download("model-x", "the hub (a/b)", "features.weights"):
        raise OSError("no route\nto host")
    line = str(caught.value)
    assert "model-x" in line and "a/b" in line and "no route" in line and "features.weights" in line
    assert "\n" not in line and "to host" not in line
    with pytest.raises(ModelError, match="as it was"), download("x", "y", "z"):
        raise ModelError("as it was")
