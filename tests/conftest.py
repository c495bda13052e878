"""Drawn scenes with a known answer, and a runner for the command line."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

ROOT = Path(__file__).parents[1]

OWN_CACHE = os.environ.get("CUTS3D_CACHE")
os.environ["CUTS3D_CACHE"] = tempfile.mkdtemp(prefix="cuts3d-test-")
os.environ.update(HF_HUB_OFFLINE="1", PIP_NO_INDEX="1")
"""No test, and no process that one starts, takes weights from a network or from the user's cache unasked."""

NEAR, MIDDLE, FAR, WALL = 600, 900, 1200, 2000
"""Depths of the drawn scenes in mm."""


def draw_scene(seed: int = 0, size_hw: tuple[int, int] = (120, 160)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two red boxes that touch in the image at different depth, and a blue one apart, before a wall.

    Returns:
        rgb (H, W, 3) uint8, depth (H, W) uint16 in mm, masks (3, H, W) bool.
    """
    rng = np.random.default_rng(seed)
    h, w = size_hw
    rgb = np.empty((h, w, 3))
    rgb[:] = (170, 175, 160)
    depth = np.full((h, w), WALL, np.uint16)
    shift = int(rng.integers(0, w // 16 + 1))
    boxes = [  # top, bottom, left, right in shares of the image
        ((0.25, 0.62, 0.12, 0.36), (190, 40, 40), MIDDLE),
        ((0.35, 0.75, 0.36, 0.60), (190, 40, 40), NEAR),
        ((0.30, 0.70, 0.70, 0.88), (40, 60, 190), FAR),
    ]
    masks = np.zeros((len(boxes), h, w), bool)
    for mask, ((top, bottom, left, right), colour, z) in zip(masks, boxes, strict=True):
        area = np.s_[round(top * h) : round(bottom * h), round(left * w) + shift : round(right * w) + shift]
        mask[area] = True
        rgb[area], depth[area] = colour, z
    rgb += rng.normal(0, 3, rgb.shape)
    return np.clip(rgb, 0, 255).astype(np.uint8), depth, masks


def write_dataset(folder: Path, n: int = 4, size_hw: tuple[int, int] = (120, 160)) -> Path:
    """Write drawn scenes as ``images``, ``depth`` and ``annotations.json`` below ``folder``."""
    from cuts3d_cli.store.coco import annotation

    (folder / "images").mkdir(parents=True)
    (folder / "depth").mkdir()
    images, annotations = [], []
    for number in range(1, n + 1):
        rgb, depth, masks = draw_scene(number, size_hw)
        Image.fromarray(rgb).save(folder / "images" / f"s{number}.png")
        Image.fromarray(depth).save(folder / "depth" / f"s{number}.png")
        images.append({"id": number, "file_name": f"s{number}.png", "height": size_hw[0], "width": size_hw[1]})
        annotations += [{"id": 10 * number + i, **annotation(number, mask, 1.0)} for i, mask in enumerate(masks)]
    for entry in annotations:
        del entry["score"]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """Four drawn scenes with depth and ground truth; read only."""
    return write_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(autouse=True)
def fresh_log():
    """No test sees how a command before it set the log up."""
    import logging

    from cuts3d_cli.log import logger, notices

    logger.handlers.clear()
    logger.propagate = True
    for each in (logger, notices):
        each.setLevel(logging.NOTSET)


@pytest.fixture
def real_weights(monkeypatch) -> Iterator[str]:
    """Name of the ViT whose real weights lie in the user's cache; skips where they do not."""
    from cuts3d_cli.backends import vit
    from cuts3d_cli.backends.model_weights import cached_file

    name = "dinov2-vits14"
    monkeypatch.delenv("CUTS3D_CACHE") if OWN_CACHE is None else monkeypatch.setenv("CUTS3D_CACHE", OWN_CACHE)
    if not cached_file(name).is_file():
        pytest.skip(f"no weights of {name} in the cache: `cuts3d models fetch {name}` gets them")
    yield name
    vit.forget()  # other tests are to find no weights


@pytest.fixture(scope="session")
def coco_photographs() -> Path:
    """Folder of photographs of COCO beside the checkout, with their annotations; skips where it is not."""
    folder = ROOT.parent / "shared" / "coco"
    if not (folder / "annotations.json").is_file():
        pytest.skip(f"no photographs of COCO in {folder}: `make photos` gets them elsewhere")
    return folder


@pytest.fixture
def photo(tmp_path, dataset, monkeypatch) -> Path:
    """A scene and its depth map in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.png").write_bytes((dataset / "images/s1.png").read_bytes())
    (tmp_path / "s_depth.png").write_bytes((dataset / "depth/s1.png").read_bytes())
    return Path("s.png")


ON_IMAGES = (
    "masks",
    "depth",
    "features",
    "spatial-importance",
    "localcut",
    "confidence",
    "crf",
    "train",
    "selftrain",
    "evaluate",
)
"""Commands whose preset follows from the images: for drawn scenes one that needs weights."""


@pytest.fixture
def heeds_interrupts() -> Iterator[None]:
    """Processes that a test starts heed SIGINT, even if the tests run in the background of a shell, ignoring it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def cuts3d():
    """Run a command in this process as its entry point would: (exit code, stdout, stderr).

    Commands on images take the preset ``embedded``, which needs no weights, unless the arguments choose one.
    """
    from cuts3d_cli.cli import main as module

    def run(*args: object) -> tuple[int, str, str]:
        import click

        command = next((index for index, arg in enumerate(args) if arg in ON_IMAGES), None)
        if command is not None and not {"--preset", "--config"} & set(args):
            args = (*args[: command + 1], "--preset", "embedded", *args[command + 1 :])

        @click.command(context_settings={"ignore_unknown_options": True})
        def shell():
            module.main([str(arg) for arg in args])

        result = CliRunner().invoke(shell, [])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return run
