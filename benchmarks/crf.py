"""Measures the dense CRF of an image's masks: implementations that share its work differently, and their agreement.

    python benchmarks/crf.py --n 8
    python benchmarks/crf.py --images DIR --n 121

Takes the instances of a finished run, or of a folder's images those that MaskCut finds on the embedded features,
enlarges them as the crf stage does, and refines them in these ways:

    each apart     pydensecrf, a filter lattice and an inference for every mask (as in CutLER)
    one lattice    pydensecrf, one lattice per image, an inference for every mask
    side by side   pydensecrf, one lattice per image, one inference for all masks
    lattice        our own lattice and mean field (what cuts3d does)
    crop M         the same on the masks' common neighbourhood, M px around them (with --crops)

All ways run on every image, in turn, on one thread; seconds are of the processor. Ratios are taken image by image and
the medians over images and repetitions are printed. Masks and pixels are counted that differ from those of each apart,
and how far from 0.5 its probability is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
from measuring import in_child, peak_gb, reset_peak

from cuts3d_cli.config import resolve
from cuts3d_cli.core.crf import DenseCrf, pydensecrf_model, unary_probability
from cuts3d_cli.core.image_sizes import working_image
from cuts3d_cli.core.masks import boxes_xywh_px, enlarge_all
from cuts3d_cli.core.segment import dense_crf_settings
from cuts3d_cli.pipeline.graph import result_path
from cuts3d_cli.store.images import read_image
from cuts3d_cli.store.layout import manifest_path, shard_name
from cuts3d_cli.store.manifest import read_manifest
from cuts3d_cli.store.zarr_store import open_store
from cuts3d_cli.tables import markdown_table

MARGINS = (32, 64, 128)

SIZE = 480

SECTION = resolve({"preset": "embedded"}).crf.model_dump()
CRF = dense_crf_settings(SECTION)

Way = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From an image (S, S, 3) uint8 and masks (M, S, S) bool to probabilities (M, S, S)."""


