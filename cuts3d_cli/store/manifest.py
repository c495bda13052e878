"""The image list of a run: the one source of image ids, sizes and shards.

JSON lines: a header, then one record per image, by shard and file name, so that a shard is read without parsing the
rest. Each line has its checksum.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from cuts3d_cli.errors import Cuts3dError, DamagedError, StoreError, first_line
from cuts3d_cli.store.checksums import parsed, sealed
from cuts3d_cli.store.division import spans_of
from cuts3d_cli.store.files import atomic_path, fingerprint

VERSION = 3

POSITION = "position"
"""Key of a record's line: its place in the list from 0, so that a lost line is noticed in every shard."""


@dataclass(frozen=True)
class ImageRecord:
    """One image of a run.

    Attributes:
        id: number from 1, which an image keeps while it is in the list, see `division.numbered`.
        file_name: path relative to the image root, with ``/``.
        height, width: size in px after EXIF rotation; 0 when the image could not be read.
        digest: hash of the file's content.
        error: why the image cannot be read, or None.
        stamp: size [bytes], time of modification and time of change [ns] of the file before it was read, as
            ``size mtime ctime``; empty where not known.
    """

    id: int
    file_name: str
    height: int
    width: int
    digest: str
    error: str | None = None
    stamp: str = ""


@dataclass(frozen=True)
class Manifest:
    """Header of an image list; records are read by shard.

    Attributes:
        path: the file.
        image_root: folder that file names are relative to.
        shard_sizes: number of images of each shard; shards follow each other in the list.
        fingerprint: hash of all records but for their stamps.
        listing: hash of names and stamps; see `store.listing`.
    """

    path: Path
    image_root: Path
    shard_sizes: tuple[int, ...]
    fingerprint: str
    listing: str

    @property
    def n_images(self) -> int:
        return sum(self.shard_sizes)

    @property
    def n_shards(self) -> int:
        return len(self.shard_sizes)

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """First and past-the-last position of each shard in the list."""
        return spans_of(self.shard_sizes)

    def records(self, shard: int | None = None) -> list[ImageRecord]:
        """Records of one shard, or all.

        Raises:
            StoreError: there is no such shard, or the list is damaged.
        """
        if shard is None:
            return list(self._all)
        if not 0 <= shard < self.n_shards:
            raise StoreError(f"manifest {self.path}: no shard {shard}", expected=f"0 to {self.n_shards - 1}")
        return self._read(*self.spans[shard])

    @cached_property
    def _all(self) -> list[ImageRecord]:
        return self._read(0, self.n_images)  # some ten seconds for a million images

    def _read(self, start: int, stop: int) -> list[ImageRecord]:
        try:
            with open(self.path, "rb") as file:
                lines = [parsed(self.path, line) for line in islice(file, 1 + start, 1 + stop)]
            positions = [line.pop(POSITION) for line in lines]
            records = [ImageRecord(**line) for line in lines]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _damaged(self.path, first_line(error)) from None
        if len(records) != stop - start:
            raise _damaged(self.path, f"{start + len(records)} of {self.n_images} records")
        if positions != list(range(start, stop)):
            raise _damaged(self.path, "records that are missing or in another order")
        return records


def write_manifest(path: str | Path, image_root: str | Path, shards: Sequence[Sequence[ImageRecord]]) -> Manifest:
    """Write an image list atomically.

    Args:
        path: the file.
        image_root: folder that file names are relative to.
        shards: the images of each shard, see `division.divided`.

    Raises:
        Cuts3dError: fewer images than shards.
    """
    records = [record for shard in shards for record in shard]
    if not all(shards):
        raise Cuts3dError(
            "config key data.n_shards",
            expected=f"at most the number of images, {len(records)}",
            found=len(shards),
            hint=f"set data.n_shards to {len(records)} or less",
        )
    header = {
        "format": "cuts3d-manifest",
        "version": VERSION,
        "image_root": str(image_root),
        "shard_sizes": [len(shard) for shard in shards],
        "fingerprint": fingerprint([json.dumps(asdict(replace(record, stamp=""))) for record in records]),
        "listing": listing_of((record.file_name, record.stamp) for record in records),
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for line in (header, *({POSITION: place, **asdict(record)} for place, record in enumerate(records))):
            file.writelines(sealed(json.dumps(line) + "\n"))
    return read_manifest(path)


def read_manifest(path: str | Path) -> Manifest:
    """Read the header of an image list.

    Raises:
        StoreError: it is missing, damaged or not an image list of this version.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            header = parsed(path, file.readline())
    except FileNotFoundError:
        raise StoreError(f"no image list at {path}", hint="run `cuts3d prepare` first") from None
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("format") != "cuts3d-manifest" or header.get("version") != VERSION:
        raise StoreError(
            f"image list {path}", expected=f"a cuts3d manifest of version {VERSION}", hint="rerun `cuts3d prepare`"
        )
    try:
        sizes = tuple(map(int, header["shard_sizes"]))
        return Manifest(path, Path(header["image_root"]), sizes, header["fingerprint"], header["listing"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from None


def _damaged(path: Path, found: str) -> DamagedError:
    return DamagedError(f"image list {path} is damaged", found=found, hint="rerun `cuts3d prepare`", path=path)


def listing_of(stamps: Iterable[tuple[str, str]]) -> str:
    """Number of images, and hash of their names and stamps."""
    lines = [f"{stamp} {name}" for name, stamp in sorted(stamps)]
    text = "\n".join(lines).encode(errors="surrogatepass")  # a name need not be UTF-8
    return f"{len(lines)} images {hashlib.blake2b(text, digest_size=10).hexdigest()}"
