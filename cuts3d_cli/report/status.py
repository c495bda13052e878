"""What a run contains, stage by stage, what is stale and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cuts3d_cli.config import Config
from cuts3d_cli.errors import Cuts3dError, StoreError
from cuts3d_cli.pipeline.declarations import LAST, STAGES, inputs_of, settings_of, upstream_of
from cuts3d_cli.pipeline.graph import depth_maps_of, result_path, stage_fingerprint
from cuts3d_cli.pipeline.methods import METHODS, OWN, method_config, methods_of
from cuts3d_cli.pipeline.results import Damaged, Found, read_result
from cuts3d_cli.pipeline.runner import Source
from cuts3d_cli.store.checksums import read_own
from cuts3d_cli.store.layout import manifest_path, method_root, pseudo_masks_path, round_path, shard_name
from cuts3d_cli.store.listing import changes, relisted
from cuts3d_cli.store.manifest import ImageRecord, Manifest, read_manifest, shard_range
from cuts3d_cli.store.masks import Counts, read_masks
from cuts3d_cli.training.selftrain import round_config
from cuts3d_cli.training.train import RESUME_ONLY


@dataclass(frozen=True)
class Row:
    """One line of the status: a stage, how many of its shards are present and current, the counts, why it is stale.

    ``method`` is empty for what all methods share.
    """

    stage: str
    present: int
    current: int
    total: int
    counts: str
    why: str
    method: str = ""


def run(
    run_dir: Path, config: Config, *, methods: Sequence[str] | None = None, depth_maps: Path | None = None
) -> list[Row]:
    """Status of a run under a configuration.

    Args:
        run_dir: folder of the run.
        config: the configuration of the run.
        methods: the methods to look at; None for those that such a run makes and those that have results.
        depth_maps: folder of depth maps; None for that of the configuration.

    Raises:
        StoreError: there is no image list.
    """
    manifest = read_manifest(manifest_path(run_dir))
    if depth_maps is None:
        depth_maps = depth_maps_of(manifest, config)
    made = methods_of(config)
    chosen = methods or [name for name in METHODS if name in made or method_root(run_dir, name).is_dir()]
    records, changed = _records_now(manifest)
    ranges = [shard_range(len(records), manifest.n_shards, index) for index in range(manifest.n_shards)]
    sources = [Source(records[start:stop], manifest.image_root, depth_maps) for start, stop in ranges]
    rows: dict[tuple[str, str], Row] = {}
    for method in chosen:
        rows |= _method_rows(run_dir, method, method_config(method, config), sources)
    ordered = sorted(rows.values(), key=lambda row: row.method != "")  # shared stages first
    detector = []
    if OWN in chosen and (run_dir / "detector").exists():
        detector = _detector_rows(run_dir, config, masks_current=bool(rows[OWN, "merge"].current))
    return [Row("prepare", 1, int(not changed), 1, f"{manifest.n_images} images", changed), *ordered, *detector]


def _method_rows(run_dir: Path, method: str, config: Config, sources: Sequence[Source]) -> dict[tuple[str, str], Row]:
    """Rows of all stages that a method needs, by method (empty for what is shared) and stage."""
    found: dict[tuple[str, int], Found | Damaged] = {}
    expected: dict[tuple[str, int], str] = {}
    rows = {}
    for stage in [*upstream_of(LAST, config), LAST]:
        for index in range(len(sources)):
            if (result := read_result(stage, result_path(run_dir, stage, shard_name(index), method))) is not None:
                found[stage, index] = result
        of = "" if STAGES[stage].shared else method
        rows[of, stage] = replace(_stage_row(stage, config, sources, found, expected), method=of)
    merged = _merge_row(run_dir, method, [expected[LAST, index] for index in range(len(sources))])
    return {**rows, (method, "merge"): replace(merged, method=method)}


def _records_now(manifest: Manifest) -> tuple[list[ImageRecord], str]:
    """The records that a list of the folder made now would have, and how it differs from the one there.

    Where the folder is gone the records are those of the list, which a finished run has no more need of.
    """
    before = manifest.records()
    if not manifest.image_root.exists():
        return before, ""
    try:
        now = relisted(manifest)
    except Cuts3dError as error:
        return before, str(error)
    counts = changes(before, now)
    changed = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return (now, changed) if changed else (before, "")


def _stage_row(
    stage: str,
    config: Config,
    sources: Sequence[Source],
    found: Mapping[tuple[str, int], Found | Damaged],
    expected: dict,
) -> Row:
    """Row of a stage; its expected fingerprint, given those of the stages before it, is added to ``expected``."""
    present, current, reasons, counts = 0, 0, Counter(), Counts()
    settings = settings_of(stage, config)
    for index, source in enumerate(sources):
        inputs = {name: expected[name, index] for name in inputs_of(stage, config)}
        expected[stage, index] = stage_fingerprint(stage, config, inputs, source)
        result = found.get((stage, index))
        if result is None:
            continue
        if isinstance(result, Damaged):
            reasons[result.reason] += 1
            continue
        present += 1
        counts = _sum(counts, result.counts, index)
        if result.fingerprint == expected[stage, index]:
            current += 1
        else:
            reasons[_why(stage, result, settings, inputs)] += 1
    return Row(stage, present, current, len(sources), str(counts) if present else "", "; ".join(reasons))


def _why(stage: str, result: Found, wanted: Mapping[str, Mapping[str, Any]], inputs: Mapping[str, str]) -> str:
    """Why a result differs from what the configuration asks for."""
    if result.algorithm != STAGES[stage].algorithm:
        return f"made by version {result.algorithm} of the algorithm, now {STAGES[stage].algorithm}"
    changed = []
    for section, values in wanted.items():
        before = result.sections.get(section, {})
        name = "" if section == stage.replace("-", "_") else f"{section}."
        changed += [f"{name}{key} {before.get(key)} -> {v}" for key, v in values.items() if before.get(key) != v]
    if changed:
        return ", ".join(changed)
    other = sorted(name for name in {*inputs, *result.inputs} if result.inputs.get(name) != inputs.get(name))
    return f"made from other inputs: {', '.join(other)}" if other else "images, depth maps or weights changed"


def _sum(a: Counts, b: Counts, shard: int) -> Counts:
    """Counts plus those of a shard, whose failures are keyed by row."""
    return a + replace(b, failures={f"{shard}/{name}": text for name, text in b.failures.items()})


def _merge_row(run_dir: Path, method: str, shards: list[str]) -> Row:
    path = pseudo_masks_path(run_dir, method)
    if not path.exists():
        return Row("merge", 0, 0, 1, "", "")
    try:
        masks = read_masks(path, own=True)
    except StoreError as error:
        return Row("merge", 1, 0, 1, "", str(error))
    why = "" if list(masks.provenance.inputs.values()) == shards else "made from other inputs: crf"
    return Row("merge", 1, int(not why), 1, f"{len(masks.annotations)} masks", why)


def _detector_rows(run_dir: Path, config: Config, *, masks_current: bool) -> list[Row]:
    """A row for the first training and each round; one is current only if all before it are."""
    rows, before, stale = [], "merge", not masks_current
    for number in config.trainings:
        folder, name = round_path(run_dir, number), "train" if number == 0 else f"selftrain {number}"
        if not (folder / "checkpoint.pth").exists():
            why = "an interrupted training can be resumed" if (folder / "work").exists() else ""
            rows.append(Row(name, 0, 0, 1, "", why))
        else:
            why = _training_changes(folder, config, number) or (f"made from other inputs: {before}" if stale else "")
            rows.append(Row(name, 1, int(not why), 1, "", why))
        before, stale = name, stale or not rows[-1].current
    return rows


def _training_changes(folder: Path, config: Config, number: int) -> str:
    """Settings in which a finished training differs from the configuration."""
    wanted = (round_config(config.selftrain, config.train) if number else config.train).model_dump(mode="json")
    wanted = {key: value for key, value in wanted.items() if key not in RESUME_ONLY}
    path = folder / "config.json"
    try:
        made = read_own(path)
        before = {**made["train"], "seed": made["seed"]}
    except (KeyError, TypeError, StoreError):
        return f"{path} is missing or damaged"
    wanted["seed"] = config.seed + number
    return ", ".join(f"{key} {before.get(key)} -> {value}" for key, value in wanted.items() if before.get(key) != value)
