"""ViT keys: the same numbers as attention itself uses, from files in every layout they come in."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from cuts3d_cli.backends import features_vit as fv  # noqa: E402
from cuts3d_cli.backends.base import feature_backend  # noqa: E402
from cuts3d_cli.config import FeaturesConfig  # noqa: E402
from cuts3d_cli.errors import ConfigError, ModelError  # noqa: E402

SIZE, PATCH = 64, 16
GRID = SIZE // PATCH


@pytest.fixture(scope="module")
def model():
    """The ViT-S/16 of DINO with random weights (the biases too, so that none hides)."""
    torch.manual_seed(0)
    vit = fv.build(fv.ARCHITECTURES["dino-vits16"], "dino-vits16", pretrained=False)
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return vit.eval()


@pytest.fixture(scope="module")
def working():
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def save(tmp_path, content, name="w.pth"):
    torch.save(content, tmp_path / name)
    return str(tmp_path / name)


def vit_config(weights, backend="dino-vits16", **changes):
    return FeaturesConfig(
        **({"backend": backend, "image_size": SIZE, "patch_size": PATCH, "weights": weights} | changes)
    )


@torch.no_grad()
def keys_by_hand(model, working):
    """Keys of the last block, from the formulas of a pre-norm ViT and the model's parameters alone."""
    state = model.state_dict()
    image = torch.from_numpy(working).permute(2, 0, 1)[None].double() / 255
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (fv.IMAGENET_MEAN, fv.IMAGENET_STD))
    model = model.double()
    x = torch.nn.functional.conv2d(
        (image - mean) / std,
        state["patch_embed.proj.weight"].double(),
        state["patch_embed.proj.bias"].double(),
        stride=PATCH,
    )
    position = state["pos_embed"].double()
    patches = position[:, 1:].unflatten(1, (14, 14)).permute(0, 3, 1, 2)
    patches = torch.nn.functional.interpolate(patches, (GRID, GRID), mode="bicubic", antialias=True)
    x = x.flatten(2).transpose(1, 2) + patches.flatten(2).transpose(1, 2)
    x = torch.cat([(state["cls_token"].double() + position[:, :1]), x], dim=1)
    for block in model.blocks[:-1]:
        x = block(x)
    last = model.blocks[-1]
    channels = x.shape[-1]
    weight, bias = last.attn.qkv.weight[channels : 2 * channels], last.attn.qkv.bias[channels : 2 * channels]
    keys = last.norm1(x) @ weight.T + bias
    model.float()
    return keys[0, 1:].T.reshape(channels, GRID, GRID).numpy()


def test_keys_equal_a_direct_computation(model, working):
    features = fv.VitKeys(model, "test", torch.device("cpu")).extract(working)
    assert features.shape == (384, GRID, GRID)
    assert features.dtype == np.float32
    expected = keys_by_hand(model, working)
    assert np.abs(features - expected).max() < 1e-3 * np.abs(expected).max()


