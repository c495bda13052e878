"""The speed budgets, each as a ratio or a fraction measured within one run: target, measured, pass or miss.

    python benchmarks/speed.py --repeat 3

The baseline is the original MaskCut (dense generalised eigensolver in float64, a CRF built for every mask) on the same
features, with the same number of threads. Images are the first of data.images that need three cuts, and a drawn
one. Each number is the median over images and repeats, with its range.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from measuring import (
    Ended,
    Picture,
    Stopwatch,
    configuration,
    cuts3d,
    drawn_picture,
    image_names,
    in_child,
    median,
    picture_of,
    prepared_run,
    seconds_of,
)
from stage_profile import CHECKSUMS, STEPS, warm_stages

from cuts3d_cli.config import Config
from cuts3d_cli.tables import markdown_table

MASK_STAGES = ("localcut", "confidence", "crf")
CUTS = 3
"""Cuts of an image for the ratios, the paper's N; the stages run as configured."""

SEARCHED = 12
"""Images looked at for ones that take all cuts."""


@dataclass(frozen=True)
class Budget:
    """A target and what was measured against it."""

    name: str
    target: float
    unit: str
    measured: list[float]
    at_least: bool = False
    note: str = ""

    def row(self) -> list[str]:
        """Name, target, median, range, pass or miss."""
        value = median(self.measured)
        met = value >= self.target if self.at_least else value <= self.target
        digits = 1 if self.unit in ("x", "ms", "%") and self.target > 2 else 2
        sign = ">=" if self.at_least else "<="
        spread = f"{min(self.measured):.{digits}f} to {max(self.measured):.{digits}f}"
        name = f"{self.name} ({self.note})" if self.note else self.name
        return [name, f"{sign} {self.target:g} {self.unit}", f"{value:.{digits}f}", spread, "pass" if met else "miss"]


@dataclass(frozen=True)
class Material:
    """What a pseudo-mask is made from, all at hand: the CRF's working image, features as stored, depth."""

    working: np.ndarray
    features: np.ndarray
    depth: np.ndarray


def material_of(picture: Picture, config: Config) -> Material:
    """The material of a picture."""
    from cuts3d_cli.backends.base import feature_backend
    from cuts3d_cli.core.image_sizes import working_image
    from cuts3d_cli.core.segment import half

    features = feature_backend(config.features).extract(working_image(picture.rgb, config.features.image_size))
    return Material(working_image(picture.rgb, config.crf.image_size), half(features), half(picture.depth))


def ours(material: Material, config: Config):
    """Spatial Importance, N cuts with LocalCut, and their Spatial Confidence: (Cuts, confidence)."""
    from cuts3d_cli.api import mask_settings
    from cuts3d_cli.core.segment import cut_confidence, find

    settings = mask_settings(config)
    found = find(material.features, material.depth, settings)
    cuts = found.cuts
    confidence, _ = cut_confidence(
        cuts.semantic,
        cuts.instance,
        cuts.terminals,
        found.depth,
        localcut=settings.localcut,
        confidence=settings.confidence,
    )
    return cuts, confidence


def ours_crf(material: Material, instances: np.ndarray, config: Config) -> None:
    """The CRF of all instances (M, h, w)."""
    from cuts3d_cli.core.segment import candidates, refine

    refine([material.working], [candidates(instances)], config.crf.model_dump())


def measure_cuts(n_images: int, repeat: int, config: Config) -> dict[str, list[float]]:
    """Seconds of every part, a value for each image and repeat; runs in a process of its own."""
    config = config.model_copy(update={"localcut": config.localcut.model_copy(update={"n_instances": CUTS})})
    pictures = (picture_of(name, config) for name in image_names(config, SEARCHED))
    chosen = _taking_all_cuts(pictures, config, n_images)
    drawn = (drawn_picture(seed, config.features.image_size) for seed in range(SEARCHED))
    chosen += _taking_all_cuts(drawn, config, 1)
    seconds: dict[str, list[float]] = {}
    for _ in range(repeat):
        for material in chosen:
            for name, value in _seconds_once(material, config).items():
                seconds.setdefault(name, []).append(value)
    return seconds


