"""Measures what runs on a GPU, and how far its masks agree with those of the CPU.

    cuts3d models fetch dinov2-vits14
    python benchmarks/gpu.py
    python benchmarks/gpu.py --random-weights --device cpu --n 2 --steps 2 --batch 2

Runs features, NCut and CRF of a batch of images with the settings of a preset, then some training steps of a detector
with AMP and its predictions, on the device and, on the first images, on the CPU: with the eigensolver ``lanczos``
and the CRF solver ``lattice`` there, ``torch`` on the device. Each part has run once before it is timed, and is shown
once it has ended; one that fails leaves the others and makes the exit code 1. The detector starts from random weights;
of its predictions, the best masks that the CPU makes of each image are looked for among those of the device.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from measuring import ROOT, Stopwatch

from cuts3d_cli.backends.base import feature_backend
from cuts3d_cli.backends.torch_tools import resolve_device
from cuts3d_cli.config import Config, merge_values, resolve
from cuts3d_cli.core.find_instances import find_instances_batch
from cuts3d_cli.core.image_sizes import working_image
from cuts3d_cli.core.masks import mask_iou
from cuts3d_cli.errors import first_line
from cuts3d_cli.store.images import read_image
from cuts3d_cli.tables import markdown_table

TRAINING_IMAGES = ROOT / "sample/train/images"
BEST = 10
"""Predictions of an image on the CPU that are looked for among those on the device."""


@dataclass
class Part:
    """What a part took: images, seconds, the device's peak memory in GB, and in words how it agrees with the CPU."""

    name: str
    images: int
    seconds: float
    peak_gb: float
    agreement: str

    def row(self) -> list[str]:
        speed = f"{self.images / self.seconds:.2f}" if self.seconds else "-"
        memory = f"{self.peak_gb:.2f}" if self.peak_gb else "-"
        return [self.name, speed, memory, self.agreement]


Parts = list[Part]


class Report:
    """The parts measured so far, and whether one of them failed."""

    def __init__(self) -> None:
        self.parts: Parts = []
        self.failed = False

    def attempt(self, name: str, function: Callable, *args: object) -> object:
        """Run a part, which gives one or several `Part` and a result; the result, None where it failed."""
        try:
            parts, result = function(*args)
        except Exception as error:  # a GPU that is too small, a missing kernel: the other parts are still worth having
            traceback.print_exc()
            parts, result, self.failed = [Part(name, 0, 0.0, 0.0, f"failed: {first_line(error)}")], None, True
        for part in parts:
            click.echo("  ".join(part.row()), err=True)
            self.parts.append(part)
        return result


def timed(function: Callable, device: torch.device) -> tuple[object, float, float]:
    """The result of a function that has run once before, its seconds and the device's peak memory in GB."""
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    result = function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - started
    return result, seconds, torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0


def mask_agreement(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> str:
    """How masks (M, H, W) bool of some images compare with the CPU's, slot by slot."""
    ours, theirs = (
        np.concatenate([masks.reshape(len(masks), math.prod(masks.shape[1:])) for masks in side])
        for side in (found, expected)
    )
    both, either = (ours & theirs).sum(axis=1), (ours | theirs).sum(axis=1)
    some = either > 0
    if not some.any():
        return "no masks"
    iou = both[some] / either[some]
    return f"{np.count_nonzero(iou == 1)} of {len(iou)} masks equal, mean IoU {iou.mean():.4f}, least {iou.min():.4f}"


def in_batches(images: np.ndarray, size: int, function: Callable) -> list:
    return [one for begin in range(0, len(images), size) for one in function(images[begin : begin + size])]


def measure_features(images: np.ndarray, config: Config, device: torch.device, n_check: int) -> tuple[Parts, list]:
    backend = feature_backend(config.features, device=str(device))
    found, seconds, peak = timed(lambda: in_batches(images, backend.batch_size, backend.extract_batch), device)
    expected = feature_backend(config.features, device="cpu").extract_batch(images[:n_check])
    cosines = [
        ((a * b).sum(0) / np.maximum(np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0), 1e-12))
        for a, b in zip(found, expected, strict=False)
    ]
    text = f"cosine of a patch {np.mean(cosines):.5f}, least {np.min(cosines):.5f}"
    return [Part("features", len(images), seconds, peak, text)], found