def each_apart(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    return np.concatenate([one_lattice(image, mask[None]) for mask in masks])


def one_lattice(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    crf = DenseCrf(image, **CRF | {"solver": "pydensecrf"})
    return crf.probabilities(unary_probability(masks, unary=SECTION["unary"]))


def side_by_side(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """With q the foreground and S the sum of both kernels, the next q is the sigmoid of u + 2 S(q) - S(1).

    pydensecrf filters fewer than three channels by another routine with other rounding, so one mask is padded to three.
    """
    from pydensecrf.eigen import matrixXf

    def channels(count: int):
        return matrixXf(np.zeros((count, image.shape[0] * image.shape[1]), dtype=np.float32))

    def columns(matrix) -> np.ndarray:
        return np.asarray(matrix).T

    crf = pydensecrf_model(image, CRF)
    ones, total = channels(1), channels(1)
    columns(ones)[:] = 1
    crf.stepInference(ones, total, channels(1))
    unaries = unary_probability(masks, unary=SECTION["unary"]).reshape(len(masks), -1)
    flat = np.full((max(len(masks), 3), unaries.shape[1]), 0.5)
    flat[: len(masks)] = unaries
    q, sums, scratch = (channels(len(flat)) for _ in range(3))
    columns(q)[:] = flat.T
    fixed = (np.log(flat) - np.log1p(-flat)).T.astype(np.float32) - columns(total)
    for _ in range(CRF["iterations"]):
        crf.stepInference(q, sums, scratch)
        odds = np.multiply(columns(sums), -2)
        odds -= fixed
        np.exp(odds, out=odds)
        odds += 1
        np.divide(1, odds, out=columns(q))
    return columns(q).T[: len(masks)].reshape(masks.shape)


def lattice(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    return DenseCrf(image, **CRF).probabilities(unary_probability(masks, unary=SECTION["unary"]))


def cropped(image: np.ndarray, masks: np.ndarray, margin: int) -> np.ndarray:
    x, y, width, height = boxes_xywh_px(masks.any(axis=0)[None])[0].astype(int)
    rows = slice(max(0, y - margin), y + height + margin)
    columns = slice(max(0, x - margin), x + width + margin)
    refined = np.zeros(masks.shape, np.float32)
    refined[:, rows, columns] = lattice(image[rows, columns], masks[:, rows, columns])
    return refined


WAYS: dict[str, Way] = {
    "each apart": each_apart,
    "one lattice": one_lattice,
    "side by side": side_by_side,
    "lattice": lattice,
}
CROPS: dict[str, Way] = {
    f"crop {margin}": lambda image, masks, margin=margin: cropped(image, masks, margin) for margin in MARGINS
}


def scenes_of_run(run: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Image (S, S, 3) uint8 and masks (M, S, S) bool of a run's images that have instances."""
    manifest = read_manifest(manifest_path(run))
    for index in range(manifest.n_shards):
        store = open_store(result_path(run, "localcut", shard_name(index)), "localcut")
        for row, record in enumerate(manifest.records(index)):
            instance = store.array("instance")[row]
            found = instance[instance.any(axis=(1, 2))]
            if len(found):
                image = working_image(read_image(manifest.image_root / record.file_name), SIZE)
                yield image, enlarge_all(found, image.shape[:2])


def scenes_of_folder(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same of a folder's images, with three attempts of NCut alone."""
    from cuts3d_cli.backends.base import feature_backend
    from cuts3d_cli.core.find_instances import find_instances
    from cuts3d_cli.store.image_files import find_images

    config = resolve({"preset": "embedded", "localcut": {"n_instances": 3, "local_cut": False, "sharpen": False}})
    backend = feature_backend(config.features)
    for path in find_images(folder):
        image = working_image(read_image(path), SIZE)
        found = find_instances(backend.extract(image), None, None, **config.localcut.model_dump()).instance
        if found.any():
            yield image, enlarge_all(found[found.any(axis=(1, 2))], image.shape[:2])


@dataclass
class Measured:
    """What a way did: seconds by image and repetition, masks and pixels that differ, how far from 0.5, and IoU."""

    seconds: list[list[float]] = field(default_factory=list)
    masks: int = 0
    pixels: int = 0
    farthest: float = 0.0
    iou: list[float] = field(default_factory=list)

    def compare(self, found: np.ndarray, expected: np.ndarray) -> None:
        """Count what differs in the probabilities of an image's masks (M, S, S)."""
        a, b = found > 0.5, expected > 0.5
        differ = a != b
        self.masks += int(differ.any(axis=(1, 2)).sum())
        self.pixels += int(differ.sum())
        self.farthest = max(self.farthest, float(np.abs(expected - 0.5)[differ].max(initial=0)))
        both, either = (a & b).sum(axis=(1, 2)), (a | b).sum(axis=(1, 2))
        self.iou += np.where(either > 0, both / np.maximum(either, 1), 1.0).tolist()


def peak_of(name: str, image: np.ndarray, masks: np.ndarray) -> float:
    """Memory in GB that a way adds to a process that has done it once on a smaller image."""
    WAYS[name](image[::4, ::4].copy(), masks[:, ::4, ::4])
    reset_peak()
    before = peak_gb()
    WAYS[name](image, masks)
    return peak_gb() - before


@click.command(help=__doc__)
@click.option("--run", default="runs/sample", type=click.Path(path_type=Path), show_default=True)
@click.option("--images", type=click.Path(path_type=Path, exists=True), help="A folder of images instead of a run.")
@click.option("--n", "n_images", default=8, show_default=True, help="Images.")
@click.option("--repeat", default=1, show_default=True, help="Repetitions.")
@click.option("--crops", is_flag=True, help="Crops too.")
def main(run: Path, images: Path | None, n_images: int, repeat: int, crops: bool) -> None:
    ways = WAYS | (CROPS if crops else {})
    measured = {name: Measured() for name in ways}
    n_masks = number = 0
    lattice(np.zeros((SIZE, SIZE, 3), np.uint8), np.zeros((1, SIZE, SIZE), bool))  # compiles
    for number, (image, masks) in enumerate(scenes_of_folder(images) if images else scenes_of_run(run), start=1):
        n_masks += len(masks)
        for name in ways:
            measured[name].seconds.append([])
        for again in range(repeat):
            expected = None
            for name, way in ways.items():
                started = time.process_time()
                found = way(image, masks)
                measured[name].seconds[-1].append(time.process_time() - started)
                expected = found if expected is None else expected
                if again == 0:
                    measured[name].compare(found, expected)
        if number == n_images:
            break
    click.echo(f"{number} images, {n_masks} masks, {repeat} repetitions")
    beside = np.array(measured["side by side"].seconds)
    rows = []
    for name, done in measured.items():
        ratio = beside / np.array(done.seconds)
        peak = f"{in_child(peak_of, name, image, masks) * 1000:.0f}" if name in WAYS else "-"
        rows.append([
            name, f"{np.median(done.seconds):.3f}", f"{np.median(ratio):.2f}", f"{ratio.min():.2f}", peak, done.masks,
            done.pixels, f"{done.farthest:.1e}", f"{np.mean(done.iou):.4f}", f"{min(done.iou):.4f}",
        ])  # fmt: skip
    header = [
        "way", "s per image", "times side by side", "least", "memory, MB", "masks that differ", "pixels", "from 0.5",
        "mean IoU", "least IoU",
    ]  # fmt: skip
    click.echo(markdown_table(header, rows))


if __name__ == "__main__":
    main()
