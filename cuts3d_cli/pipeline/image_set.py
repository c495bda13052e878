"""Pseudo-masks of images named on the command line, as one COCO JSON in the cache."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cuts3d_cli.config import Config
from cuts3d_cli.config.backends import AUTO
from cuts3d_cli.errors import printable
from cuts3d_cli.log import logger, progress
from cuts3d_cli.pipeline import depth_notes
from cuts3d_cli.pipeline.cache import CACHE, ImageFile, check_depth_map, expand, image_files
from cuts3d_cli.pipeline.declarations import LAST, upstream_of
from cuts3d_cli.pipeline.runner import check_failed, images_fingerprint
from cuts3d_cli.pipeline.workers import Outcome, Work, run_images
from cuts3d_cli.store.coco import image_entry
from cuts3d_cli.store.files import fingerprint
from cuts3d_cli.store.image_files import counted
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.store.masks import PSEUDO_MASKS, Counts, MaskFile, Provenance, read_masks, write_masks


def common_root(arguments: Sequence[Path]) -> Path:
    """Folder that file names are relative to: the folder given, or the nearest that holds all images."""
    folders = [path if path.is_dir() else path.parent for path in arguments]
    return Path(os.path.commonpath([os.path.abspath(folder) for folder in folders]))


def relative_name(path: Path, root: Path) -> str:
    """File name of an image relative to a folder that holds it, with ``/``."""
    return Path(os.path.abspath(path)).relative_to(root).as_posix()


def relative_names(arguments: Sequence[Path]) -> list[str]:
    """File names of the images of files and folders, relative to :func:`common_root`."""
    root = common_root(arguments)
    return [relative_name(path, root) for path in expand(arguments)]


def pseudo_masks(images: Sequence[Path], config: Config, *, depth_map: Path | None = None, cache: Path = CACHE) -> Path:
    """Make the pseudo-masks of images, each from the cache where it is there.

    Args:
        images: image files and folders of images.
        config: the configuration.
        depth_map: folder of depth maps, or None for maps beside the images.
        cache: the cache's folder.

    Returns:
        COCO JSON in the cache; its name depends on what it holds.

    Raises:
        Cuts3dError: more images failed than ``config.max_failed`` allows, or the depth map cannot be that of these.
    """
    files = image_files(images)
    without = check_depth_map(depth_map, files, config)
    work, root = Work(config, depth_map, cache), common_root(images)
    tell_predicted(files, without, config, depth_map)
    outcomes = dict(progress(run_images(files, [None] * len(files), work, cores=1), "pseudo-masks", len(files)))
    for place, file in enumerate(files):
        tell_failure(file, outcomes[place])
    ended = [outcomes[place] for place in range(len(files))]
    tell_depth(files, ended, depth_map)
    masks = gathered(files, root, ended)
    check_failed(masks.counts, config.max_failed, "pseudo-masks")
    out = cache / "pseudo-masks" / f"{masks.provenance.fingerprint}.json"
    write_masks(out, masks)
    return out


def tell_failure(file: ImageFile, outcome: Outcome) -> None:
    """Say in one line why an image failed, if it did."""
    if outcome.failure:
        named = printable(str(file.path)) in outcome.failure
        logger.warning("%s%s", "" if named else f"{file.path} failed: ", outcome.failure)


def tell_predicted(
    files: Sequence[ImageFile], without: Sequence[ImageFile], config: Config, depth_map: Path | None, stage: str = LAST
) -> None:
    """Say before the work of how many images the depth will be predicted, for want of a map, and what is not used.

    Args:
        files: the images.
        without: those that `check_depth_map` found without a map.
        config: the configuration.
        depth_map: what was given as depth map.
        stage: the stage that is to run.
    """
    if "depth" not in (stage, *upstream_of(stage, config)):
        return
    depth_notes.tell_unread(depth_map, config)
    if config.depth.backend != AUTO:
        return
    depth_notes.tell([{depth_notes.PREDICTED: [str(file.path) for file in without]}], len(files), depth_map)
    depth_notes.tell_unused(config.depth, len(without), len(files))


def tell_depth(files: Sequence[ImageFile], outcomes: Sequence[Outcome], depth_map: Path | None) -> None:
    """Say once what was found of the depth of the images; see `depth_notes`."""
    found = [{key: [str(file.path)] for key in each.depth} for file, each in zip(files, outcomes, strict=True)]
    depth_notes.tell([depth_notes.without_predicted(each) for each in found], len(files), depth_map)
    holes = {str(file.path): each.missing_depth for file, each in zip(files, outcomes, strict=True)}
    depth_notes.tell_holes(holes, len(files))


def tell_reuse(outcomes: Sequence[Outcome], config: Config, cache: Path = CACHE) -> None:
    """Say in one line what was taken from the cache, if anything was."""
    stages = [*upstream_of(LAST, config), LAST]
    reused = [each.result.reused for each in outcomes if each.result is not None]
    whole = sum(LAST in found for found in reused)
    parts = {stage: sum(stage in found for found in reused if LAST not in found) for stage in stages}
    numbers = dict.fromkeys(parts.values())
    told = [f"{', '.join(s for s in stages if parts[s] == n)} of {counted(n, 'image')}" for n in numbers if n]
    if whole:
        told.insert(0, f"all stages of {counted(whole, 'image')}")
    if told:
        logger.info("reused from %s: %s", cache, "; ".join(told))


def gathered(files: Sequence[ImageFile], root: Path, outcomes: Sequence[Outcome]) -> MaskFile:
    """The masks of single images as one file, images numbered by their place, those that failed left out.

    Args:
        files: the images.
        root: folder that their names are relative to.
        outcomes: what became of each.
    """
    counts = Counts()
    records: list[ImageRecord] = []
    annotations: list[dict[str, Any]] = []
    inputs: dict[str, str] = {}
    settings: dict[str, Any] = {}
    for number, (file, outcome) in enumerate(zip(files, outcomes, strict=True), start=1):
        name = relative_name(file.path, root)
        if outcome.result is None:
            counts.failures[name] = outcome.failure
            continue
        counts += outcome.result.counts
        masks = read_masks(outcome.result.paths[LAST], own=True)
        records.append(replace(outcome.result.source.records[0], id=number, file_name=name))
        annotations += [{**entry, "image_id": number} for entry in masks.annotations]
        inputs[name], settings = masks.provenance.fingerprint, dict(masks.provenance.config)
    made_from = Provenance(
        fingerprint=fingerprint([str(root), list(inputs.values())]),
        images=images_fingerprint(records),
        config=settings,
        inputs=inputs,
    )
    entries = [image_entry(record) for record in records]
    return MaskFile(PSEUDO_MASKS, root, entries, annotations, provenance=made_from, counts=counts)
