"""Weights that a training starts from: fetched once, and told at once where they cannot be."""

import pytest

torch = pytest.importorskip("torch")

from cuts3d_cli.backends import init_weights  # noqa: E402
from cuts3d_cli.config import TrainConfig  # noqa: E402
from cuts3d_cli.errors import ModelError  # noqa: E402
from cuts3d_cli.training import train  # noqa: E402


@pytest.mark.parametrize("nothing", [None, "none", ""])
def test_nothing_to_start_from(nothing):
    assert init_weights.resolve_init(nothing) is None


def test_a_path_is_itself(tmp_path):
    assert init_weights.resolve_init(str(tmp_path / "w.pth")) == tmp_path / "w.pth"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """torch's hub with a cache in ``tmp_path``; fetching writes the URL."""
    fetched = []

    def fetch(url, path, **_):
        fetched.append(url)
        torch.save({"url": torch.tensor(len(url))}, path)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    monkeypatch.setattr(init_weights, "answers", lambda url: True)
    return fetched


@pytest.mark.parametrize("init", ["dino-resnet50", "https://example.org/weights/r50.pth?download=1"])
def test_weights_are_fetched_once(hub, init):
    path = init_weights.resolve_init(init)
    assert path.name in ("dino_resnet50_pretrain.pth", "r50.pth") and path.is_file()
    assert init_weights.resolve_init(init) == path
    assert hub == [init_weights.INIT.get(init, init)]


def test_a_download_that_breaks_is_one_line(hub, monkeypatch, tmp_path):
    def offline(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    config = TrainConfig(detector="paper_cascade", init="dino-resnet50")
    with pytest.raises(
        ModelError, match=r"dino-resnet50 .*dino_resnet50_pretrain.pth; found Name.*train\.init"
    ) as caught:
        train.run(tmp_path / "masks.json", tmp_path / "out", config=config, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_server_out_of_reach_is_told_before_the_detector_loads(hub, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(init_weights, "answers", lambda url: bool(asked.append(url)))
    config = TrainConfig(detector="paper_cascade", init="dino-resnet50")
    with pytest.raises(ModelError) as caught:
        train.run(tmp_path / "masks.json", tmp_path / "out", config=config, device="cpu")
    line = str(caught.value)
    assert "dino_resnet50_pretrain.pth, in " in line and str(tmp_path / "torch") in line and "\n" not in line
    assert "cuts3d models fetch dino-resnet50" in line and "train.init" in line
    assert len(asked) == 1 and not hub
