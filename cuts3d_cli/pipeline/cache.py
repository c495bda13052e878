"""Single images: run whatever is missing, keep results in a content-addressed cache."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cuts3d_cli.config import Config
from cuts3d_cli.errors import Cuts3dError, ImageError, TooManyFailedError
from cuts3d_cli.log import logger, quiet
from cuts3d_cli.pipeline.declarations import LAST, upstream_of
from cuts3d_cli.pipeline.depth_notes import notes_of
from cuts3d_cli.pipeline.graph import expected_fingerprints
from cuts3d_cli.pipeline.repair import execute_or_repair
from cuts3d_cli.pipeline.runner import Source
from cuts3d_cli.store.image_files import find_images, make_record
from cuts3d_cli.store.images import check_regular
from cuts3d_cli.store.masks import Counts
from cuts3d_cli.store.zarr_store import open_store

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

    @property
    def depth_notes(self) -> dict[str, list[str]]:
        """What there is to say of its depth; see `depth_notes.notes_of`."""
        if "depth" not in self.paths:
            return {}
        return notes_of(open_store(self.paths["depth"], "depth"), [str(self.path)])


@dataclass(frozen=True)
class ImageFile:
    """An image named on the command line.

    Attributes:
        path: the image, as it was given or below the folder that was.
        names: what its depth map may be called in a folder of depth maps, up to the suffix: ends of its path, longest
            first, the first that has a map is meant. The shortest is the path relative to the folder that was given,
            or the bare name of a file, for which no folder is known.
    """

    path: Path
    names: tuple[str, ...]

    def depth_maps(self, given: Path | None) -> Path | None:
        """The folder in ``given`` where this image's depth map lies; a file and None stay.

        Only the folder is passed to the stages: with it an image is known by its bare name, so a result does not
        depend on how the image was named.
        """
        if given is None or not given.is_dir():
            return given
        folders = [given / Path(name).parent for name in self.names]
        return next((folder for folder in folders if self._has_map(folder)), folders[-1])

    def _has_map(self, folder: Path) -> bool:
        from cuts3d_cli.backends.depth_files import has_depth_map

        return has_depth_map(self.path.name, self.path.parent, folder)


def image_files(arguments: Sequence[Path]) -> list[ImageFile]:
    """Images named on the command line, each once; folders stand for the images below them.

    Raises:
        Cuts3dError: a folder without images.
    """
    named: dict[str, tuple[Path, set[str]]] = {}
    for argument in arguments:
        for path in find_images(argument) if argument.is_dir() else [argument]:
            absolute = os.path.abspath(path)
            shortest = len(path.relative_to(argument).parts) if argument.is_dir() else 1
            named.setdefault(absolute, (path, set()))[1].update(_ends(absolute, shortest))
    return [ImageFile(path, tuple(sorted(names, key=len, reverse=True))) for path, names in named.values()]


def expand(arguments: Sequence[Path]) -> list[Path]:
    """Paths of the images named on the command line, each once; folders stand for the images below them."""
    return [image.path for image in image_files(arguments)]


def check_depth_map(depth_map: Path | None, images: Sequence[Path]) -> None:
    """Check that what was given as depth map can be that of these images.

    Raises:
        Cuts3dError: it is missing, a file for several images, or the image itself.
    """
    if depth_map is None or depth_map.is_dir():
        return
    check_regular(depth_map, "depth map")
    if len(images) > 1:
        raise Cuts3dError(
            f"depth map {depth_map}", expected="a folder of depth maps", found=f"one file for {len(images)} images"
        )
    if images and images[0].is_file() and depth_map.samefile(images[0]):
        raise Cuts3dError(
            f"depth map {depth_map} is the image itself", hint="give the file with the depth of the image"
        )


def _ends(absolute: str, shortest: int) -> list[str]:
    """Ends of a path of at least ``shortest`` parts: /a/b/c.png gives a/b/c.png and b/c.png for 2."""
    parts = Path(absolute).parts[1:]
    return ["/".join(parts[start:]) for start in range(len(parts) - shortest + 1)]


def image_source(path: Path, depth_map: Path | None) -> Source:
    """One image as a source.

    Raises:
        ImageError: it is missing or no image.
    """
    check_regular(path, "image")
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
        force: recompute the last stage even if it is cached.
        cache: the cache's folder.

    Raises:
        Cuts3dError: the image cannot be used, in one line.
    """
    # A failed image leaves nothing: kept, it would answer for every file of this content, whose reason may be another.
    config = config.model_copy(update={"max_failed": 0.0})
    source = image_source(path, depth_map)
    keys = expected_fingerprints(config, source, stage)
    paths = {name: cache / name / f"{key}{'.json' if name == LAST else '.zarr'}" for name, key in keys.items()}
    for name in [*upstream_of(stage, config), stage]:
        try:
            with quiet():  # the caller reports
                counts, kept = execute_or_repair(name, source, config, paths.__getitem__, force=force and name == stage)
        except TooManyFailedError as error:
            raise ImageError(error.reason) from None
        logger.debug("%s %s: %s", path.name, name, "cached" if kept else "computed")
    return ImageResult(path, source, paths, counts)
