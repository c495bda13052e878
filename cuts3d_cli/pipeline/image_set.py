"""Pseudo-masks of images named on the command line, as one COCO JSON in the cache."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cuts3d_cli.config import Config
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.log import logger, progress
from cuts3d_cli.pipeline.cache import CACHE, check_depth_map, expand, image_files, run_image
from cuts3d_cli.pipeline.runner import NOT_OF_AN_IMAGE, check_failed, images_fingerprint
from cuts3d_cli.store.coco import image_entry
from cuts3d_cli.store.files import fingerprint
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
    root, counts = common_root(images), Counts()
    records: list[ImageRecord] = []
    annotations: list[dict[str, Any]] = []
    inputs: dict[str, str] = {}
    settings: dict[str, Any] = {}
    files = image_files(images)
    check_depth_map(depth_map, [file.path for file in files])
    for number, file in progress(enumerate(files, start=1), "pseudo-masks", len(files)):
        name = relative_name(file.path, root)
        try:
            result = run_image("crf", file.path, config, depth_map=file.depth_maps(depth_map))
        except NOT_OF_AN_IMAGE:
            raise
        except Cuts3dError as error:
            counts.failures[name] = str(error)
            logger.warning("%s failed: %s", file.path, error)
            continue
        counts += result.counts
        masks = read_masks(result.paths["crf"], own=True)
        records.append(replace(result.source.records[0], id=number, file_name=name))
        annotations += [{**entry, "image_id": number} for entry in masks.annotations]
        inputs[name], settings = masks.provenance.fingerprint, dict(masks.provenance.config)
    check_failed(counts, config.max_failed, "pseudo-masks")
    made_from = Provenance(
        fingerprint=fingerprint([str(root), list(inputs.values())]),
        images=images_fingerprint(records),
        config=settings,
        inputs=inputs,
    )
    out = cache / "pseudo-masks" / f"{made_from.fingerprint}.json"
    entries = [image_entry(record) for record in records]
    write_masks(out, MaskFile(PSEUDO_MASKS, root, entries, annotations, provenance=made_from, counts=counts))
    return out
