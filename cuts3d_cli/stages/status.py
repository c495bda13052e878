"""What a run holds, stage by stage, what is stale and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuts3d_cli import __version__
from cuts3d_cli.config import Config
from cuts3d_cli.errors import Cuts3dError, StoreError
from cuts3d_cli.stages.common import Counts, Source, count_statuses, stage_fingerprint
from cuts3d_cli.stages.pipeline import extra_of, inputs_of, section_of, upstream_of
from cuts3d_cli.stages.prepare import find_images
from cuts3d_cli.store.coco import read_masks
from cuts3d_cli.store.layout import manifest_path, pseudo_masks_path, round_path, shard_name, stage_path
from cuts3d_cli.store.manifest import Manifest, read_manifest
from cuts3d_cli.store.zarr_store import open_store


@dataclass(frozen=True)
class Row:
    """One line of the status: a stage, how many of its parts are there and current, the counts, why it is stale."""

    stage: str
    present: int
    current: int
    total: int
    counts: str
    why: str


@dataclass(frozen=True)
class Found:
    """A stage's result on a shard: fingerprint, counts, what it was made with."""

    fingerprint: str
    counts: Counts
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    version: str


def run(run_dir: Path, config: Config, *, branch: str | None = None, depth_maps: Path | None = None) -> list[Row]:
    """Status of a run under a configuration.

    Raises:
        StoreError: there is no image list.
    """
    manifest = read_manifest(manifest_path(run_dir))
    rows = [_manifest_row(manifest)]
    stages = [*upstream_of("crf", config), "crf"]
    found: dict[tuple[str, int], Found] = {}
    for stage in stages:
        for index in range(manifest.n_shards):
            if (result := read_result(stage, stage_path(run_dir, stage, shard_name(index), branch))) is not None:
                found[stage, index] = result
    sources = [Source(manifest.records(index), manifest.image_root, depth_maps) for index in range(manifest.n_shards)]
    rows += [_stage_row(stage, config, sources, found) for stage in stages]
    rows.append(_merge_row(run_dir, branch, [found.get(("crf", index)) for index in range(manifest.n_shards)]))
    if branch is None and (run_dir / "detector").exists():
        rows += _detector_rows(run_dir, config)
    return rows


def read_result(stage: str, path: Path) -> Found | None:
    """What lies at a stage's path; None if nothing readable."""
    if not path.exists():
        return None
    try:
        if stage == "crf":
            info = read_masks(path)["info"]
            return Found(
                info["fingerprint"], Counts(**info["counts"]), info["config"]["crf"], info["inputs"], info["version"]
            )
        store = open_store(path, stage)
    except StoreError:
        return None
    return Found(store.fingerprint, count_statuses(store), store.config, store.inputs, store.attrs["package_version"])


def _manifest_row(manifest: Manifest) -> Row:
    try:
        now = len(find_images(manifest.image_root))
    except Cuts3dError as error:  # the folder may be gone
        return Row("prepare", 1, 0, 1, f"{manifest.n_images} images", str(error))
    why = "" if now == manifest.n_images else f"the folder holds {now} images now, the list {manifest.n_images}"
    return Row("prepare", 1, int(not why), 1, f"{manifest.n_images} images", why)


def _stage_row(stage: str, config: Config, sources: list[Source], found: Mapping[tuple[str, int], Found]) -> Row:
    present, current, reasons, counts = 0, 0, Counter(), Counts()
    section = section_of(stage, config)
    for index, source in enumerate(sources):
        result = found.get((stage, index))
        if result is None:
            continue
        present += 1
        counts = _sum(counts, result.counts, index)
        inputs = {name: found[name, index].fingerprint for name in inputs_of(stage, config) if (name, index) in found}
        expected = stage_fingerprint(stage, section, inputs, source.records, extra_of(stage, config, source))
        if result.fingerprint == expected:
            current += 1
        else:
            reasons[_why(result, section.model_dump(mode="json"), inputs)] += 1
    return Row(stage, present, current, len(sources), str(counts) if present else "", "; ".join(reasons))


def _why(result: Found, wanted: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Why a result differs from what the configuration asks for."""
    if result.version != __version__:
        return f"made by cuts3d {result.version}, this is {__version__}"
    changed = [
        f"{key} {result.config.get(key)} -> {value}" for key, value in wanted.items() if result.config.get(key) != value
    ]
    if changed:
        return ", ".join(changed)
    other = [name for name, value in inputs.items() if result.inputs.get(name) != value]
    other += [f"no {name}" for name in result.inputs if name not in inputs]
    return f"made from other inputs: {', '.join(other)}" if other else "images or depth maps changed"


def _sum(a: Counts, b: Counts, shard: int) -> Counts:
    failures = {**a.failures, **{f"{shard}/{name}": text for name, text in b.failures.items()}}
    return Counts(a.done + b.done, a.no_object + b.no_object, failures)


def _merge_row(run_dir: Path, branch: str | None, shards: list[Found | None]) -> Row:
    path = pseudo_masks_path(run_dir, branch)
    if not path.exists():
        return Row("merge", 0, 0, 1, "", "")
    document = read_masks(path)
    now = [shard.fingerprint if shard else None for shard in shards]
    why = "" if document["info"].get("shards") == now else "made from other inputs: crf"
    return Row("merge", 1, int(not why), 1, f"{len(document['annotations'])} masks", why)


def _detector_rows(run_dir: Path, config: Config) -> list[Row]:
    rows = []
    for number in range(config.selftrain.rounds + 1):
        folder = round_path(run_dir, number)
        there = (folder / "checkpoint.pth").exists()
        work = "a stopped training is there to resume" if not there and (folder / "work").exists() else ""
        rows.append(Row("train" if number == 0 else f"selftrain {number}", int(there), int(there), 1, "", work))
    return rows
