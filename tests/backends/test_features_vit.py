"""ViT keys: the same numbers as attention itself uses, from files in every layout they come in."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from cuts3d_cli.backends import features_vit as fv  # noqa: E402
from cuts3d_cli.backends import network, vit  # noqa: E402
from cuts3d_cli.backends.base import feature_backend  # noqa: E402
from cuts3d_cli.backends.depth_embedded import fingerprint  # noqa: E402
from cuts3d_cli.config import FeaturesConfig  # noqa: E402
from cuts3d_cli.errors import ConfigError, ModelError  # noqa: E402

SIZE, PATCH = 64, 16
GRID = SIZE // PATCH


@pytest.fixture(scope="module")
def model():
    """The ViT-S/16 of DINO with random weights (the biases too, so that none hides)."""
    torch.manual_seed(0)
    return randomised(vit.build(vit.ARCHITECTURES["dino-vits16"]))


def randomised(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model.eval()


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


def features_of(model, **settings):
    return fv.VitFeatures(model, "test", torch.device("cpu"), **settings)


@torch.no_grad()
def keys_by_hand(model, working):
    """Keys of the last block, from the formulas of a pre-norm ViT and the model's parameters alone."""
    state = model.state_dict()
    image = torch.from_numpy(working).permute(2, 0, 1)[None].double() / 255
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (vit.IMAGENET_MEAN, vit.IMAGENET_STD))
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
    features = features_of(model).extract(working)
    assert features.shape == (384, GRID, GRID)
    assert features.dtype == np.float32
    expected = keys_by_hand(model, working)
    assert np.abs(features - expected).max() < 1e-3 * np.abs(expected).max()


def test_attention_uses_these_keys(model, working, monkeypatch):
    """The last block's attention probabilities follow from the keys: they are neither queries nor values."""
    block = model.blocks[-1]
    seen = {}
    hook = block.attn.register_forward_hook(lambda _m, args, out: seen.update(x=args[0], out=out))
    features = features_of(model).extract(working)
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
    backend = features_of(model)
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
    expected = features_of(model).extract(working)
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
        "not of a ViT": {"conv1.weight": torch.zeros(2)},
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


@pytest.mark.parametrize("name", list(vit.ARCHITECTURES))
def test_the_table_agrees_with_timm(name):
    architecture = vit.ARCHITECTURES[name]
    assert architecture.hub_name in timm.list_pretrained(f"{architecture.timm_name}*")
    with torch.device("meta"):
        model = vit.build(architecture)
    patch_size = model.patch_embed.patch_size
    assert patch_size == (architecture.patch_size,) * 2
    assert model.embed_dim == architecture.channels
    assert model.num_prefix_tokens == architecture.prefix_tokens
    defaults = FeaturesConfig(backend=name)
    assert defaults.patch_size == architecture.patch_size and defaults.grid in (30, 60)


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_out_of_reach_is_one_line_at_once(monkeypatch, tmp_path, offline):
    monkeypatch.setenv("CUTS3D_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nonexistent")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    vit.forget()
    with pytest.raises(ModelError) as caught:
        feature_backend(vit_config(None), device="cpu")
    line = str(caught.value)
    assert "vit_small_patch16_224.dino" in line and "features.weights" in line and "\n" not in line


def test_a_hub_that_keeps_silent_is_not_waited_for(monkeypatch):
    import socket
    import time

    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts and never answers
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(network, "HUB_TIMEOUT_S", 0.2)
        start = time.monotonic()
        assert not network.hub_answers()
        assert time.monotonic() - start < 20


@pytest.mark.parametrize("facet", ["query", "key", "value"])
def test_facets_are_what_the_attention_computes_with(model, working, facet):
    """Each facet is the part of qkv that the block's own attention uses under this name."""
    attention, seen = model.blocks[-1].attn, []
    hook = attention.qkv.register_forward_hook(lambda _module, _args, out: seen.append(out))
    found = features_of(model, facet=facet).extract(working)
    hook.remove()
    parts = dict(zip(("query", "key", "value"), seen[0][0, 1:].chunk(3, dim=-1), strict=True))
    assert np.allclose(found.reshape(384, -1).T, parts[facet], atol=1e-5)


def test_tokens_are_the_normalised_output_of_the_model(model, working):
    images = vit.normalised(torch.from_numpy(working).permute(2, 0, 1)[None].float() / 255)
    with torch.no_grad():
        expected = model.forward_features(images)[0, 1:].T.reshape(384, GRID, GRID).numpy()
    assert np.allclose(features_of(model, facet="token").extract(working), expected, atol=1e-5)


