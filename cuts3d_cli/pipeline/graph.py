"""Running one stage on a shard of a run or on an image's cache alike, and knowing whether its result is there."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from cuts3d_cli.config import Config
from cuts3d_cli.errors import StoreError
from cuts3d_cli.log import logger
from cuts3d_cli.pipeline.declarations import LAST, STAGES, inputs_of, settings_of, upstream_of
from cuts3d_cli.pipeline.memory import NEED_AFFINITY, check_memory
from cuts3d_cli.pipeline.methods import OWN
from cuts3d_cli.pipeline.results import Damaged, Found, read_result
from cuts3d_cli.pipeline.retries import changed_since, failed_here, note_failed
from cuts3d_cli.pipeline.runner import (
    LOST,
    Earlier,
    Job,
    Source,
    check_aligned,
    contents,
    count_statuses,
    images_fingerprint,
    lost_before,
)
from cuts3d_cli.store.files import fingerprint
from cuts3d_cli.store.layout import FAILED, FORMAT_VERSION, command_for, stage_path
from cuts3d_cli.store.manifest import Manifest
from cuts3d_cli.store.masks import Counts
from cuts3d_cli.store.zarr_store import Store, open_store


def depth_maps_of(manifest: Manifest, config: Config) -> Path | None:
    """Folder of the depth maps that the configuration names for the images of a list; None: beside the images."""
    data = config.data
    for images, maps in ((data.images, data.depth_maps), (data.val_images, data.val_depth_maps)):
        if images and maps and Path(os.path.realpath(images)) == manifest.image_root:
            return Path(maps)
    return None


def result_path(run: str | Path, stage: str, shard: str, method: str = OWN) -> Path:
    """Where a stage's result for a shard of a run lies when a method asks for it."""
    return stage_path(run, stage, shard, None if STAGES[stage].shared else method)


def stage_fingerprint(stage: str, config: Config, inputs: Mapping[str, str], source: Source, files: Any = None) -> str:
    """Hash of everything that a stage's result depends on.

    Args:
        stage: one of `declarations.STAGES`.
        config: the configuration; the settings count that the stage declares.
        inputs: fingerprints of the results it reads, by stage.
        source: the images.
        files: hashes of the files that the stage reads where they are known, `Stage.files`.
    """
    declared = STAGES[stage]
    return fingerprint(
        {
            "stage": stage,
            "format": FORMAT_VERSION,
            "algorithm": declared.algorithm,
            "settings": settings_of(stage, config),
            "inputs": dict(inputs),
            "images": contents(source.records),
            "files": declared.files(config, source) if files is None else files,
        }
    )


def row_fingerprints(stage: str, config: Config, inputs: Mapping[str, Store], source: Source, files: Any) -> list[str]:
    """Hash of everything that the result of each image depends on, whatever other images there are.

    Args:
        stage: one of `declarations.STAGES`.
        config: the configuration.
        inputs: the results it reads, by stage; those without such hashes have one of their own for each row.
        source: the images.
        files: hashes of the files that the stage reads, `Stage.files`.
    """
    declared, n = STAGES[stage], len(source.records)
    of_image = declared.files_of_image
    alike = fingerprint([stage, FORMAT_VERSION, declared.algorithm, settings_of(stage, config)])
    before = [
        store.attrs.get("rows") or [f"{store.fingerprint} {row}" for row in range(n)] for store in inputs.values()
    ]
    return [
        fingerprint([alike, record.digest, of_image(files, record.file_name), [rows[row] for rows in before]])
        for row, record in enumerate(source.records)
    ]


def expected_fingerprints(config: Config, source: Source, upto: str = LAST) -> dict[str, str]:
    """The fingerprint each stage's result has when made from these images with this configuration."""
    result: dict[str, str] = {}
    for stage in [*upstream_of(upto, config), upto]:
        inputs = {name: result[name] for name in inputs_of(stage, config)}
        result[stage] = stage_fingerprint(stage, config, inputs, source)
    return result


def execute(
    stage: str, source: Source, config: Config, path_of: Callable[[str], Path], *, force: bool = False
) -> tuple[Counts, bool]:
    """Run one stage from the results of the stages before it, unless its result is there already.

    Of a result that is there, the images that failed are tried again. Of one that was made from other images with the
    same settings, the images are taken that are the same.

    Args:
        stage: one of `declarations.STAGES`.
        source: the images.
        config: the configuration of the method.
        path_of: where a stage's result on these images lies.
        force: recompute it even if it is up to date.

    Returns:
        How the images ended, failures by file name, and whether an earlier result was kept.

    Raises:
        StoreError: an input is missing or was made from something else than the others.
        TooManyFailedError: more images failed than ``config.max_failed`` allows; an earlier result stays.
    """
    stores = {name: open_store(path_of(name), name) for name in inputs_of(stage, config)}
    for store in stores.values():
        check_algorithm(store.path, store.stage, store.attrs["algorithm"])
    _check_lineage(stores)
    check_aligned(list(stores.values()), source.records)
    files = STAGES[stage].files(config, source)
    expected = stage_fingerprint(stage, config, fingerprints_of(stores), source, files)
    out = path_of(stage)
    found = None if force else _found(stage, out)
    if found is not None and is_wanted(found, expected, source):
        failures = failures_by_name(stage, found.counts, source)
        if not _to_try(failures, source, stores):
            return replace(found.counts, failures=failures), True
    if stage in NEED_AFFINITY:
        check_memory(config)
    module = import_module(f"cuts3d_cli.stages.{stage.replace('-', '_')}")
    settings, algorithm = settings_of(stage, config), STAGES[stage].algorithm
    rows = row_fingerprints(stage, config, stores, source, files)
    earlier = _earlier(stage, found, expected, rows, source, stores)
    job = Job(source, stores, out, expected, config, settings, algorithm, rows, earlier)
    counts = module.run(job)
    note_failed(out, job.tried)
    if (
        counts.failures
        and changed_since(stage, out, source.image_root, source.depth_maps)  # while the others were computed
        and expected == stage_fingerprint(stage, config, fingerprints_of(stores), source)
    ):
        again = _earlier(stage, _found(stage, out), expected, rows, source, stores)
        job = replace(job, earlier=again, tried={})
        counts = module.run(job)
        note_failed(out, job.tried)
    return counts, earlier is not None and counts.failures == earlier.failures


