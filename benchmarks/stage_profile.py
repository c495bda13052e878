"""Time of one image step by step, for the original MaskCut (before) and for cuts3d (after).

    python benchmarks/stage_profile.py --images 4

"After" runs the six mask stages on a shard of sample images, with a clock on the functions they call. "Before" is
the original MaskCut, on the same features: cosine affinity, the dense generalised eigensolver in float64, a new CRF
for every mask; it has no depth and no stores. Milliseconds per image, and the percentage of the column's total. Without
``data.depth_maps`` depth is the model's.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from measuring import Stopwatch, configuration, image_names, in_child, prepared_run

from cuts3d_cli.config import Config
from cuts3d_cli.tables import markdown_table

STAGES = ("depth", "features", "spatial-importance", "localcut", "confidence", "crf")
STEPS = {
    "read image": "files",
    "read depth": "files",
    "depth model": "depth",
    "resize to the working size": "image",
    "features": "features",
    "Spatial Importance": "3D",
    "affinity and graph": "NCut",
    "second eigenvector": "NCut",
    "bipartition": "NCut",
    "k-NN graph": "3D",
    "LocalCut: min-cut": "3D",
    "Spatial Confidence: T min-cuts": "3D",
    "CRF: build": "CRF",
    "CRF: inference, fill, judge": "CRF",
    "resize to the image's size": "image",
    "RLE": "files",
    "Zarr": "files",
    "rest": "other",
}
"""Each step and what it counts as; ``rest`` is what no clock is on. A step that neither side has is not shown."""

CHECKSUMS = "checksums"
"""Aside: what it costs to check that files hold what was written; part of the step Zarr, and of the rest for JSON."""

LOADING = "loading"
"""Clock on what loads networks, once a process; no step of an image."""


@contextmanager
def watching_stages(watch: Stopwatch, config: Config) -> Iterator[None]:
    """Clocks on what the stages call, and on Zarr."""
    import zarr
    from zarr.codecs import Crc32cCodec

    from cuts3d_cli.backends import depth_files
    from cuts3d_cli.backends.base import depth_backend, feature_backend
    from cuts3d_cli.core import confidence, find_instances, segment
    from cuts3d_cli.pipeline import graph as pipeline
    from cuts3d_cli.pipeline import runner as common
    from cuts3d_cli.stages import crf, depth, features, spatial_importance
    from cuts3d_cli.store import checksums, files, store_writer, zarr_store

    create = common.create_store

    @contextmanager
    def create_store(*args, **keywords):
        manager = create(*args, **keywords)
        with watch.part("Zarr"):
            writer = manager.__enter__()
        try:
            yield writer
        finally:
            with watch.part("Zarr"):
                manager.__exit__(*sys.exc_info())

    model = [(type(depth_backend(config.depth)), "predict", "depth model")] if config.data.depth_maps is None else []
    common.create_store = create_store
    checked = [
        (Crc32cCodec, "_encode_sync"),
        (Crc32cCodec, "_decode_sync"),
        (zarr_store.Store, "check_files"),
        *((module, name) for module in (zarr_store, store_writer) for name in ("checksum", "hash_of")),
        (files, "sealed"),
        (checksums, "is_sound"),
    ]
    try:
        with (
            watch.watching_aside(*((owner, name, CHECKSUMS) for owner, name in checked)),
            watch.watching(
                *model,
                (depth, "depth_backend", LOADING),
                (features, "feature_backend", LOADING),
                (common, "read_image", "read image"),
                (common, "check_content", "read image"),
                (depth_files, "depth_of_image", "read depth"),
                (features, "working_image", "resize to the working size"),
                (crf, "working_image", "resize to the working size"),
                (type(feature_backend(config.features)), "extract_batch", "features"),
                (spatial_importance, "spatial_importance", "Spatial Importance"),
                (find_instances, "_Graphs", "affinity and graph"),
                (find_instances._Graphs, "without", "affinity and graph"),
                (find_instances, "second_eigenvectors", "second eigenvector"),
                (find_instances, "bipartition", "bipartition"),
                (find_instances, "semantic_graph", "k-NN graph"),
                (find_instances, "cut_in_3d", "LocalCut: min-cut"),
                (confidence, "semantic_graph", "k-NN graph"),
                (confidence, "local_cut", "Spatial Confidence: T min-cuts"),
                (segment, "DenseCrfs", "CRF: build"),
                (segment, "refine_images", "CRF: inference, fill, judge"),
                (segment, "image_sized_mask", "resize to the image's size"),
                (crf, "annotation", "RLE"),
                (pipeline, "open_store", "Zarr"),
                (zarr.Array, "__getitem__", "Zarr"),
                (store_writer.StoreWriter, "write", "Zarr"),
            ),
        ):
            yield
    finally:
        common.create_store = create


def run_stages(names: list[str], config: Config, folder: str, cpu: bool = False) -> dict[str, Stopwatch]:
    """Run the stages on a shard of images; by stage, where its time went (the sum is the stage's wall time)."""
    from cuts3d_cli.log import quiet
    from cuts3d_cli.pipeline.graph import execute
    from cuts3d_cli.pipeline.runner import Source
    from cuts3d_cli.store.manifest import read_manifest

    run = prepared_run(Path(folder), names, config, n_shards=1)
    manifest = read_manifest(run / "manifest.jsonl")
    depth_maps = None if config.data.depth_maps is None else run / "depth-maps"
    source = Source(manifest.records(0), manifest.image_root, depth_maps)
    watches = {}
    for stage in STAGES:
        watch = watches[stage] = Stopwatch(cpu=cpu)
        with quiet(), watching_stages(watch, config), watch.part("rest"):
            execute(stage, source, config, lambda s: run / s / ("00000.json" if s == "crf" else "00000.zarr"))
    return watches


def warm_stages(names: list[str], config: Config, cpu: bool = False) -> dict[str, Stopwatch]:
    """`run_stages` after a run of one image, which loads what a process loads once."""
    with tempfile.TemporaryDirectory() as folder:
        run_stages(names[:1], config, f"{folder}/first")
        return run_stages(names, config, f"{folder}/run", cpu)


def after(names: list[str], config: Config, cpu: bool = False) -> dict[str, float]:
    """Milliseconds per image of every step of cuts3d."""
    total = dict.fromkeys(STEPS, 0.0)
    for watch in warm_stages(names, config, cpu).values():
        for step, seconds in watch.seconds.items():
            if step != LOADING:
                total[step] += 1e3 * seconds / len(names)
    return total


def before(names: list[str], config: Config, cpu: bool = False) -> dict[str, float]:
    """Milliseconds per image of the steps of the original MaskCut with N instances, without depth and stores."""
    watch = Stopwatch(cpu=cpu)
    _original(names[:1], config, 0, Stopwatch())  # loads what is loaded once
    _original(names, config, config.localcut.n_instances, watch)
    return {step: 1e3 * watch.seconds.get(step, 0.0) / len(names) for step in STEPS}


def _original(names: list[str], config: Config, n_instances: int, watch: Stopwatch) -> None:
    import cutler_maskcut

    from cuts3d_cli.backends.base import feature_backend
    from cuts3d_cli.core import image_sizes, masks
    from cuts3d_cli.store import images
    from cuts3d_cli.store.coco import annotation

    backend = feature_backend(config.features)
    size, crf_size = config.features.image_size, config.crf.image_size
    for name in names:
        with watch.part("read image"):
            image = images.read_image(Path(config.data.images) / name)
        with watch.part("resize to the working size"):
            working = image_sizes.working_image(image, size)
            refined_on = working if crf_size == size else image_sizes.working_image(image, crf_size)
        with watch.part("features"):
            features = backend.extract(working)
        for mask in cutler_maskcut.maskcut(features, config.baseline.tau_ncut, n_instances, watch):
            refined, accepted = cutler_maskcut.crf(refined_on, masks.enlarge(mask, refined_on.shape[:2]), watch)
            with watch.part("resize to the image's size"):
                full = image_sizes.image_sized_mask(refined, image.shape[:2])
            if accepted:
                with watch.part("RLE"):
                    annotation(1, full, 1.0)


def profile_table(before_ms: dict[str, float], after_ms: dict[str, float]) -> str:
    """Both columns in milliseconds and per cent."""
    totals = [sum(column.values()) for column in (before_ms, after_ms)]
    rows = [
        [
            step,
            *(
                cell
                for ms, total in zip(pair, totals, strict=True)
                for cell in (f"{ms:.1f}", f"{100 * ms / total:.1f}")
            ),
        ]
        for step, pair in ((step, (before_ms[step], after_ms[step])) for step in STEPS)
        if any(pair)
    ]
    rows.append(["all", f"{totals[0]:.1f}", "100", f"{totals[1]:.1f}", "100"])
    return markdown_table(["step", "before, ms", "%", "after, ms", "%"], rows)


@click.command(help=__doc__)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML configuration; else the defaults.")
@click.option("--images", "n_images", default=4, show_default=True, help="Images of data.images.")
@click.option("--threads", default=1, show_default=True, help="Threads of BLAS, on both sides.")
@click.option("--cpu", is_flag=True, help="Seconds of the processor, which other work on the machine disturbs less.")
def main(config_file: Path | None, n_images: int, threads: int, cpu: bool) -> None:
    config = configuration(config_file)
    names = image_names(config, n_images)
    columns = [in_child(function, names, config, cpu, threads=threads) for function in (before, after)]
    click.echo(f"{len(names)} images, {threads} thread(s); {'CPU ' if cpu else ''}ms per image")
    click.echo(profile_table(*columns))
    click.echo(f"ratio: {sum(columns[0].values()) / sum(columns[1].values()):.1f}")


if __name__ == "__main__":
    main()
