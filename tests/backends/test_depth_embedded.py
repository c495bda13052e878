"""The embedded depth model with random weights: shapes, sizes, files, and a backbone that is another."""

import logging

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from cuts3d_cli.backends import depth_embedded as de  # noqa: E402
from cuts3d_cli.backends import vit  # noqa: E402
from cuts3d_cli.config import DepthConfig  # noqa: E402
from cuts3d_cli.errors import ModelError  # noqa: E402


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return vit.build(vit.ARCHITECTURES[de.EMBEDDED_BACKBONE]).eval()


@pytest.fixture(scope="module")
def depth(backbone):
    torch.manual_seed(0)
    return de.EmbeddedDepth(backbone, de.DepthHead(), "a model", torch.device("cpu"))


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(480, 640), (640, 480), (1, 1), (3, 900), (3000, 20)])
def test_any_image_gives_a_finite_square_map(depth, shape, monkeypatch):
    monkeypatch.setattr(de.grid_of, "__defaults__", (80,))
    found = depth.predict(noise(*shape), 50)
    assert found.shape == (50, 50) and found.dtype == np.float32 and np.isfinite(found).all()


@pytest.mark.parametrize(("shape", "grid"), [((360, 480), (28, 37)), ((480, 360), (37, 28)), ((500, 500), (32, 32))])
def test_the_model_sees_the_image_in_its_own_aspect_ratio(shape, grid):
    assert de.grid_of(*shape) == grid


def test_grids_stay_within_limits():
    for shape in ((1, 5000), (5000, 1), (1, 1), (10000, 3)):
        rows, cols = de.grid_of(*shape)
        assert min(rows, cols) >= de.FEWEST and max(rows, cols) <= de.MOST and rows * cols <= 1.05 * de.PATCHES


def test_tokens_are_those_of_the_four_blocks(backbone):
    taken = []
    hooks = [
        backbone.blocks[index].register_forward_hook(lambda _m, _a, out: taken.append(out[0])) for index in de.BLOCKS
    ]
    try:
        with torch.inference_mode():
            found = de.backbone_tokens(backbone, noise(56, 70), (7, 8))
    finally:
        for hook in hooks:
            hook.remove()
    assert found.shape == (4, 1 + 7 * 8, 384)
    torch.testing.assert_close(found, torch.stack(taken))


def test_the_head_is_small_and_its_output_has_eight_values_a_patch(depth):
    size = sum(value.numel() for value in depth.head.parameters()) * 2
    assert size <= 4e6
    found = depth.head(torch.zeros(2, 4, 1 + 5 * 6, 384), torch.zeros(2, 3, 80, 96))
    assert found.shape == (2, 40, 48)
    assert depth.head(torch.zeros(2, 4, 1 + 5 * 6, 384), torch.zeros(2, 3, 80, 96), fine=False).shape == (2, 10, 12)


def test_upsampled_values_are_means_of_the_nearest_nine():
    coarse = torch.arange(20.0).reshape(1, 4, 5)
    weights = torch.zeros(1, 9, de.FINER**2, 4, 5)
    even = de.upsampled(coarse, weights.flatten(1, 2))
    assert even[0, 4, 4] == pytest.approx(6)  # the cell (1, 1) and its neighbours are even about it
    weights[:, 4] = 50  # the middle of the nine
    torch.testing.assert_close(
        de.upsampled(coarse, weights.flatten(1, 2)), coarse.repeat_interleave(4, 1).repeat_interleave(4, 2)
    )
    weights[:, 4], weights[:, 5, 0] = 0, 50  # the first of a cell's sixteen from its right neighbour
    assert de.upsampled(coarse, weights.flatten(1, 2))[0, 4, 4] == pytest.approx(7)


def test_a_head_survives_its_file(tmp_path, depth):
    path = tmp_path / "head.safetensors"
    de.write_head(path, depth.head, {"version": "7"})
    head, notes = de.read_head(path)
    assert notes == {"version": "7"}
    for name, value in depth.head.state_dict().items():
        kept = value.half().float() if value.is_floating_point() else value
        torch.testing.assert_close(head.state_dict()[name], kept, check_dtype=value.is_floating_point())


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_missing_and_damaged_files_are_one_line(tmp_path, depth, damage):
    path = tmp_path / "head.safetensors"
    if damage == "cut":
        de.write_head(path, depth.head, {})
        path.write_bytes(path.read_bytes()[:5000])
    if damage == "other":
        de.save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ModelError) as found:
        de.read_head(path)
    assert str(path) in str(found.value) and "\n" not in str(found.value)


def test_the_fingerprint_knows_values_and_names_but_not_precision():
    model = torch.nn.Linear(3, 2).half()
    other = torch.nn.Linear(3, 2)
    assert de.fingerprint(model) != de.fingerprint(other)
    other.load_state_dict(model.state_dict())
    assert de.fingerprint(model) == de.fingerprint(other)
    assert de.fingerprint(torch.nn.Sequential(other)) != de.fingerprint(other)


@pytest.mark.parametrize("same", [True, False])
def test_another_backbone_is_told_in_one_line(tmp_path, backbone, depth, monkeypatch, caplog, same):
    path = tmp_path / "head.safetensors"
    de.write_head(path, depth.head, {"version": "7", "backbone": de.fingerprint(backbone) if same else "0" * 64})
    monkeypatch.setattr(de, "load_backbone", lambda: backbone)
    with caplog.at_level(logging.WARNING, "cuts3d"):
        found = de.load(DepthConfig(weights=str(path)), device="cpu")
    assert found.convention == "inverse" and "7" in found.description
    assert len({record.getMessage() for record in caplog.records}) == (0 if same else 1)


def test_the_packaged_head_is_whole():
    if not de.WEIGHTS.is_file():
        pytest.skip("the head's weights are not part of this installation")
    assert de.WEIGHTS.stat().st_size <= 4e6
    _, notes = de.read_head(de.WEIGHTS)
    assert len(notes["backbone"]) == 64 and {"version", "recipe", "data"} <= notes.keys()
