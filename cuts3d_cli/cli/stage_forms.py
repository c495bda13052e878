"""What a stage command does after parsing its options."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from cuts3d_cli.cli.typed import shown
from cuts3d_cli.config import Config, load
from cuts3d_cli.config.backends import AUTO
from cuts3d_cli.errors import ConfigError, Cuts3dError, printable
from cuts3d_cli.log import logger, progress
from cuts3d_cli.pipeline import depth_notes
from cuts3d_cli.pipeline.cache import check_depth_map, image_files, run_image
from cuts3d_cli.pipeline.declarations import STAGES, inputs_of, settings_of, upstream_of
from cuts3d_cli.pipeline.depth_listing import maps_before, note_maps
from cuts3d_cli.pipeline.graph import depth_maps_of, may_recover, result_path, stage_fingerprint
from cuts3d_cli.pipeline.image_set import common_root, relative_name, tell_predicted
from cuts3d_cli.pipeline.methods import method_config
from cuts3d_cli.pipeline.repair import execute_or_repair
from cuts3d_cli.pipeline.results import Damaged, Found, read_result
from cuts3d_cli.pipeline.retries import tell_replaced
from cuts3d_cli.pipeline.runner import NOT_OF_AN_IMAGE, Source, check_aligned, check_failed
from cuts3d_cli.report import preview
from cuts3d_cli.store.image_stamps import replaced_images
from cuts3d_cli.store.layout import manifest_path, shard_name
from cuts3d_cli.store.manifest import read_manifest
from cuts3d_cli.store.masks import Counts
from cuts3d_cli.store.settings import last_settings
from cuts3d_cli.store.zarr_store import open_store


def on_run(
    stage: str,
    run_dir: Path,
    shard: int | None,
    config: Config,
    *,
    method: str,
    depth_maps: Path | None,
    force: bool,
) -> None:
    """Run a stage on one shard of a run, or on all, after the stages before it whose results are missing there.

    A result that is there is taken as it is, but that images which failed are tried again where their files have
    changed since; the stage itself says where it does not fit.
    """
    manifest = read_manifest(manifest_path(run_dir))
    if depth_maps is not None and depth_maps.is_file() and manifest.n_images > 1:
        raise Cuts3dError(
            f"depth map {depth_maps}",
            expected="a folder of depth maps",
            found=f"one file for the run's {manifest.n_images} images",
        )
    depth_maps_given = depth_maps is not None
    if depth_maps is None:
        depth_maps = depth_maps_of(manifest, config)
    workflow, config = _workflow_config(run_dir, method), method_config(method, config)
    if "depth" in (stage, *upstream_of(stage, config)):
        depth_notes.tell_unread(depth_maps if depth_maps_given else None, config)
    notes, n_images, n_read = [], 0, 0
    for index in [shard] if shard is not None else range(manifest.n_shards):
        name = shard_name(index)
        source = Source(manifest.records(index), manifest.image_root, depth_maps)

        def path_of(each: str, name: str = name) -> Path:
            return result_path(run_dir, each, name, method)

        found = {each: read_result(each, path_of(each)) for each in upstream_of(stage, config)}
        missing = [each for each, result in found.items() if not _is_usable(each, result)]
        incomplete: list[str] = []
        for each, result in found.items():
            if not isinstance(result, Found) or each in missing or not _has_settings(each, result, config):
                continue
            follows = result.counts.failures and not {*missing, *incomplete}.isdisjoint(inputs_of(each, config))
            if follows or may_recover(each, result, source, config, path_of):
                incomplete.append(each)
        if depth_maps_given and "depth" in upstream_of(stage, config) and "depth" not in missing:
            _check_depth_maps(source, config, path_of("depth"))
        for each in [each for each in found if each in (*missing, *incomplete)] + [stage]:
            if each in missing:
                logger.info("%s: needed by %s and not there, run first", each, stage)
            before = maps_before(config, source) if each == "depth" else ""
            counts, kept = execute_or_repair(each, source, config, path_of, force=force and each == stage)
            logger.info("%s: %s%s -> %s", each, "up to date, " if kept else "", counts, path_of(each))
            if kept and each == stage:
                _tell_replaced_images(source, run_dir)
            used = settings_of(each, config)
            if workflow is not None and used != settings_of(each, workflow):
                tell_replaced(path_of(each), used)
            if each == "depth":
                note_maps(run_dir, index, before, kept=kept)
                names = [record.file_name for record in source.records]
                notes.append(depth_notes.notes_of(open_store(path_of(each), each), names))
                n_images += len(names)
                n_read += counts.done
            check_failed(counts, config.max_failed, each)
    depth_notes.tell(notes, n_images, depth_maps)
    if config.depth.backend == AUTO:
        n_predicted = sum(len(each.get(depth_notes.PREDICTED, ())) for each in notes)
        depth_notes.tell_unused(config.depth, n_predicted, n_read)


def _tell_replaced_images(source: Source, run_dir: Path) -> None:
    """Say which images are others than the result that is kept was made of; a stage that reads them says so itself."""
    if names := replaced_images(source.records, source.image_root):
        logger.warning(
            "%d of %d images were replaced since they were listed, first %s; results are of what they were -> rerun "
            "`cuts3d prepare` and the stages after it", len(names), len(source.records), names[0],
        )  # fmt: skip


def _workflow_config(run_dir: Path, method: str) -> Config | None:
    """The configuration of a method in the last workflow on a run, or on that whose held-out images these are."""
    run = run_dir.parent if run_dir.name == "val" and last_settings(run_dir) is None else run_dir
    try:
        return method_config(method, load(settings)) if (settings := last_settings(run)) is not None else None
    except ConfigError:  # of another version
        return None


def _is_usable(stage: str, found: Found | Damaged | None) -> bool:
    """Whether a result is whole, and of the current algorithm."""
    return isinstance(found, Found) and found.algorithm == STAGES[stage].algorithm


def _has_settings(stage: str, found: Found, config: Config) -> bool:
    """Whether a result was made with the settings of this configuration."""
    wanted = settings_of(stage, config)
    return all(values.items() <= found.sections.get(name, {}).items() for name, values in wanted.items())


def _check_depth_maps(source: Source, config: Config, path: Path) -> None:
    """Check that depth maps given for a later stage are those that the existing depth was made from.

    Raises:
        Cuts3dError: they are not, so that giving them would have no effect.
    """
    made = open_store(path, "depth")
    check_aligned([made], source.records)
    if stage_fingerprint("depth", config, {}, source) != made.fingerprint:
        raise Cuts3dError(
            f"depth maps {source.depth_maps} have no effect on the existing results",
            expected=f"those that {path} was made from",
            hint="rerun `cuts3d depth` with them first",
        )


def on_images(
    stage: str,
    images: Sequence[Path],
    config: Config,
    *,
    depth_map: Path | None,
    out: Path | None,
    picture: bool,
    as_json: bool,
    force: bool,
    max_failed: float = 0.0,
) -> None:
    """Run a stage on images, write a picture per image, print a table with a row per instance.

    A broken image does not stop the others, but the exit code is 1 if more than the fraction ``max_failed`` fails.
    Below ``out``, pictures keep the subfolders that the images have below their common folder.
    """
    files = image_files(images)
    if depth_map is not None and depth_map.is_file() and len(files) > 1:
        raise click.UsageError(
            "--depth-map FILE goes with a single image; for several images give a folder of depth maps"
        )
    without = check_depth_map(depth_map, files, config, stage)
    tell_predicted(files, without, config, depth_map, stage)
    counts, root = Counts(), common_root(images)
    rows, pictures, notes = [], [], []
    holes: dict[str, float] = {}
    for file in progress(files, stage, len(files)) if len(files) > 1 else files:
        path = file.path
        try:
            result = run_image(stage, path, config, depth_map=file.depth_maps(depth_map), force=force)
        except NOT_OF_AN_IMAGE:
            raise
        except Cuts3dError as error:
            if len(files) == 1:
                raise
            counts.failures[str(path)] = str(error)
            named = printable(str(path)) in str(error)
            click.echo(shown(f"cuts3d: {'' if named else f'{path} failed: '}{error}"), err=True)
            continue
        counts.done += 1
        notes.append(depth_notes.without_predicted(result.depth_notes))
        holes[str(result.path)] = result.missing_depth
        found = preview.rows(stage, result)
        if as_json:
            for row in found:
                click.echo(json.dumps(row))
        rows += found
        if picture:
            target = preview.picture_path(stage, path, out and (out / relative_name(path, root)).parent)
            preview.write_picture(stage, result, target)
            pictures.append(target)
    depth_notes.tell(notes, len(files), depth_map)
    depth_notes.tell_holes(holes, len(files))
    if rows and not as_json:
        score = preview.score_column(stage, config)
        click.echo(preview.table(rows, score=score))  # one table for all images, so that the columns are aligned
        for target in pictures:
            click.echo(shown(f"picture: {target}"), err=True)
    check_failed(counts, max_failed, stage)
