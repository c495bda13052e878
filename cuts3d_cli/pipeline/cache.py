"""Single images: run whatever is missing, keep results in a content-addressed cache."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from cuts3d_cli.config import Config
from cuts3d_cli.config.backends import AUTO, FILES, READS_FILES, needs_depth
from cuts3d_cli.errors import Cuts3dError, ImageError, ModelError, TooManyFailedError
from cuts3d_cli.log import logger, quiet
from cuts3d_cli.pipeline.declarations import LAST, upstream_of
from cuts3d_cli.pipeline.depth_notes import missing, notes_of
from cuts3d_cli.pipeline.graph import expected_fingerprints
from cuts3d_cli.pipeline.repair import execute_or_repair
from cuts3d_cli.pipeline.runner import Source
from cuts3d_cli.store.image_files import counted, find_images, make_record, tell_maps
from cuts3d_cli.store.images import DEPTH_SUFFIXES, check_regular
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
        reused: the stages whose results were in the cache; all others were computed now.
    """

    path: Path
    source: Source
    paths: dict[str, Path]
    counts: Counts
    reused: frozenset[str] = frozenset()

    @property
    def depth_notes(self) -> dict[str, list[str]]:
        """What there is to say of its depth; see `depth_notes.notes_of`."""
        if "depth" not in self.paths:
            return {}
        return notes_of(open_store(self.paths["depth"], "depth"), [str(self.path)])

    @property
    def missing_depth(self) -> float:
        """Fraction of its depth without a reading; 0 where no depth is used."""
        return missing(open_store(self.paths["depth"], "depth")) if "depth" in self.paths else 0.0


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
        return next((folder for folder in folders if self.has_map(folder)), folders[-1])

    def has_map(self, folder: Path | None) -> bool:
        """Whether its depth map lies in a folder, or beside it for None."""
        from cuts3d_cli.backends.depth_files import has_depth_map

        return has_depth_map(self.path.name, self.path.parent, folder)


def image_files(arguments: Sequence[Path]) -> list[ImageFile]:
    """Images named on the command line, each once; folders stand for the images below them.

    Raises:
        Cuts3dError: nothing of a name is there, or a folder holds no image.
    """
    if missing := [argument for argument in arguments if not os.path.lexists(argument)]:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        near = _near(missing[0])
        hint = f"did you mean {' or '.join(map(str, near))}?" if near else None
        raise Cuts3dError(f"no such file or folder: {missing[0]}{more}", hint=hint)
    named: dict[str, tuple[Path, set[str]]] = {}
    for argument in arguments:
        for path in find_images(argument) if argument.is_dir() else [argument]:
            absolute = os.path.abspath(path)
            shortest = len(path.relative_to(argument).parts) if argument.is_dir() else 1
            named.setdefault(absolute, (path, set()))[1].update(_ends(absolute, shortest))
    tell_maps([path for path, _ in named.values()])
    return [ImageFile(path, tuple(sorted(names, key=len, reverse=True))) for path, names in named.values()]


def _near(missing: Path) -> list[Path]:
    """Paths that are there and called almost like one that is not: its first missing part is spelled otherwise."""
    first = next(path for path in [*reversed(missing.parents), missing] if not os.path.lexists(path))
    try:
        names = os.listdir(first.parent)
    except OSError:
        return []
    rest = missing.relative_to(first)
    near = [first.with_name(name) / rest for name in get_close_matches(first.name, names, n=3, cutoff=0.75)]
    return [path for path in near if os.path.lexists(path)]


def expand(arguments: Sequence[Path]) -> list[Path]:
    """Paths of the images named on the command line, each once; folders stand for the images below them."""
    return [image.path for image in image_files(arguments)]


def check_depth_map(
    depth_map: Path | None,
    files: Sequence[ImageFile],
    config: Config | None = None,
    stage: str = LAST,
    option: str = "--depth-map",
) -> list[ImageFile]:
    """Check before any work that what was given as depth map is that of these images.

    Args:
        depth_map: a folder of depth maps, the map of a single image, or None for maps beside the images.
        files: the images.
        config: the configuration, where it is known; with it, maps that are missing are an error unless
            ``depth.backend`` says that their depth is predicted, and always where the features are made of depth.
        stage: the stage that is to run.
        option: the option that gives the depth map, for errors.

    Returns:
        The images without a map, whose depth will be predicted for want of one (``auto``).

    Raises:
        Cuts3dError: it is missing, a file for several images, or the image itself; or images have no map.
    """
    if depth_map is not None and not depth_map.is_dir():
        _check_single_map(depth_map, [file.path for file in files])
        return []
    if config is None or config.depth.backend not in READS_FILES or "depth" not in (stage, *upstream_of(stage, config)):
        return []
    without = [file for file in files if file.path.is_file() and not file.has_map(file.depth_maps(depth_map))]
    _check_maps(depth_map, files, without, config, option)
    return without if config.depth.backend == AUTO else []


