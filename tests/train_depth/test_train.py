"""Training on drawn data with the backbone's architecture and random weights: cache, batches, one tiny run."""

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from cuts3d_cli.backends import depth_embedded as de  # noqa: E402
from scripts.train_depth.readers import pairs_of  # noqa: E402
from scripts.train_depth.tokens import TokenCache  # noqa: E402
from scripts.train_depth.train import Recipe, Samples, start_linear, train  # noqa: E402


class TinyBackbone(torch.nn.Module):
    """Stands for the ViT: tokens from patch means, through ``forward_intermediates`` as timm has it."""

    def __init__(self, channels=384):
        super().__init__()
        self.embed = torch.nn.Conv2d(3, channels, de.PATCH, stride=de.PATCH)
        self.calls = 0

    def forward_intermediates(self, images, indices, **_):
        self.calls += 1
        patches = self.embed(images).flatten(2).transpose(1, 2)
        return [(patches * (index + 1), patches.mean(1, keepdim=True)) for index in indices]


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return TinyBackbone().eval()


@pytest.fixture
def frames(tmp_path):
    """Four pictures whose brightness is their depth."""
    random = np.random.default_rng(0)
    for name in "abcd":
        near = np.kron(random.integers(0, 2, (3, 4)), np.ones((20, 20)))
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.repeat((60 + 150 * near)[:, :, None], 3, 2).astype(np.uint8))
        cv2.imwrite(str(tmp_path / f"{name}_depth.png"), (2000 - 1000 * near).astype(np.uint16))
    return pairs_of(f"frames={tmp_path}", "train")


@pytest.fixture
def small(monkeypatch):
    """A working image of few patches, for speed."""
    monkeypatch.setattr(de, "FEWEST", 4)
    monkeypatch.setattr(de.grid_of, "__defaults__", (12 * 4,))


def test_tokens_are_computed_once_per_image_and_orientation(backbone, frames, tmp_path, small):
    cache = TokenCache(tmp_path / "tokens", backbone, "0" * 64)
    first = cache.get(frames[0].key, frames[0].rgb())
    again = cache.get(frames[0].key, frames[0].rgb())
    mirrored = cache.get(frames[0].key, frames[0].rgb(), True)
    assert backbone.calls == 2
    assert first.dtype == np.float16 and first.shape == (4, 1 + 6 * 8, 384)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, mirrored)


def test_other_backbones_have_other_tokens(backbone, tmp_path):
    one, other = (TokenCache(tmp_path, backbone, number * 64).path("a/b", (6, 8), False) for number in "01")
    assert one != other


def run(backbone, frames, folder, **options):
    torch.manual_seed(options.get("seed", 0))
    samples = Samples([frames[:3], frames[3:]], [True, False], TokenCache(folder, backbone, "0" * 64))
    lines = []
    head = de.DepthHead()
    start_linear(head, samples, options.get("seed", 0))
    head = train(samples, Recipe(batch=2, **options), head, torch.device("cpu"), lines.append)
    return head, samples, lines


def test_one_seed_gives_one_head(backbone, frames, tmp_path, small):
    one, other = (run(backbone, frames, tmp_path / "tokens", steps=2)[0].state_dict() for _ in range(2))
    different = run(backbone, frames, tmp_path / "tokens", steps=2, seed=1)[0].state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not all(torch.equal(one[name], different[name]) for name in one)


def test_training_learns_what_is_drawn(backbone, frames, tmp_path, small):
    head, samples, lines = run(backbone, frames, tmp_path / "tokens", steps=10)
    depth = de.EmbeddedDepth(backbone, head, "", torch.device("cpu"))
    for pair in frames:
        found, truth = depth.predict(pair.rgb(), 60), cv2.resize(pair.inverse(), (60, 60))
        assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.8
    assert len(samples.samples) == 7 and lines[-1].startswith("step 10 of 10")


def test_balance_draws_the_small_set_more_often(backbone, frames, tmp_path, small):
    samples = Samples([frames[:3] * 20, frames[3:]], [False, False], TokenCache(tmp_path, backbone, "0" * 64))
    even, by_size = (
        np.mean([sample.source for sample in samples.order(3000, balance, np.random.default_rng(0))])
        for balance in (0.0, 1.0)
    )
    assert by_size < 0.05
    assert even > by_size