def test_an_earlier_block_gives_that_block_s_keys(model, working):
    attention, seen = model.blocks[3].attn, []
    hook = attention.qkv.register_forward_hook(lambda _module, _args, out: seen.append(out))
    found = features_of(model, block=3).extract(working)
    hook.remove()
    assert np.allclose(found.reshape(384, -1).T, seen[0][0, 1:, 384:768], atol=1e-5)


def test_centred_features_have_no_mean(model, working):
    plain, centred = features_of(model).extract(working), features_of(model, center=True).extract(working)
    assert np.allclose(centred, plain - plain.mean(axis=(1, 2), keepdims=True), atol=1e-4)


def test_a_batch_gives_what_its_images_give_alone(model, working):
    batch = np.stack([working, working[::-1].copy()])
    backend = features_of(model)
    both = backend.extract_batch(batch)
    assert all(np.allclose(both[i], backend.extract(batch[i]), atol=1e-3) for i in range(2))


@pytest.mark.parametrize("name", ["dinov2-vits14", "dinov2-vits14-reg", "dinov3-vits16"])
def test_tokens_that_are_no_patch_are_dropped(name):
    """A grid that is not square shows both the number of patches and their order."""
    architecture = vit.ARCHITECTURES[name]
    torch.manual_seed(0)
    model = randomised(vit.build(architecture))
    patch = architecture.patch_size
    image = torch.rand(1, 3, 2 * patch, 3 * patch)
    for facet in ("query", "key", "value", "token"):
        with torch.no_grad():
            found = fv.patch_features(model, image, facet=facet)
        assert found.shape == (1, architecture.channels, 2, 3), facet
        if facet == "token":
            assert torch.allclose(found.flatten(2).transpose(1, 2), every_token(model, image)[:, -6:], atol=1e-4)


@torch.no_grad()
def every_token(model, image):
    return model.forward_features(image)


def test_an_eva_attention_mixes_the_values_given(working):
    """DINOv3: attention without positions, rebuilt from our queries, keys and values, is the module's own."""
    torch.manual_seed(0)
    model = randomised(vit.build(vit.ARCHITECTURES["dinov3-vits16"]))
    attention = model.blocks[-1].attn
    x = torch.randn(1, 7, 384)
    with torch.no_grad():
        q, k, v = (fv.projection(attention, x, facet) for facet in ("query", "key", "value"))
        heads = [t.unflatten(2, (attention.num_heads, -1)).transpose(1, 2) for t in (q, k, v)]
        mixed = torch.nn.functional.scaled_dot_product_attention(*heads)
        assert torch.allclose(attention.proj(mixed.transpose(1, 2).flatten(2)), attention(x), atol=1e-5)


def meta_layout(model, **extra):
    """Parameters as Meta publishes them: one position embedding, and the tokens under Meta's names."""
    state = {k: v.clone() for k, v in model.state_dict().items()}
    if "reg_token" in state and "pos_embed" in state:  # DINOv2 with registers: the class token has a position too
        state["register_tokens"] = state.pop("reg_token")
        state["pos_embed"] = torch.cat([torch.zeros(1, 1, 384), state["pos_embed"]], dim=1)
    return {**state, **extra}


@pytest.mark.parametrize("name", ["dinov2-vits14", "dinov2-vits14-reg"])
def test_meta_s_files_of_dinov2_load(tmp_path, name):
    torch.manual_seed(0)
    model = randomised(vit.build(vit.ARCHITECTURES[name]))
    path = save(tmp_path, meta_layout(model, mask_token=torch.zeros(1, 384)))
    loaded = vit.load(name, path)
    assert fingerprint(loaded.model) == fingerprint(model)


def test_a_block_that_is_not_there_is_one_line(tmp_path, model):
    path = save(tmp_path, model.state_dict())
    with pytest.raises(ConfigError, match=r"features\.block does not fit dino-vits16; expected at most 12; found 13"):
        feature_backend(vit_config(path, block=13), device="cpu")


def test_another_file_in_the_place_of_the_weights_is_loaded(tmp_path, model):
    path = save(tmp_path, dict(model.state_dict()))
    first = vit.load("dino-vits16", path)
    assert vit.load("dino-vits16", path) is first
    save(tmp_path, {name: value + 1 for name, value in model.state_dict().items()})
    second = vit.load("dino-vits16", path)
    torch.testing.assert_close(second.model.cls_token, first.model.cls_token + 1)