def measure_ncut(features: list, config: Config, device: torch.device, n_check: int) -> tuple[Parts, list[np.ndarray]]:
    """NCut alone, without depth; both sides get the device's features."""
    settings = {**config.localcut.model_dump(), "local_cut": False, "sharpen": False}

    def masks(some: list, solver: str, place: str) -> list[np.ndarray]:
        maps = [(one, None, None) for one in some]
        return [d.instance for d in find_instances_batch(maps, **(settings | {"eigensolver": solver}), device=place)]

    found, seconds, peak = timed(lambda: masks(features, "torch", str(device)), device)
    expected = masks(features[:n_check], "lanczos", "cpu")
    part = Part("NCut", len(features), seconds, peak, mask_agreement(found[:n_check], expected))
    return [part], [masks_of[masks_of.any(axis=(1, 2))] for masks_of in found]


def measure_crf(images: list, grids: list, config: Config, device: torch.device, n_check: int) -> tuple[Parts, None]:
    from cuts3d_cli.core.segment import candidates, images_at_once, refine

    size = config.crf.image_size
    working = np.stack([working_image(image, size) for image in images])
    own = {**config.crf.model_dump(), "solver": "lattice", "unary": "hard"}
    chosen = [candidates(grid) for grid in grids]
    at_once = images_at_once(size, "torch")

    def on_device() -> list[np.ndarray]:
        return [
            refined.masks
            for begin in range(0, len(working), at_once)
            for refined in refine(
                working[begin : begin + at_once],
                chosen[begin : begin + at_once],
                own | {"solver": "torch"},
                device=str(device),
            )
        ]

    found, seconds, peak = timed(on_device, device)
    expected = [refined.masks for refined in refine(working[:n_check], chosen[:n_check], own)]
    return [Part("CRF", len(images), seconds, peak, mask_agreement(found[:n_check], expected))], None


def measure_training(config: Config, device: torch.device, folder: Path) -> tuple[Parts, Path]:
    """Steps of a detector on the sample's ground truth, without the first; its checkpoint."""
    from cuts3d_cli.detector import runner, training
    from cuts3d_cli.detector.configs import build_detector

    document = json.loads((TRAINING_IMAGES.parent / "annotations.json").read_text())
    document["info"] = {"image_root": str(TRAINING_IMAGES)}
    annotations, checkpoint = folder / "masks.json", folder / "checkpoint.pth"
    annotations.write_text(json.dumps(document))
    step, watch = runner.train_step, Stopwatch()

    def synchronised(*args, **kwargs):
        losses = step(*args, **kwargs)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return losses

    detector = build_detector(config.train)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    runner.train_step = watch.timed(synchronised, "step")
    try:
        training.train(
            detector, annotations, folder / "work", checkpoint, config=config.train, seed=0, device=device, init=None,
            state=None, meta={"fingerprint": "benchmark", "detector": detector},
        )  # fmt: skip
    finally:
        runner.train_step = step
    seconds = sum(watch.calls["step"][1:])
    peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0
    last = json.loads((folder / "work/metrics.jsonl").read_text().splitlines()[-1])
    amp = "with AMP" if config.train.amp and device.type == "cuda" else "without AMP"
    name = f"{len(watch.calls['step'])} steps of {config.train.detector}, {config.train.batch_size} images, {amp}"
    images = config.train.batch_size * (len(watch.calls["step"]) - 1)
    return [Part(name, images, seconds, peak, f"loss {last['loss']:.2f} after the last")], checkpoint


