"""What a run contains, stage by stage, what is stale and why: what the workflow would make again.

A stage is stale where its record differs from what the configuration and the images ask for, and where it follows
something that is made again, as in the workflow. What was deleted is made again where something stale reads it, and
always where it is a product of the run; `evaluation.plan` and the Snakefile's ``PRODUCTS`` say what those are.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cuts3d_cli.config import Config
from cuts3d_cli.config.backends import READS_FILES
from cuts3d_cli.errors import Cuts3dError, StoreError
from cuts3d_cli.pipeline.declarations import LAST, STAGES, inputs_of, settings_of, upstream_of
from cuts3d_cli.pipeline.depth_listing import maps_are_gone
from cuts3d_cli.pipeline.graph import (
    depth_maps_of,
    failed_at,
    is_wanted,
    may_recover,
    result_path,
    stage_fingerprint,
)
from cuts3d_cli.pipeline.methods import METHODS, OWN, method_config, methods_of
from cuts3d_cli.pipeline.results import Damaged, Found, read_result
from cuts3d_cli.pipeline.runner import Source, images_fingerprint
from cuts3d_cli.report.run_status import later_rows, training_rows
from cuts3d_cli.report.status_rows import HELD_OUT, Row, SetStatus
from cuts3d_cli.store.image_files import counted
from cuts3d_cli.store.layout import command_for, manifest_path, method_root, pseudo_masks_path, shard_name
from cuts3d_cli.store.listing import arranged, changes, relisted, tell_changes
from cuts3d_cli.store.manifest import ImageRecord, Manifest, read_manifest
from cuts3d_cli.store.masks import Counts, read_masks

OTHER_FILES = "images, depth maps or weights changed"


@dataclass(frozen=True)
class Wanted:
    """What the configuration of a workflow says of a set of images: their folder and the number of shards."""

    folder: str
    n_shards: int


def run(
    run_dir: Path, config: Config, *, methods: Sequence[str] | None = None, depth_maps: Path | None = None
) -> list[Row]:
    """Status of a run under a configuration.

    Where the configuration names this run, it is that of a workflow, and all that the workflow makes is looked at. Else
    the run is a folder of results: its image list is taken as it is, and what follows the trainings is left out.

    Args:
        run_dir: folder of the run.
        config: the configuration of the run.
        methods: the methods to look at; None for those that such a run makes, or that such a folder has, and for what
            follows the trainings.
        depth_maps: folder of depth maps; None for that of the configuration.

    Raises:
        StoreError: there is no image list, nor does the configuration name this run; or the list is damaged.
    """
    data, whole = config.data, os.path.realpath(config.run) == os.path.realpath(run_dir)
    made = methods_of(config)
    there = made if whole else [name for name in METHODS if name == OWN or method_root(run_dir, name).is_dir()]
    chosen = methods or there
    wanted = Wanted(data.images, data.n_shards) if whole else None
    sets = {"train": _set_status(run_dir, config, chosen, depth_maps, wanted)}
    if whole and data.val_images is not None:
        wanted, chosen_too = Wanted(data.val_images, data.val_shards), [name for name in chosen if name in made]
        sets["val"] = _set_status(run_dir / "val", config, chosen_too, None, wanted, images=HELD_OUT)
    rows = [row for found in sets.values() for row in found.rows]
    if OWN not in chosen or not (whole or (run_dir / "detector").exists()):
        return rows
    trainings = training_rows(run_dir, config, masks_stale=OWN in sets["train"].stale)
    rows += trainings
    return rows + later_rows(run_dir, config, sets, trainings) if whole and not methods else rows


def _set_status(
    base: Path,
    config: Config,
    methods: Sequence[str],
    depth_maps: Path | None,
    wanted: Wanted | None,
    images: str = "",
) -> SetStatus:
    """Status of the masks of the images listed below ``base``."""
    if wanted is not None and not manifest_path(base).exists():
        return _unlisted(config, methods, wanted, images)
    manifest = read_manifest(manifest_path(base))
    records, changed = _records_now(manifest)
    changed = ", ".join(filter(None, [changed, _other_list(manifest, wanted)]))
    n_shards = wanted.n_shards if wanted else manifest.n_shards
    shards = arranged(records, manifest, n_shards)
    depth_maps = depth_maps or depth_maps_of(manifest, config)
    sources = [Source(shard, manifest.image_root, depth_maps) for shard in shards]
    nodes: dict[Key, _Node] = {}
    configs = {method: method_config(method, config) for method in methods}
    for method in methods:
        _add_nodes(nodes, base, method, configs[method], sources)
    _propagate(nodes, everything=bool(changed) and wanted is not None)
    rows = [Row("prepare", 1, int(not changed), 1, f"{manifest.n_images} images", changed, images=images)]
    keys = {(key.method, key.stage) for key in nodes}
    for of in ("", *METHODS):  # shared stages first
        for stage in [*STAGES, "merge"]:
            if (of, stage) in keys:
                here = [node for key, node in nodes.items() if (key.method, key.stage) == (of, stage)]
                rows.append(_row(here, stage, of, images))
    stale = {key.method for key, node in nodes.items() if key.stage == "merge" and node.stale}
    listed = [record for shard in shards for record in shard]
    return SetStatus(rows, stale, bool(changed), images_fingerprint(listed), manifest.image_root)


def _unlisted(config: Config, methods: Sequence[str], wanted: Wanted, images: str) -> SetStatus:
    """Status of images without a list: all is made, whatever may lie there."""
    steps = {}
    for method in methods:
        used = method_config(method, config)
        for stage in [*upstream_of(LAST, used), LAST, "merge"]:
            steps["" if stage in STAGES and STAGES[stage].shared else method, stage] = None
    rows = [Row(stage, 0, 0, 1 if stage == "merge" else wanted.n_shards, "", "", of, images) for of, stage in steps]
    return SetStatus([Row("prepare", 0, 0, 1, "", "", images=images), *rows], set(methods), True, "")


def _other_list(manifest: Manifest, wanted: Wanted | None) -> str:
    """How the configuration asks for another list than this one."""
    if wanted is None:
        return ""
    told = []
    if Path(wanted.folder).is_dir() and Path(os.path.realpath(wanted.folder)) != manifest.image_root:
        told.append(f"images {manifest.image_root} -> {wanted.folder}")
    if wanted.n_shards != manifest.n_shards:
        told.append(f"n_shards {manifest.n_shards} -> {wanted.n_shards}")
    return ", ".join(told)


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
    changed = tell_changes(changes(before, now))
    return (now, changed) if changed else (before, "")


@dataclass(frozen=True)
class Key:
    """A stage's result: of which method (empty where all share it), of which shard; merged masks are of shard 0."""

    method: str
    stage: str
    shard: int


