"""Measures the dense CRF of an image's masks: ways to share its work, and how far their masks agree.

    python benchmarks/crf.py --n 12

Takes the instances of a finished run, enlarges them as the crf stage does, and refines them in these ways:

    each apart     a filter lattice and an inference for every mask (as released with CutLER)
    one lattice    one lattice an image, an inference for every mask
    side by side   one lattice an image, one inference for all masks (what cuts3d does)
    crop M         side by side on the masks' common neighbourhood, M px around them
    two threads    as each apart, the inferences in two threads

All ways run on every image, in turn; seconds are of the processor (of the clock for
threads). Ratios are taken within each repetition; the medians over the repetitions are printed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np

from cuts3d_cli.core.crf import DenseCrf, unary_probability
from cuts3d_cli.core.masks import boxes_xywh_px, enlarge
from cuts3d_cli.store.images import read_image, working_image
from cuts3d_cli.store.layout import manifest_path, shard_name, stage_path
from cuts3d_cli.store.manifest import read_manifest
from cuts3d_cli.store.zarr_store import open_store

MARGINS = (32, 64, 128)


def plain_crf(image: np.ndarray):
    """pydensecrf's own CRF of an image, with CutLER's numbers."""
    from pydensecrf.densecrf import DenseCRF2D

    crf = DenseCRF2D(image.shape[1], image.shape[0], 2)
    crf.addPairwiseGaussian(sxy=3, compat=7)
    crf.addPairwiseBilateral(sxy=50, srgb=5, rgbim=np.ascontiguousarray(image), compat=10)
    return crf


def plain_mask(crf, mask: np.ndarray) -> np.ndarray:
    """A mask refined by pydensecrf's own inference."""
    unary = unary_probability(mask)
    energy = -np.log(np.stack([1 - unary, unary])).reshape(2, -1)
    crf.setUnaryEnergy(np.ascontiguousarray(energy, dtype=np.float32))
    return (np.array(crf.inference(10))[1] > 0.5).reshape(mask.shape)


def each_apart(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    return np.array([plain_mask(plain_crf(image), mask) for mask in masks])


def one_lattice(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    crf = plain_crf(image)
    return np.array([plain_mask(crf, mask) for mask in masks])


def side_by_side(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    return DenseCrf(image).probabilities(unary_probability(masks)) > 0.5


def cropped(image: np.ndarray, masks: np.ndarray, margin: int) -> np.ndarray:
    x, y, width, height = boxes_xywh_px(masks.any(axis=0)[None])[0].astype(int)
    rows = slice(max(0, y - margin), y + height + margin)
    columns = slice(max(0, x - margin), x + width + margin)
    refined = np.zeros_like(masks)
    refined[:, rows, columns] = side_by_side(image[rows, columns], masks[:, rows, columns])
    return refined


def two_threads(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    crfs = [plain_crf(image) for _ in masks]  # an object holds the unary of one mask
    with ThreadPoolExecutor(2) as pool:
        return np.array(list(pool.map(plain_mask, crfs, masks)))


WAYS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "each apart": each_apart,
    "one lattice": one_lattice,
    "side by side": side_by_side,
    **{f"crop {m}": lambda image, masks, m=m: cropped(image, masks, m) for m in MARGINS},
}


def scenes(run: Path, n_images: int):
    """Image (S, S, 3) uint8 and masks (M, S, S) bool of the first images of a run that have instances."""
    manifest = read_manifest(manifest_path(run))
    left = n_images
    for index in range(manifest.n_shards):
        store = open_store(stage_path(run, "localcut", shard_name(index)), "localcut")
        for row, record in enumerate(manifest.records(index)):
            instance = store.array("instance")[row]
            found = instance[instance.any(axis=(1, 2))]
            if left > 0 and len(found):
                left -= 1
                image = working_image(read_image(manifest.image_root / record.file_name), 480)
                yield image, np.array([enlarge(mask, image.shape[:2]) for mask in found])


def timed(way: Callable, image: np.ndarray, masks: np.ndarray, clock: Callable[[], float]) -> tuple[float, np.ndarray]:
    started = clock()
    result = way(image, masks)
    return clock() - started, result


def iou_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of each mask with its counterpart; two empty ones agree."""
    both, either = (a & b).sum(axis=(1, 2)), (a | b).sum(axis=(1, 2))
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


@click.command(help=__doc__)
@click.option("--run", default="runs/sample", type=click.Path(path_type=Path), show_default=True)
@click.option("--n", "n_images", default=8, show_default=True, help="Images.")
@click.option("--repeat", default=3, show_default=True, help="Repetitions.")
def main(run: Path, n_images: int, repeat: int) -> None:
    taken = list(scenes(run, n_images))
    seconds = {name: np.zeros(repeat) for name in WAYS}
    threads = np.zeros((repeat, 2))
    other, iou = {name: 0 for name in WAYS}, {name: [] for name in WAYS}
    for number in range(repeat):
        for image, masks in taken:
            reference = None
            for name, way in WAYS.items():
                spent, result = timed(way, image, masks, time.process_time)
                seconds[name][number] += spent
                reference = result if reference is None else reference
                if number == 0:
                    other[name] += int((result != reference).any(axis=(1, 2)).sum())
                    iou[name] += iou_of(result, reference).tolist()
            threads[number, 0] += timed(each_apart, image, masks, time.perf_counter)[0]
            threads[number, 1] += timed(two_threads, image, masks, time.perf_counter)[0]
    n_masks = sum(len(masks) for _, masks in taken)
    click.echo(f"{len(taken)} images, {n_masks} masks, {repeat} repetitions; against each apart")
    click.echo(f"{'way':<14}{'s/image':>9}{'faster':>8}{'masks that differ':>19}{'mean IoU':>10}{'least IoU':>11}")
    for name, spent in seconds.items():
        ratio = np.median(seconds["each apart"] / spent)
        cells = f"{np.median(spent) / len(taken):>9.3f}{ratio:>8.2f}{other[name]:>19}"
        click.echo(f"{name:<14}{cells}{np.mean(iou[name]):>10.4f}{np.min(iou[name]):>11.4f}")
    click.echo(
        f"two threads for each apart, by the clock: {np.median(threads[:, 0] / threads[:, 1]):.2f} times as fast"
    )


if __name__ == "__main__":
    main()