def measure_predictions(
    paths: Sequence[Path], checkpoint: Path, config: Config, device: torch.device, batch: int, n_check: int
) -> tuple[Parts, None]:
    from cuts3d_cli.detector.inference import load_model, sample_of

    @torch.inference_mode()
    def masks_of(detector, some: Sequence[Path]) -> list[np.ndarray]:
        samples = [sample_of(detector, read_image(path)) for path in some]
        found = detector.model.test_step({key: [sample[key] for sample in samples] for key in samples[0]})
        instances = [one.pred_instances for one in found]
        return [one.masks[one.scores.argsort(descending=True)].cpu().numpy() for one in instances]

    on_device = load_model(checkpoint, config.predict, device)
    own = load_model(checkpoint, config.predict, torch.device("cpu"))
    expected = [masks[masks.any(axis=(1, 2))][:BEST] for path in paths[:n_check] for masks in masks_of(own, [path])]

    def first_images(size: int) -> list[np.ndarray]:
        """Masks of the first images; those of the others are made and let go."""
        kept = []
        for begin in range(0, len(paths), size):
            kept += masks_of(on_device, paths[begin : begin + size])
            del kept[n_check:]
        return kept

    parts = []
    for size in sorted({1, batch}):
        found, seconds, peak = timed(lambda size=size: first_images(size), device)
        ious = [mask_iou(a, b).max(axis=0, initial=0) for a, b in zip(found, expected, strict=True) if len(b)]
        text = f"mean IoU of the {BEST} best {np.mean(np.concatenate(ious)):.4f}" if ious else "no masks"
        parts.append(Part(f"predictions, {size} at once", len(paths), seconds, peak, text))
    return parts, None


@click.command(help=__doc__)
@click.option("--images", default=TRAINING_IMAGES, type=click.Path(path_type=Path, exists=True), show_default=True)
@click.option("--n", "n_images", default=32, show_default=True, help="Images.")
@click.option("--check", "n_check", default=4, show_default=True, help="Of them compared with the CPU.")
@click.option("--device", default="auto", show_default=True)
@click.option("--preset", default="photo", show_default=True)
@click.option("--image-size", type=int, help="Working size of features and CRF, px; else the preset's.")
@click.option("--random-weights", is_flag=True, help="A ViT of random weights, where no others can be had.")
@click.option("--detector", default="paper_cascade", show_default=True)
@click.option("--steps", default=10, show_default=True, help="Training steps; the first is not timed.")
@click.option("--batch", default=16, show_default=True, help="Images of a training step and of a batch to predict.")
def main(
    images: Path,
    n_images: int,
    n_check: int,
    device: str,
    preset: str,
    image_size: int | None,
    random_weights: bool,
    detector: str,
    steps: int,
    batch: int,
) -> None:
    from cuts3d_cli.store.image_files import find_images

    place = resolve_device(device)
    train = {"detector": detector, "iterations": steps, "batch_size": batch, "amp": True, "lr_steps": []}
    values = {"preset": preset, "train": {**train, "warmup_iterations": 0, "precise_bn": 0}}
    if image_size:
        values = merge_values(values, {"features": {"image_size": image_size}, "crf": {"image_size": image_size}})
    report = Report()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = resolve(values)
        if random_weights:
            config = resolve(merge_values(values, {"features": {"weights": random_vit(config, folder)}}))
        paths = find_images(images)[:n_images]
        n_check = min(n_check, len(paths))
        pictures = [read_image(path) for path in paths]
        working = np.stack([working_image(picture, config.features.image_size) for picture in pictures])
        name = torch.cuda.get_device_name(place) if place.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
        side, grid = config.features.image_size, config.features.grid
        head = (
            f"{name}, torch {torch.__version__}; {len(paths)} images, {config.features.backend} at {side} px, "
            f"grid {grid} x {grid}, CRF at {config.crf.image_size} px"
        )
        click.echo(head, err=True)
        grids = None
        features = report.attempt("features", measure_features, working, config, place, n_check)
        if features is not None:
            grids = report.attempt("NCut", measure_ncut, features, config, place, n_check)
        if grids is not None:
            report.attempt("CRF", measure_crf, pictures, grids, config, place, n_check)
        checkpoint = report.attempt("training", measure_training, config, place, folder)
        if checkpoint is not None:
            report.attempt("predictions", measure_predictions, paths, checkpoint, config, place, batch, n_check)
    click.echo(head + "\n")
    header = ["part", "images/s", "peak, GB", f"against the CPU, {n_check} images"]
    click.echo(markdown_table(header, [part.row() for part in report.parts]))
    if report.failed:
        sys.exit(1)


def random_vit(config: Config, folder: Path) -> str:
    """Weights file of the backend's architecture, drawn at random."""
    from safetensors.torch import save_file

    from cuts3d_cli.backends import vit

    torch.manual_seed(0)
    path = folder / "random.safetensors"
    save_file(vit.build(vit.ARCHITECTURES[config.features.backend]).state_dict(), path)
    return str(path)


if __name__ == "__main__":
    main()