def _taking_all_cuts(pictures, config: Config, n: int) -> list[Material]:
    """The first n pictures in which all attempts solve NCut; where there are too few, the first ones at all."""
    full, others = [], []
    for picture in pictures:
        material = material_of(picture, config)
        found, _ = ours(material, config)
        (full if all(attempt.solver is not None for attempt in found.info) else others).append(material)
        if len(full) == n:
            break
    return (full + others)[:n]


def _seconds_once(material: Material, config: Config) -> dict[str, float]:
    import cutler_maskcut

    from cuts3d_cli.core.affinity import strong_pairs
    from cuts3d_cli.core.masks import enlarge
    from cuts3d_cli.core.ncut import bipartition, canonical_sign, second_eigenvector
    from cuts3d_cli.core.patch_graph import PatchGraph

    grid_hw, size_hw = material.features.shape[1:], material.working.shape[:2]
    strong = strong_pairs(material.features, tau_ncut=config.localcut.tau_ncut, exponent=config.localcut.exponent)
    sparse, (x, solver) = seconds_of(lambda: second_eigenvector(PatchGraph(strong), solver=config.localcut.eigensolver))
    weights = PatchGraph(strong).weights()
    dense, reference = seconds_of(cutler_maskcut.dense_eigenvector, weights)
    sides = [
        bipartition(v.reshape(grid_hw), corners=config.localcut.corners, component="seed").foreground
        for v in (x, canonical_sign(reference))
    ]
    whole, (found, _) = seconds_of(ours, material, config)
    instances = found.instance[found.found]
    crf = seconds_of(ours_crf, material, instances, config)[0] if len(instances) else 0.0
    dense_cuts, masks = seconds_of(
        cutler_maskcut.maskcut, material.features, config.baseline.tau_ncut, config.localcut.n_instances, Stopwatch()
    )
    original_crf = sum(
        seconds_of(cutler_maskcut.crf, material.working, enlarge(mask, size_hw), Stopwatch())[0] for mask in masks
    )
    return {
        "eigenvector": sparse,
        "dense eigenvector": dense,
        "same bipartition": float(np.array_equal(*sides)),
        "lanczos": float(solver != "dense"),
        "cuts": whole,
        "dense cuts": dense_cuts,
        "crf": crf,
        "original crf": original_crf,
        "attempts": float(sum(attempt.solver is not None for attempt in found.info)),
    }


def cut_budgets(seconds: dict[str, list[float]]) -> list[Budget]:
    """The ratios against the dense solver."""
    s = {name: np.array(values) for name, values in seconds.items()}
    same = f"{int(s['same bipartition'].sum())} of {len(s['eigenvector'])} bipartitions equal"
    cuts = f"{s['attempts'].mean():.1f} cuts"
    both = (s["dense cuts"] + s["original crf"]) / (s["cuts"] + s["crf"])
    return [
        Budget("second eigenvector", 20, "x", list(s["dense eigenvector"] / s["eigenvector"]), True, same),
        Budget("cuts, LocalCut, confidence", 20, "x", list(s["dense cuts"] / s["cuts"]), True, cuts),
        Budget("the same and the CRF", 8, "x", list(both), True, "CRF on both sides"),
        Budget("the same and the CRF", 8, "x", list(s["dense cuts"] / (s["cuts"] + s["crf"])), True, "on ours only"),
    ]


def measure_stages(n_images: int, config: Config) -> dict[str, Stopwatch]:
    """The stages on a shard of images; runs in a process of its own."""
    return warm_stages(image_names(config, n_images), config)


def stage_budgets(runs: list[dict[str, Stopwatch]]) -> list[Budget]:
    """Time of a min-cut, fractions of the 3D parts, of Zarr and of checksums."""
    cuts = ("LocalCut: min-cut", "Spatial Confidence: T min-cuts")
    single = [[1e3 * s for watch in run.values() for cut in cuts for s in watch.calls.get(cut, ())] for run in runs]
    budgets = [
        Budget("one min-cut", 30, "ms", [s for run in single for s in run]),
        Budget("the longest min-cut of a shard", 30, "ms", [max(run, default=float("nan")) for run in single]),
        Budget("3D parts of the pseudo-mask time", 25, "%", [_fraction_3d(run) for run in runs]),
    ]
    for stage in MASK_STAGES:
        budgets.append(Budget(f"Zarr in {stage}", 5, "%", [_zarr_fraction([run[stage]]) for run in runs]))
    everything = [_zarr_fraction(list(run.values())) for run in runs]
    budgets.append(Budget("Zarr in all six stages", 5, "%", everything))
    for stage in runs[0]:
        budgets.append(Budget(f"checksums in {stage}", 3, "%", [_checksum_fraction(run[stage]) for run in runs]))
    return budgets


