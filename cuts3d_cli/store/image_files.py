"""Finding the images of a folder, and the record of each for an image list."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cuts3d_cli.errors import Cuts3dError, ImageError, printable
from cuts3d_cli.log import info_once, logger, progress, say_once
from cuts3d_cli.store.division import numbered
from cuts3d_cli.store.files import digest_file
from cuts3d_cli.store.images import (
    ARRAY_SUFFIXES,
    COLOUR_MARKS,
    DEPTH_MARKS,
    DEPTH_SUFFIXES,
    IMAGE_SUFFIXES,
    check_regular,
    image_size,
    opened,
)
from cuts3d_cli.store.layout import OWN_PICTURES
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.store.map_kinds import is_like_label_image, is_nearly_black

OUTPUT_RECORD = "cuts3d-output.json"
"""File that says what wrote a folder; images below such a folder are no input of the folder above it."""


LOOKED_AT = 5
"""Images that are looked at to tell a folder of maps from one of photographs."""


def find_images(folder: Path) -> list[Path]:
    """Image files below ``folder`` by suffix, sorted by relative name.

    Depth maps beside their images, hidden files, own pictures and folders that cuts3d wrote are omitted.

    Raises:
        Cuts3dError: no such folder, or no image in it.
    """
    return [folder / name for name in find_stamps(folder)]


def find_stamps(folder: Path) -> dict[str, str]:
    """Stamp (see `ImageRecord`) of every image that `find_images` finds, by relative name, sorted.

    Raises:
        Cuts3dError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise Cuts3dError(
            f"image folder {folder}", expected="a folder", found="a file" if folder.exists() else "nothing"
        )
    stamps, others = {}, []
    for name, stamp in _files(folder):
        if OWN_PICTURES in name.rpartition("/")[2]:
            continue
        if stamp:
            stamps[name] = stamp
        else:
            others.append(name)
    stems = {os.path.splitext(name)[0] for name in stamps}
    names = sorted(name for name in stamps if not _is_depth_map(name, stems))
    if not names:
        raise Cuts3dError(
            f"image folder {folder}",
            expected=f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))}",
            found=counted(len(others), "other file") if others else "an empty folder",
        )
    n_maps = len(stamps) - len(names) + sum(_is_depth_map(name, stems) for name in others)
    n_others = len(stamps) + len(others) - len(names) - n_maps
    if n_maps:
        info_once(f"{folder}: {counted(n_maps, 'depth map')} beside the images")
    if n_others:
        info_once(f"{folder}: {counted(n_others, 'other file')} beside the images, not read")
    return {name: stamps[name] for name in names}


