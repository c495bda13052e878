"""The depth maps of images: where each lies, and reading it (`depth_reading`, `depth_values`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cuts3d_cli.backends.base import WITHOUT_MODEL
from cuts3d_cli.backends.depth_reading import KINDS, is_turned, read_raw
from cuts3d_cli.backends.depth_values import DepthMap, depth_of_array
from cuts3d_cli.errors import ImageError
from cuts3d_cli.store.files import digest_file
from cuts3d_cli.store.images import (
    ARRAY_SUFFIXES,
    COLOUR_MARKS,
    DEPTH_MARKS,
    DEPTH_SUFFIXES,
    exif_orientation,
    image_size,
)

if TYPE_CHECKING:
    from cuts3d_cli.config import DepthConfig
    from cuts3d_cli.store.manifest import ImageRecord


def find_depth_map(file_name: str, image_root: str | Path, depth_maps: str | Path | None = None) -> Path:
    """Where the depth map of an image lies.

    Args:
        file_name: the image's path relative to ``image_root``, with ``/``.
        image_root: folder of the images.
        depth_maps: a folder, where ``a/b.jpg`` has ``a/b.png`` (or another of `DEPTH_SUFFIXES`, in capitals too;
            ``b_depth`` and ``b-depth`` do as well as ``b``, and for ``b-color.jpg`` or ``b_rgb.jpg``
            too); or a file, the map of this image; or
            None: ``b.npy`` (or another of `ARRAY_SUFFIXES`), ``b_depth.*`` or ``b-depth.*`` beside the image, or
            ``b.*`` in a folder ``depth`` beside the folder of the image.

    Raises:
        ImageError: there is none.
    """
    image = Path(image_root) / file_name
    if depth_maps is None:
        candidates = [image.with_suffix(".npy"), *_with_suffixes(*_marked(image.parent, image.stem))]
        candidates += [image.with_suffix(suffix) for suffix in ARRAY_SUFFIXES]
        candidates += _with_suffixes(Path(os.path.abspath(image)).parent.parent / "depth" / image.stem)
    elif Path(depth_maps).is_file():
        candidates = [Path(depth_maps)]
    else:
        place = (Path(depth_maps) / file_name).parent
        candidates = _with_suffixes(place / image.stem, *_marked(place, image.stem))
    for path in candidates:
        if os.path.isfile(path) and not (image.exists() and path.samefile(image)):  # Path.is_file fails on long names
            return path
    where = f"beside it ({image.stem}_depth.png, {image.stem}.npy)" if depth_maps is None else f"in {depth_maps}"
    raise ImageError(
        f"image {image} has no depth map",
        expected=f"{KINDS} {where}",
        found="none",
        hint=f"give it with --depth-map FILE or set data.depth_maps to their folder, {WITHOUT_MODEL}",
    )


def has_depth_map(file_name: str, image_root: str | Path, depth_maps: str | Path | None = None) -> bool:
    """Whether `find_depth_map` finds one."""
    try:
        find_depth_map(file_name, image_root, depth_maps)
    except ImageError:
        return False
    return True


def _marked(place: Path, stem: str) -> list[Path]:
    """What a depth map may be called, up to the suffix, that carries a mark: its image may carry one of colour."""
    bare = next((stem.removesuffix(mark) for mark in COLOUR_MARKS if stem.endswith(mark)), stem)
    return [place / (name + mark) for name in dict.fromkeys((stem, bare)) for mark in DEPTH_MARKS]


def depth_map_digests(
    records: Sequence[ImageRecord], image_root: str | Path, depth_maps: str | Path | None = None
) -> dict[str, str | None]:
    """Hash of each image's depth map by the image's file name; None where there is none."""
    digests: dict[str, str | None] = {}
    for record in records:
        try:
            digests[record.file_name] = digest_file(find_depth_map(record.file_name, image_root, depth_maps))
        except ImageError:
            digests[record.file_name] = None
    return digests


def depth_of_image(
    file_name: str, image_root: str | Path, depth_maps: str | Path | None, config: DepthConfig
) -> DepthMap:
    """Find, read and normalise the depth map of an image with the settings of ``config``.

    Returns:
        The map, (config.size, config.size).

    Raises:
        ImageError: there is none, it cannot be read, or does not fit the image.
    """
    image, path = Path(image_root) / file_name, find_depth_map(file_name, image_root, depth_maps)
    return depth_of_array(
        read_raw(path),
        image_size(image),
        config,
        what=f"depth map {path}",
        orientation=1 if is_turned(path) else exif_orientation(image),
    )


def _with_suffixes(*stems: Path) -> list[Path]:
    return [stem.with_name(stem.name + suffix) for stem in stems for suffix in _ENDINGS]


_ENDINGS = [ending for suffix in DEPTH_SUFFIXES for ending in (suffix, suffix.upper())]