@dataclass
class _Node:
    """What lies at a result's place.

    Attributes:
        inputs: the results that it is made from.
        expected: the fingerprint that it has when it is current.
        present: whether it is there and whole.
        differs: why it is not the one that is wanted; empty where it is, or is missing.
        damage: why it cannot be used as it is.
        counts: how the images ended.
        incomplete: how many images failed in it, and what tries them again.
        about: what else there is to say of it.
        stale: whether it is made again.
        follows: what it is made again for, where nothing else is wrong with it.
    """

    inputs: list[Key]
    expected: str = ""
    present: bool = False
    differs: str = ""
    damage: str = ""
    counts: Counts = field(default_factory=Counts)
    incomplete: str = ""
    about: str = ""
    stale: bool = False
    follows: str = ""

    @property
    def missing(self) -> bool:
        return not self.present and not self.damage


def _add_nodes(nodes: dict[Key, _Node], base: Path, method: str, config: Config, sources: Sequence[Source]) -> None:
    """Add the results that a method's masks are made from."""

    def key(stage: str, shard: int) -> Key:
        return Key("" if STAGES[stage].shared else method, stage, shard)

    for stage in [*upstream_of(LAST, config), LAST]:
        settings = settings_of(stage, config)
        for index, source in enumerate(sources):
            if key(stage, index) in nodes:
                continue
            names = inputs_of(stage, config)
            node = nodes[key(stage, index)] = _Node([key(name, index) for name in names])
            inputs = {name: nodes[key(name, index)].expected for name in names}
            node.expected = stage_fingerprint(stage, config, inputs, source)

            def path_of(each: str, shard: str = shard_name(index)) -> Path:
                return result_path(base, each, shard, method)

            result = read_result(stage, path_of(stage))
            if isinstance(result, Damaged):
                node.damage = result.reason
            elif result is not None:
                node.present, node.counts = True, result.counts
                changed = may_recover(stage, result, source, config, path_of)
                told = _failures(stage, result, source, path_of(stage), base, changed=changed)
                wanted = is_wanted(result, node.expected, source)
                why = "" if wanted else _why(stage, result, settings, inputs)
                if stage == "depth" and why == OTHER_FILES and _without_maps(config, source):
                    why, node.expected = "", result.fingerprint
                if why or changed:
                    node.differs = why or told
                else:
                    node.incomplete = told
    crf = [key(LAST, index) for index in range(len(sources))]
    merged = nodes[Key(method, "merge", 0)] = _Node(crf)
    path = pseudo_masks_path(base, method)
    if not path.exists():
        return
    try:
        masks = read_masks(path, own=True)
    except StoreError as error:
        merged.damage = str(error)
        return
    merged.present, merged.about = True, f"{len(masks.annotations)} masks"
    names = sorted(record.file_name for source in sources for record in source.records)
    made_from = list(masks.provenance.inputs.values())
    if made_from != [nodes[each].expected for each in crf] or names != [image["file_name"] for image in masks.images]:
        merged.differs = f"made from other inputs: {LAST}"


