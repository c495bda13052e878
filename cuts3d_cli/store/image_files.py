"""Finding the images of a folder, and the record of each for an image list."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from cuts3d_cli.errors import Cuts3dError, ImageError
from cuts3d_cli.log import logger, progress
from cuts3d_cli.store.files import digest_file
from cuts3d_cli.store.images import COLOUR_MARKS, DEPTH_MARKS, IMAGE_SUFFIXES, image_size
from cuts3d_cli.store.manifest import ImageRecord

OWN_PICTURES = ".cuts3d-"
"""Part of the name of every picture that cuts3d writes beside an image; such files are no input."""

OUTPUT_RECORD = "cuts3d-output.json"
"""File that says what wrote a folder; images below such a folder are no input of the folder above it."""


def find_images(folder: Path) -> list[Path]:
    """Image files below ``folder`` by suffix, sorted by relative name.

    Depth maps beside their images, hidden files, own pictures and folders that cuts3d wrote are left out.

    Raises:
        Cuts3dError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise Cuts3dError(
            f"image folder {folder}", expected="a folder", found="a file" if folder.exists() else "nothing"
        )
    files = list(_files(folder))
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES and OWN_PICTURES not in path.name]
    stems = {path.with_suffix("") for path in images}
    images = [path for path in images if not _is_depth_map(path.with_suffix(""), stems)]
    if not images:
        raise Cuts3dError(
            f"image folder {folder}",
            expected=f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))}",
            found=counted(len(files), "other file") if files else "an empty folder",
        )
    if len(images) < len(files):
        logger.info("%s: %s besides the images left out", folder, counted(len(files) - len(images), "file"))
    return sorted(images, key=lambda path: path.relative_to(folder).as_posix())


def counted(n: int, name: str) -> str:
    """A number with its noun: 1 file, 2 files."""
    return f"{n} {name}" + ("" if n == 1 else "s")


def distinct_names(file_names: Sequence[str]) -> list[PurePosixPath]:
    """What the results of each image are called, below any folder: its name without suffix, subfolders kept.

    Where names differ in the suffix alone they keep it; ``..`` and a leading ``/`` are dropped.

    Raises:
        Cuts3dError: two images have one name.
    """
    inside = [PurePosixPath(*(p for p in PurePosixPath(name).parts if p not in ("/", ".."))) for name in file_names]
    repeated = [str(name) for name, n in Counter(inside).items() if n > 1]
    if repeated:
        raise Cuts3dError(f"two images are called {repeated[0]}", expected="a name of its own for each image")
    stems = Counter(str(name.with_suffix("")).lower() for name in inside)
    return [name if stems[str(name.with_suffix("")).lower()] > 1 else name.with_suffix("") for name in inside]


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder that are not hidden, through links to folders as well, each folder once."""
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not Path(parent, name, OUTPUT_RECORD).exists()
        )
        yield from (path for name in names if not name.startswith(".") and (path := Path(parent, name)).is_file())


def _is_depth_map(stem: Path, stems: set[Path]) -> bool:
    """Whether an image file is the depth map of another one beside it (photo_depth of photo)."""
    for mark in DEPTH_MARKS:
        if stem.name.endswith(mark):
            base = stem.name.removesuffix(mark)
            return any(stem.with_name(base + colour) in stems for colour in ("", *COLOUR_MARKS))
    return False


def make_record(number: int, path: Path, root: Path) -> ImageRecord:
    """Record of an image: size after EXIF rotation and content hash; an unreadable one carries its error."""
    name = path.relative_to(root).as_posix()
    digest = digest_file(path)
    try:
        height, width = image_size(path)
    except ImageError as error:
        return ImageRecord(number, name, 0, 0, digest, str(error))
    return ImageRecord(number, name, height, width, digest)


def make_records(paths: Iterable[Path], root: Path) -> list[ImageRecord]:
    """Records of many images, numbered from 1 in the order given; reading overlaps."""
    paths = list(paths)
    with ThreadPoolExecutor(max_workers=8) as pool:
        records = pool.map(lambda item: make_record(item[0], item[1], root), enumerate(paths, start=1))
        return list(progress(records, "prepare", len(paths)))