def test_attention_uses_these_keys(model, working, monkeypatch):
    """The last block's attention probabilities follow from the keys: they are neither queries nor values."""
    block = model.blocks[-1]
    seen = {}
    hook = block.attn.register_forward_hook(lambda _m, args, out: seen.update(x=args[0], out=out))
    features = fv.VitKeys(model, "test", torch.device("cpu")).extract(working)
    hook.remove()
    heads, channels = block.attn.num_heads, features.shape[0]
    with torch.no_grad():
        q, k, v = block.attn.qkv(seen["x"])[0].chunk(3, dim=-1)
        k = torch.cat([k[:1], torch.from_numpy(features).flatten(1).T])  # ours, and the class token's
        q, k, v = (t.unflatten(1, (heads, channels // heads)).transpose(0, 1) for t in (q, k, v))
        mixed = (q @ k.transpose(1, 2) / (channels // heads) ** 0.5).softmax(-1) @ v
        out = block.attn.proj(mixed.transpose(0, 1).flatten(1))
    assert torch.allclose(out, seen["out"][0], atol=1e-4)


def test_rows_and_columns_are_not_exchanged(model):
    flat = np.full((SIZE, SIZE, 3), 128, np.uint8)
    marked = flat.copy()
    marked[PATCH : 2 * PATCH, 3 * PATCH :] = 255  # row 1, column 3
    backend = fv.VitKeys(model, "test", torch.device("cpu"))
    change = np.linalg.norm(backend.extract(marked) - backend.extract(flat), axis=0)
    assert np.unravel_index(change.argmax(), change.shape) == (1, 3)


def test_every_layout_of_a_checkpoint_gives_the_same_features(tmp_path, model, working):
    plain = model.state_dict()
    head = {"head.mlp.0.weight": torch.zeros(2, 2)}
    heads = {f"module.net.{h}.weight": torch.zeros(2) for h in ("head1", "head2", "head2d_proj", "head2d_pred")}
    layouts = {
        "plain": plain,
        "dino": {"teacher": {f"backbone.{k}": v for k, v in plain.items()} | head, "epoch": 3},
        "parallel": {"state_dict": {f"module.{k}": v for k, v in plain.items()}},
    }
    expected = fv.VitKeys(model, "test", torch.device("cpu")).extract(working)
    for name, content in layouts.items():
        backend = feature_backend(vit_config(save(tmp_path, content, f"{name}.pth")), device="cpu")
        assert np.array_equal(backend.extract(working), expected), name
        assert "keys" in backend.description
    diffncuts = {"model": {f"module.net.{k}": v for k, v in plain.items()} | heads, "optimizer": {"lr": 0.1}}
    backend = feature_backend(vit_config(save(tmp_path, diffncuts, "d.pth"), backend="diffncuts"), device="cpu")
    assert np.array_equal(backend.extract(working), expected)


def test_wrong_weights_are_refused_in_one_line(tmp_path, model):
    plain = dict(model.state_dict())
    lacking = {k: v for k, v in plain.items() if "blocks.11" not in k}
    other = dict(plain, **{"patch_embed.proj.weight": torch.zeros(384, 3, 8, 8)})
    wrong = {
        "it lacks blocks.11": lacking,
        "has unknown blocks.12.norm1.weight": dict(plain, **{"blocks.12.norm1.weight": torch.zeros(384)}),
        "expected shape": other,
        "no ViT's": {"conv1.weight": torch.zeros(2)},
    }
    for k, (reason, content) in enumerate(wrong.items()):
        with pytest.raises(ModelError) as caught:
            feature_backend(vit_config(save(tmp_path, content, f"{k}.pth")), device="cpu")
        assert reason in str(caught.value) and f"{k}.pth" in str(caught.value) and "\n" not in str(caught.value)


def test_patch_size_must_be_the_models(tmp_path, model):
    path = save(tmp_path, dict(model.state_dict()))
    for backend in ("dino-vits16", "diffncuts"):
        with pytest.raises(ConfigError, match=r"features\.patch_size"):
            feature_backend(vit_config(path, backend=backend, patch_size=8), device="cpu")


def test_diffncuts_needs_a_file_and_a_known_patch_size(tmp_path, model):
    with pytest.raises(ModelError, match=r"features\.weights"):
        feature_backend(vit_config(None, backend="diffncuts"), device="cpu")
    state = dict(model.state_dict(), **{"patch_embed.proj.weight": torch.zeros(384, 3, 14, 14)})
    with pytest.raises(ModelError, match="14 px"):
        feature_backend(vit_config(save(tmp_path, state), backend="diffncuts"), device="cpu")


@pytest.mark.parametrize("name", list(fv.ARCHITECTURES))
def test_the_table_agrees_with_timm(name):
    architecture = fv.ARCHITECTURES[name]
    assert f"{architecture.timm_name}.{architecture.tag}" in timm.list_pretrained(f"{architecture.timm_name}*")
    with torch.device("meta"):
        vit = fv.build(architecture, name, pretrained=False)
    assert vit.patch_embed.patch_size == (architecture.patch_size,) * 2
    assert vit.embed_dim == architecture.channels
    assert vit.num_prefix_tokens == 1


def test_a_hub_out_of_reach_is_one_line(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nonexistent")
    with pytest.raises(ModelError) as caught:
        feature_backend(vit_config(None), device="cpu")
    line = str(caught.value)
    assert "vit_small_patch16_224.dino" in line and "features.weights" in line and "\n" not in line