def _check_single_map(depth_map: Path, images: Sequence[Path]) -> None:
    check_regular(depth_map, "depth map")
    if len(images) > 1:
        raise Cuts3dError(
            f"depth map {depth_map}", expected="a folder of depth maps", found=f"one file for {len(images)} images"
        )
    if images and images[0].is_file() and depth_map.samefile(images[0]):
        raise Cuts3dError(
            f"depth map {depth_map} is the image itself", hint="give the file with the depth of the image"
        )


def _check_maps(
    folder: Path | None, files: Sequence[ImageFile], without: list[ImageFile], config: Config, option: str
) -> None:
    from_depth = needs_depth(config.features.backend)
    if folder is None and not from_depth:
        return
    if not without:
        return
    if len(without) < len(files) and not from_depth:
        if config.depth.backend == FILES:  # each of which tells its own
            return
        if "backend" in config.depth.model_fields_set:  # somebody asked for predicted depth where a map is missing
            return
    first = without[0].path
    what = f"image {first} has no depth map"
    if len(files) > 1:
        have = "has" if len(without) == 1 else "have"
        what = f"{len(without)} of {counted(len(files), 'image')} {have} no depth map, first {first}"
    if from_depth:
        what = f"{_name(config)} needs depth maps: {option} DIR; {what}"
        some = "give its map" if len(without) == 1 else "give their maps"
        way_out = f"{some}, or leave {'it' if len(without) == 1 else 'them'} out"
        if len(without) == len(files):
            way_out = "give the folder of the maps; for photographs without depth take --preset photo"
    elif len(without) < len(files):
        way_out = f"give their maps, leave these images out, or predict their depth: --set depth.backend={AUTO}"
    else:
        way_out = f"give the folder of the maps; without {option} depth is predicted"
    if folder is None:
        expected, found = f"{first.stem}_depth.png or {first.stem}.npy beside it, or {first.stem}.png in ../depth", None
    else:
        place = without[0].depth_maps(folder)
        expected = f"{Path(str(place), first.stem)} with one of {', '.join(DEPTH_SUFFIXES)}"
        found = _a_file(folder)
    raise Cuts3dError(what, expected=expected, found=found, hint=way_out)


def _name(config: Config) -> str:
    """What the user chose that is made of depth: the preset, or the feature backend."""
    from cuts3d_cli.config import preset_values

    features = preset_values(config.preset).get("features", {})
    own = features.get("backend") == config.features.backend
    return f"preset {config.preset}" if own else f"features.backend {config.features.backend}"


def _a_file(folder: Path) -> str:
    """A file below a folder, for a message that says what is there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not paths:
        return "no file there"
    return f"{paths[0].relative_to(folder)}{' and others' if len(paths) > 1 else ''} there"


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
    return Source([record], path.parent, depth_map, any_name=True)


@contextmanager
def _all_missing_models(stage: str, stages: Sequence[str], config: Config) -> Iterator[None]:
    """Name the model of the features too where that of the depth is missing, so that both can be fetched."""
    from cuts3d_cli.backends.base import missing_features

    try:
        yield
    except ModelError as error:
        if stage != "depth" or "features" not in stages or (other := missing_features(config.features)) is None:
            raise
        raise ModelError(
            f"{error.what}, nor is the model of the features: {other.what}",
            expected=f"{error.expected}; and {other.expected}",
            found=error.found,
            hint=f"{error.hint}; for the features {other.hint}",
        ) from error


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
    reused = set()
    stages = [*upstream_of(stage, config), stage]
    for name in stages:
        try:
            with quiet(), _all_missing_models(name, stages, config):  # the caller reports
                counts, kept = execute_or_repair(name, source, config, paths.__getitem__, force=force and name == stage)
        except TooManyFailedError as error:
            raise ImageError(error.reason) from None
        logger.debug("%s %s: %s", path.name, name, "cached" if kept else "computed")
        if kept:
            reused.add(name)
    return ImageResult(path, source, paths, counts, frozenset(reused))