def _without_maps(config: Config, source: Source) -> bool:
    """Whether the depth was made from maps whose folder is gone."""
    return config.depth.backend in READS_FILES and maps_are_gone(source.image_root, source.depth_maps)


def _failures(stage: str, result: Found, source: Source, path: Path, base: Path, *, changed: bool) -> str:
    """How many images failed in a result, and what tries them again; nothing where none did."""
    if not (n_failed := len(result.counts.failures)):
        return ""
    told = f"incomplete: {counted(n_failed, 'image')} failed"
    if not failed_at(stage, result.counts, source):
        return f"{told} before" + (", and an earlier stage has some of them now" if changed else "")
    files = "have changed since" if changed else "are as they were"
    return f"{told}, files {files}; tried again by `{command_for(stage, path)} --run {base}`"


def _propagate(nodes: Mapping[Key, _Node], *, everything: bool) -> None:
    """Mark what is made again: what differs, what follows it, and what was deleted and is read by any of it.

    Args:
        nodes: results, each after its inputs.
        everything: the image list is made again, and all that follows it.
    """
    for key, node in nodes.items():
        if everything and node.differs == OTHER_FILES:
            node.differs = ""
        node.stale = bool(node.differs or node.damage) or (key.stage == "merge" and node.missing)
        if everything and not node.stale:
            node.stale, node.follows = True, "the image list"
    changed = True
    while changed:
        changed = False
        for node in nodes.values():  # forwards: what follows a result that is made again
            cause = next((key.stage for key in node.inputs if nodes[key].stale and not nodes[key].damage), "")
            if cause and not node.stale and not node.missing:
                node.stale, node.follows, changed = True, cause, True
        for node in nodes.values():  # backwards: what a result that is made again reads
            for key in node.inputs if node.stale and not node.damage else ():
                if nodes[key].missing and not nodes[key].stale:
                    nodes[key].stale = changed = True


def _row(nodes: Sequence[_Node], stage: str, method: str, images: str) -> Row:
    """The row of a stage from its shards."""
    reasons = Counter(node.damage or node.differs for node in nodes)
    reasons += Counter(f"{node.follows} is made again" for node in nodes if node.follows and node.present)
    told = [reason for reason in reasons if reason]
    told += dict.fromkeys(node.incomplete for node in nodes if node.incomplete and not node.stale)
    present = [node for node in nodes if node.present]
    if unneeded := sum(node.missing and not node.stale for node in nodes):
        told.append(f"{unneeded} deleted, not needed by what is there")
    counts = Counts()
    for index, node in enumerate(nodes):
        counts += replace(node.counts, failures={f"{index}/{row}": text for row, text in node.counts.failures.items()})
    about = present[0].about or str(counts) if present else ""
    current = sum(not node.stale for node in nodes)
    return Row(stage, len(present), current, len(nodes), about, "; ".join(told), method, images)


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
    return f"made from other inputs: {', '.join(other)}" if other else OTHER_FILES
