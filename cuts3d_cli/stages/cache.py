"""Single images: run whatever is missing, keep results in a content-addressed cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cuts3d_cli.config import Config
from cuts3d_cli.errors import ImageError
from cuts3d_cli.log import logger, quiet
from cuts3d_cli.stages.common import Counts, Source
from cuts3d_cli.stages.pipeline import execute, expected_fingerprints, upstream_of
from cuts3d_cli.stages.prepare import find_images, make_record

CACHE = Path(".cuts3d")
"""Folder below the working directory; safe to delete at any time."""


@dataclass(frozen=True)
class ImageResult:
    """The stages of one image.

    Attributes:
        path: the image.
        source: it alone, as a stage takes it.
        paths: where each stage's result lies.
        counts: how the last stage ended.
    """

    path: Path
    source: Source
    paths: dict[str, Path]
    counts: Counts


def expand(arguments: list[Path]) -> list[Path]:
    """Image files named on the command line; folders stand for the images below them."""
    return [file for path in arguments for file in (find_images(path) if path.is_dir() else [path])]


def image_source(path: Path, depth_map: Path | None) -> Source:
    """One image as a source.

    Raises:
        ImageError: it is missing or no image.
    """
    if not path.is_file():
        raise ImageError(f"image {path}", expected="a file", found="nothing")
    record = make_record(1, path, path.parent)
    if record.error:
        raise ImageError(record.error)
    return Source([record], path.parent, depth_map)


def run_image(
    stage: str, path: Path, config: Config, *, depth_map: Path | None = None, force: bool = False, cache: Path = CACHE
) -> ImageResult:
    """Run ``stage`` on one image and whatever stage before it is not in the cache.

    Args:
        stage: the last stage to run.
        path: the image.
        config: the configuration.
        depth_map: its depth map, or a folder of depth maps; None looks beside the image.
        force: compute the last stage even if it is cached.
        cache: the cache's folder.

    Raises:
        Cuts3dError: the image cannot be used, in one line.
    """
    source = image_source(path, depth_map)
    keys = expected_fingerprints(config, source, stage)
    paths = {name: cache / name / f"{key}{'.json' if name == 'crf' else '.zarr'}" for name, key in keys.items()}
    for name in [*upstream_of(stage, config), stage]:
        with quiet():  # the caller reports
            counts, kept = execute(name, source, config, paths.__getitem__, force=force and name == stage)
        logger.debug("%s %s: %s", path.name, name, "cached" if kept else "computed")
        if counts.failures:
            raise ImageError(next(iter(counts.failures.values())))
    return ImageResult(path, source, paths, counts)