def _found(stage: str, path: Path) -> Found | None:
    """The result at a path, if it is whole."""
    result = read_result(stage, path)
    if isinstance(result, Damaged):
        logger.warning("%s: recomputed, as %s", stage, result.reason)
        return None
    return result


def _earlier(
    stage: str,
    found: Found | None,
    expected: str,
    rows: Sequence[str],
    source: Source,
    stores: Mapping[str, Store],
) -> Earlier | None:
    """What an earlier result has of the images: all that did not fail if it is the wanted one, else those that are
    the same; None if nothing."""
    if found is None:
        return None
    finished = [row for row, status in enumerate(found.statuses) if status != FAILED]
    if is_wanted(found, expected, source):
        kept = {row: row for row in finished}
        failures = failures_by_name(stage, found.counts, source)
    else:
        at = {found.row_fingerprints[row]: row for row in finished if found.row_fingerprints}
        usable = [row for row, record in enumerate(source.records) if lost_before(row, record, stores.values()) is None]
        kept, failures = {row: at[rows[row]] for row in usable if rows[row] in at}, None
        if not kept:
            return None
        logger.info("%s: %d of %d images are as before", stage, len(kept), len(rows))
    return Earlier(found.fingerprint, kept, count_statuses([found.statuses[row] for row in kept.values()]), failures)


def fingerprints_of(stores: Mapping[str, Store]) -> dict[str, str]:
    """Fingerprints by stage."""
    return {name: store.fingerprint for name, store in stores.items()}


def check_algorithm(path: Path, stage: str, algorithm: int) -> None:
    """Check that the result at a path was made by the algorithm that its stage has now.

    Raises:
        StoreError: it was not.
    """
    if algorithm != STAGES[stage].algorithm:
        raise StoreError(
            f"{path} was made by another version of the algorithm",
            expected=f"version {STAGES[stage].algorithm}",
            found=f"version {algorithm}",
            hint=f"rerun `{command_for(stage, path)}`",
        )


def is_wanted(found: Found, expected: str, source: Source) -> bool:
    """Whether a result is the one that these images, under their names, give; failed images may be tried again.

    Args:
        found: the result.
        expected: the fingerprint that it has then.
        source: the images.
    """
    names = [record.file_name for record in source.records]
    return found.fingerprint == expected and (source.any_name or not found.names or list(found.names) == names)


def failures_by_name(stage: str, counts: Counts, source: Source) -> dict[str, str]:
    """Why images failed in a result of a stage on these images, by file name."""
    if stage == LAST:
        return counts.failures
    names = {str(row): record.file_name for row, record in enumerate(source.records)}
    return {names.get(row, row): text for row, text in counts.failures.items()}


def failed_at(stage: str, counts: Counts, source: Source) -> list[str]:
    """The images that failed in this very stage: they could be read, and no stage before has lost them."""
    unread = {record.file_name for record in source.records if record.error}
    failures = failures_by_name(stage, counts, source)
    return [name for name, text in failures.items() if name not in unread and not text.startswith(LOST)]


def _to_try(failures: Mapping[str, str], source: Source, stores: Mapping[str, Store]) -> list[str]:
    """The images that failed and may end otherwise now: not those that were lost before, as they are still."""
    return [
        record.file_name
        for row, record in enumerate(source.records)
        if record.file_name in failures and lost_before(row, record, stores.values()) != failures[record.file_name]
    ]


def may_recover(stage: str, found: Found, source: Source, config: Config, path_of: Callable[[str], Path]) -> bool:
    """Whether images that failed in a result may end otherwise now.

    They may if their files have changed since, or if an earlier stage has them now. Of other images nothing is said.
    """
    images = images_fingerprint(source.records)
    if not found.counts.failures or found.images != images:
        return False
    if changed_since(stage, path_of(stage), source.image_root, source.depth_maps):
        return True
    try:
        stores = {name: open_store(path_of(name), name) for name in inputs_of(stage, config)}
        check_aligned(list(stores.values()), source.records)
    except StoreError:  # it is made again first
        return True
    lost_here = failed_here(path_of(stage))
    failures = failures_by_name(stage, found.counts, source)
    return any(name not in lost_here for name in _to_try(failures, source, stores))


def _check_lineage(stores: dict[str, Store]) -> None:
    """Among the inputs, whatever was made from another input was made from this very one."""
    for store in stores.values():
        store.require_made_from(*(other for other in stores.values() if other.stage in store.inputs))
