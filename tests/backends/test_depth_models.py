"""Depth models of transformers: real architectures of small size, saved and loaded as users would."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from cuts3d_cli.backends import base  # noqa: E402
from cuts3d_cli.backends import depth_models as dm  # noqa: E402
from cuts3d_cli.config import DepthConfig, backends  # noqa: E402
from cuts3d_cli.errors import ModelError  # noqa: E402

HW = (60, 100)


def save(model, folder):
    """Save with random weights large enough that the output varies over the image."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    model.save_pretrained(folder)


def depth_anything(folder, kind="relative"):
    backbone = transformers.Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        out_indices=[1, 2, 3, 4],
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=14,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[4, 4, 4, 4],
        fusion_hidden_size=8,
        head_hidden_size=4,
        depth_estimation_type=kind,
        max_depth=20 if kind == "metric" else 1,
    )
    save(transformers.DepthAnythingForDepthEstimation(config), folder)
    size = {"height": 70, "width": 70}
    transformers.DPTImageProcessor(size=size, keep_aspect_ratio=True, ensure_multiple_of=14).save_pretrained(folder)
    return str(folder)


def zoedepth(folder):
    backbone = transformers.BeitConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=64,
        patch_size=16,
        use_relative_position_bias=True,
        reshape_hidden_states=False,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    bins = [{"name": "nyu", "n_bins": 8, "min_depth": 0.001, "max_depth": 10.0}]
    config = transformers.ZoeDepthConfig(
        backbone_config=backbone,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        bottleneck_features=8,
        bin_embedding_dim=8,
        num_relative_features=4,
        num_attractors=[4, 2, 2, 1],
        bin_configurations=bins,
    )
    save(transformers.ZoeDepthForDepthEstimation(config), folder)
    transformers.ZoeDepthImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return str(folder)


def dpt(folder):
    config = transformers.DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=64,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[4, 4, 4, 4],
        fusion_hidden_size=8,
        is_hybrid=False,
    )
    save(transformers.DPTForDepthEstimation(config), folder)
    transformers.DPTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return str(folder)


CASES = {
    "depth-anything-v2-small": (depth_anything, "inverse"),
    "depth-anything-v2-metric-indoor": (lambda folder: depth_anything(folder, "metric"), "metric"),
    "zoedepth": (zoedepth, "metric"),
    "midas-dpt-large": (dpt, "inverse"),
}


@pytest.fixture(scope="module")
def rgb():
    return np.random.default_rng(0).integers(0, 256, (*HW, 3), dtype=np.uint8)


def loaded(tmp_path, name):
    return base.depth_backend(DepthConfig(backend=name, weights=CASES[name][0](tmp_path / name)), device="cpu")


@pytest.mark.parametrize("name", CASES)
def test_a_real_architecture_runs_and_says_which_way_its_depth_goes(tmp_path, rgb, name):
    backend = loaded(tmp_path, name)
    assert backend.convention == CASES[name][1]
    assert name in backend.description
    found = backend.predict(rgb, 40)
    assert found.shape == (40, 40)
    assert found.dtype == np.float32
    assert np.isfinite(found).all() and np.ptp(found) > 0
    assert np.array_equal(found, backend.predict(rgb, 40))


@pytest.mark.parametrize("name", ["depth-anything-v2-small", "midas-dpt-large"])
def test_the_map_is_the_models_output_resized(tmp_path, rgb, name):
    backend = loaded(tmp_path, name)
    inputs = backend.processor(images=rgb, return_tensors="pt")
    with torch.no_grad():
        output = backend.model(inputs["pixel_values"]).predicted_depth
    expected = torch.nn.functional.interpolate(output[:, None], (40, 40), mode="bicubic", align_corners=False)[0, 0]
    assert np.allclose(backend.predict(rgb, 40), expected.numpy(), atol=1e-4)


def test_zoedepths_padding_is_cut_off(tmp_path, rgb):
    """The map is the centre of what the model says about the padded image, rows and columns in place."""
    backend = loaded(tmp_path, "zoedepth")
    inputs = backend.processor(images=rgb, return_tensors="pt")
    with torch.no_grad():
        output = backend.model(inputs["pixel_values"]).predicted_depth[:, None]
    (height, width), bicubic = HW, {"mode": "bicubic", "align_corners": False}
    top, left = (int(np.sqrt(side / 2) * 3) for side in HW)
    padded = torch.nn.functional.interpolate(output, (height + 2 * top, width + 2 * left), **bicubic)
    centre = padded[..., top : top + height, left : left + width]
    expected = torch.nn.functional.interpolate(centre, (40, 40), **bicubic)[0, 0].numpy()
    assert np.abs(backend.predict(rgb, 40) - expected).max() < 0.02 * np.ptp(expected)


def test_every_name_has_a_model_and_its_way():
    assert dm.MODELS.keys() == backends.DEPTH.keys() - {backends.EMBEDDED}
    for name, entry in dm.MODELS.items():
        says_metric = "metres" in backends.DEPTH[name].about
        assert (entry.convention == "metric") == says_metric
        assert ("inverse" in backends.DEPTH[name].about) != says_metric


def test_files_of_another_model_are_refused(tmp_path):
    relative = depth_anything(tmp_path / "da")
    for name, reason in [("zoedepth", "type zoedepth"), ("depth-anything-v2-metric-indoor", "metric depth")]:
        with pytest.raises(ModelError) as caught:
            base.depth_backend(DepthConfig(backend=name, weights=relative), device="cpu")
        assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_weights_that_lack_parameters_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "da"
    depth_anything(folder)
    state = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in state.items() if not k.startswith("head.")}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(ModelError, match=r"lack \d+ parameters.*head\."):
        base.depth_backend(DepthConfig(backend="depth-anything-v2-small", weights=str(folder)), device="cpu")


def test_a_folder_without_a_model_says_what_belongs_there(tmp_path):
    with pytest.raises(ModelError, match=r"config\.json.*depth-anything/Depth-Anything-V2-Small-hf"):
        base.depth_backend(DepthConfig(backend="depth-anything-v2-small", weights=str(tmp_path)), device="cpu")


def test_a_hub_out_of_reach_is_one_line(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError) as caught:
        base.depth_backend(DepthConfig(backend="zoedepth"), device="cpu")
    line = str(caught.value)
    assert "Intel/zoedepth-nyu-kitti" in line and "depth.weights" in line and "\n" not in line