def _fraction_3d(run: dict[str, Stopwatch]) -> float:
    """Per cent of the time from stored depth and features to masks."""
    stages = [run[stage] for stage in ("spatial-importance", *MASK_STAGES)]
    spatial = sum(w.seconds.get(step, 0.0) for w in stages for step, kind in STEPS.items() if kind == "3D")
    return 100 * spatial / sum(sum(w.seconds.values()) for w in stages)


def _zarr_fraction(watches: list[Stopwatch]) -> float:
    zarr = sum(watch.seconds.get("Zarr", 0.0) for watch in watches)
    return 100 * zarr / sum(sum(watch.seconds.values()) for watch in watches)


def _checksum_fraction(watch: Stopwatch) -> float:
    return 100 * watch.aside.get(CHECKSUMS, 0.0) / sum(watch.seconds.values())


def measure_workers(
    folder: Path, n_images: int, repeat: int, config: Config, config_file: Path | None, threads: int
) -> tuple[list[float], list[float]]:
    """Two shards by one worker over two shards by two: ratios of seconds, and the peak memory of each command in GB."""
    run = prepared_run(folder, image_names(config, 2 * n_images), config, n_shards=2)
    words = ["--config", config_file] if config_file else []
    for stage in ("depth", "features", "spatial-importance"):
        maps = ["--depth-map", run / "depth-maps"] if stage == "depth" else []
        cuts3d(stage, "--run", run, *maps, *words)

    def worker(shard: int) -> list[Ended]:
        return [
            cuts3d(stage, "--run", run, "--shard", shard, "--force", *words, threads=threads) for stage in MASK_STAGES
        ]

    ratios, peaks = [], []
    for _ in range(repeat):
        one, ended = seconds_of(lambda: [worker(0), worker(1)])
        with ThreadPoolExecutor(2) as pool:
            two, _ = seconds_of(lambda pool=pool: list(pool.map(worker, (0, 1))))
        ratios.append(one / two)
        peaks.append(max(command.peak_gb for commands in ended for command in commands))
    return ratios, peaks


@click.command(help=__doc__)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML configuration; else the defaults.")
@click.option("--repeat", default=3, show_default=True, help="Repetitions.")
@click.option("--images", "n_images", default=2, show_default=True, help="Images for the ratios, beside a drawn one.")
@click.option("--shard-images", default=16, show_default=True, help="Images of a shard, for the stages.")
@click.option("--worker-images", default=6, show_default=True, help="Images of each worker's shard.")
@click.option("--threads", default=1, show_default=True, help="Threads of BLAS, of ours and of the baseline.")
def main(
    config_file: Path | None, repeat: int, n_images: int, shard_images: int, worker_images: int, threads: int
) -> None:
    start = time.perf_counter()
    config = configuration(config_file)
    seconds = in_child(measure_cuts, n_images, repeat, config, threads=threads)
    stages = [in_child(measure_stages, shard_images, config, threads=threads) for _ in range(repeat)]
    with tempfile.TemporaryDirectory() as folder:
        ratios, peaks = measure_workers(Path(folder) / "run", worker_images, repeat, config, config_file, threads)
    budgets = [
        *cut_budgets(seconds),
        *stage_budgets(stages),
        Budget("two workers over one", 1.8, "x", ratios, at_least=True),
        Budget("peak memory of a worker", 1.2, "GB", peaks),
    ]
    grid = config.features.grid
    click.echo(f"grid {grid} x {grid}, {n_images} images and a drawn one, {repeat} repeats, {threads} thread(s)")
    click.echo(markdown_table(["budget", "target", "measured", "range", ""], [budget.row() for budget in budgets]))
    for name in ("eigenvector", "dense eigenvector", "cuts", "dense cuts", "crf", "original crf"):
        click.echo(f"{name}: {1e3 * median(seconds[name]):.0f} ms")
    click.echo(f"took {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