def tell_maps(paths: Sequence[Path]) -> None:
    """Warn once if images are label maps, or depth maps of 16 bit, rather than photographs, as far as a few tell.

    Args:
        paths: the images; one that cannot be read tells nothing.
    """
    looked_at = [paths[len(paths) * k // LOOKED_AT] for k in range(LOOKED_AT)] if len(paths) > LOOKED_AT else paths
    labels, dark = [], []
    for path in looked_at:
        with suppress(ImageError), opened(path) as image:
            if image.mode in ("RGB", "RGBA", "CMYK", "YCbCr"):  # as nearly all are, known before they are decoded
                continue
            values = np.asarray(image)
            if values.ndim == 2 and is_like_label_image(values):
                labels.append(path)
            elif values.ndim == 2 and is_nearly_black(values):
                dark.append(path)
    for found, words in (
        (labels, "have few values in large areas, as label maps have"),
        (dark, "are of 16 bit and nearly black, as depth maps are"),
    ):
        if found:
            few = "" if len(looked_at) == len(paths) else " looked at"
            which = f"{len(found)} of {counted(len(looked_at), 'image')}{few}"
            say_once(logging.WARNING, f"{which} {words}; give the photographs (first {found[0]})")


def counted(n: int, name: str) -> str:
    """A number with its noun: 1 file, 2 files."""
    return f"{n} {name}" + ("" if n == 1 else "s")


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """Relative name of every file below a folder that is not hidden, and its stamp where it may be an image.

    Pipes, devices and links that lead nowhere have none. Links to folders are followed, each folder once; folders
    that cuts3d wrote are skipped.
    """
    seen, left = set(), [("", str(folder))]
    while left:
        prefix, path = left.pop()
        if (real := os.path.realpath(path)) in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as error:
            logger.warning("folder %s cannot be read: %s", path, error.strerror)
            continue
        folders = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = prefix + entry.name
            image = os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES
            try:
                if entry.is_dir():
                    if not Path(entry.path, OUTPUT_RECORD).exists():
                        folders.append((f"{name}/", entry.path))
                    continue
                stamp = stamp_of(entry.stat()) if image and entry.is_file() else ""
            except OSError:  # deleted meanwhile, or a link that leads to itself
                stamp = ""
            yield name, stamp
        left += reversed(folders)


def stamp_of(stat: os.stat_result) -> str:
    """Size and times of a file, which tell that it is as it was; see `ImageRecord`."""
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def output_record(folder: Path) -> dict[str, Any]:
    """What `OUTPUT_RECORD` says of a folder; empty where it is missing or damaged."""
    try:
        record = json.loads((folder / OUTPUT_RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def stamp_at(path: Path) -> str:
    """`stamp_of` a file; empty for one that is missing."""
    try:
        return stamp_of(path.stat())
    except OSError:
        return ""


def _is_depth_map(name: str, stems: set[str]) -> bool:
    """Whether a file is the depth map of an image beside it: photo_depth.png or photo.npy of a photo in ``stems``."""
    stem, suffix = os.path.splitext(name)
    if suffix.lower() in ARRAY_SUFFIXES and stem in stems:
        return True
    if suffix.lower() not in {*DEPTH_SUFFIXES, *IMAGE_SUFFIXES}:
        return False
    for mark in DEPTH_MARKS:
        if stem.endswith(mark):
            base = stem.removesuffix(mark)
            return any(base + colour in stems for colour in ("", *COLOUR_MARKS))
    return False


def make_record(number: int, path: Path, root: Path) -> ImageRecord:
    """Record of an image: size after EXIF rotation and content hash; an unreadable one carries its error."""
    name, digest, stamp = path.relative_to(root).as_posix(), "", ""
    try:
        check_regular(path, "image")
        before = stamp_of(path.stat())
        digest = digest_file(path)
        stamp = before  # without one it is looked at again by the next list
        height, width = image_size(path)
    except ImageError as error:
        return ImageRecord(number, name, 0, 0, digest, str(error), stamp)
    except OSError as error:
        reason = f"image {path} cannot be read; found {error.strerror}"
        return ImageRecord(number, name, 0, 0, digest, printable(reason), stamp)
    return ImageRecord(number, name, height, width, digest, stamp=stamp)


def make_records(paths: Iterable[Path], root: Path) -> list[ImageRecord]:
    """Records of many images, numbered from 1 in the order given; reading overlaps."""
    paths = list(paths)
    with ThreadPoolExecutor(max_workers=8) as pool:
        records = pool.map(lambda item: make_record(item[0], item[1], root), enumerate(paths, start=1))
        return list(progress(records, "prepare", len(paths)))


def list_images(folder: Path, known: Sequence[ImageRecord] = ()) -> list[ImageRecord]:
    """Records of the images of a folder, sorted by relative name.

    Args:
        folder: the folder.
        known: an earlier list of it; a file that was read and has the stamp of its record is not read again, and an
            image of that name keeps its id (`division.numbered`).

    Raises:
        Cuts3dError: no such folder, or no image in it.
    """
    stamps = find_stamps(folder)
    kept = {
        record.file_name: record
        for record in known
        if record.stamp and not record.error and stamps.get(record.file_name) == record.stamp
    }
    made = (
        make_records([folder / name for name in stamps if name not in kept], folder) if len(kept) < len(stamps) else []
    )
    tell_maps([folder / name for name in stamps])
    records = kept | {record.file_name: record for record in made}
    ids = numbered(list(stamps), {record.file_name: record.id for record in known})
    return [replace(records[name], id=ids[name]) for name in stamps]
