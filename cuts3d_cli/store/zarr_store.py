"""Reading the Zarr store of a stage and shard: opened by array name; what is damaged is never read in silence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from cuts3d_cli.errors import DamagedError, StoreError, first_line
from cuts3d_cli.store.checksums import checksum
from cuts3d_cli.store.files import fingerprint as hash_of
from cuts3d_cli.store.layout import (
    ARRAYS,
    FORMAT_VERSION,
    command_for,
)

CHECKED_BYTES = 64 * 2**20
"""Uncompressed size of what is checked at once."""

SEAL = "checksum"
"""The attribute of a store that is the hash of all others."""


class StoredArray:
    """An array of a store, read as NumPy reads one: index it by row to read one image.

    What is read is what was written: every chunk has a checksum, and a chunk that is missing, which Zarr takes for
    zeros, is noticed, as is a store that another process replaced meanwhile.
    """

    def __init__(self, store: Store, name: str):
        self._store, self._name = store, name
        self._array = store.open_array(name)
        self.shape: tuple[int, ...] = self._array.shape
        self.dtype: np.dtype = self._array.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        """Values at an index.

        Raises:
            DamagedError: they are not what was written.
        """
        try:
            values = np.asarray(self._array[index])
        except (ValueError, RuntimeError, OSError) as error:
            raise self._store.damaged(f"array {self._name}: {first_line(error)}") from None
        self._store.check_files(self._name)
        return values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype)

    @property
    def nbytes(self) -> int:
        """Uncompressed size in bytes."""
        return self._array.nbytes

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Meaning, axes, and the names of codes (`layout.ArraySpec`)."""
        return self._array.attrs

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of what is packed as one."""
        return self._array.chunks

    @property
    def shards(self) -> tuple[int, ...] | None:
        """Shape of what a file holds."""
        return self._array.shards


class Store:
    """A finished store, open for reading.

    Attributes:
        path: its folder.
        stage: the stage that wrote it.
        attrs: everything recorded beside the arrays.
        image_ids: (n,) ids from the manifest.
        status: (n,) uint8, see ``layout.STATUS_NAMES``.
    """

    def __init__(self, path: Path, group: zarr.Group, attrs: dict[str, Any], stamp: tuple[int, int]):
        self.path, self._group, self.attrs, self._stamp = path, group, attrs, stamp
        self.stage: str = attrs["stage"]
        self._arrays: dict[str, StoredArray] = {}
        self.check_files()
        self.image_ids, self.status = self.array("image_id")[:], self.array("status")[:]

    def array(self, name: str) -> StoredArray:
        """The array called ``name``.

        Raises:
            StoreError: the stage has none of that name, or it is damaged.
        """
        if name not in self._arrays:
            self._arrays[name] = StoredArray(self, name)
        return self._arrays[name]

    def open_array(self, name: str) -> zarr.Array:
        """The array as Zarr has it, which checks chunks but not whether they are there."""
        if name not in self.attrs["arrays"]:
            known = ", ".join(ARRAYS[self.stage])
            raise StoreError(f"store {self.path}: no array {name}", expected=f"one of {known}")
        try:
            sound = checksum((self.path / name / "zarr.json").read_bytes()) == self.attrs["arrays"][name]
        except (FileNotFoundError, NotADirectoryError):
            raise self.damaged(f"array {name}: no metadata") from None
        if not sound:
            raise self.damaged(f"array {name}: metadata that do not fit their checksum")
        array = self._group[name]
        assert isinstance(array, zarr.Array)
        return array

    def check_files(self, name: str = "") -> None:
        """Check that the files of an array, or of all, are there and whole: Zarr takes missing ones for zeros.

        Raises:
            DamagedError: they are not, or the store was replaced since it was opened.
        """
        for file, size in self.attrs["files"].items():
            if not file.startswith(f"{name}/" if name else ""):
                continue
            found = (self.path / file).stat().st_size if (self.path / file).is_file() else None
            if found != size:
                was = "none" if found is None else f"{found} bytes"
                raise self.damaged(was, expected=f"file {file} of {size} bytes")
        if _stamp(self.path) != self._stamp:
            raise DamagedError(
                f"store {self.path} was replaced by another process while it was read",
                hint="run the same command again",
                path=self.path,
            )

    def check_values(self) -> None:
        """Read every value, some rows at a time.

        Raises:
            DamagedError: some are not what was written.
        """
        for name in self.attrs["arrays"]:
            array = self.array(name)
            rows = max(1, CHECKED_BYTES * array.shape[0] // max(1, array.nbytes))
            for start in range(0, array.shape[0], rows):
                array[start : start + rows]

    def damaged(self, found: str, expected: str | None = None) -> DamagedError:
        """The error that says that this store is damaged."""
        return _damaged(self.path, self.stage, found, expected)

    @property
    def fingerprint(self) -> str:
        """Hash of everything the store was made from."""
        return self.attrs["fingerprint"]

    @property
    def config(self) -> dict[str, Any]:
        """The settings that the stage read of its config section."""
        return self.sections.get(self.stage.replace("-", "_"), {})

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """The settings that led to this store, by config section: those of its stage and of all before it."""
        return self.attrs["sections"]

    @property
    def inputs(self) -> dict[str, str]:
        """Fingerprints of the stores it was made from."""
        return self.attrs["inputs"]

    @property
    def failures(self) -> dict[int, str]:
        """Why each failed row failed."""
        return {int(row): text for row, text in self.attrs["failures"].items()}

    def require_made_from(self, *upstream: Store) -> None:
        """Check that this store was made from exactly these stores.

        Raises:
            StoreError: it was made from an older or other one; says which stage to rerun.
        """
        for other in upstream:
            if self.inputs.get(other.stage) != other.fingerprint:
                raise StoreError(
                    f"store {self.path} was made from a different {other.stage} store than {other.path}",
                    expected=other.fingerprint,
                    found=self.inputs.get(other.stage),
                    hint=f"rerun `{command_for(self.stage, self.path)}`",
                )


def open_store(path: str | Path, stage: str | None = None) -> Store:
    """Open a store for reading.

    Raises:
        StoreError: nothing there, damaged, another format version, or the store of another stage.
    """
    path = Path(path)
    name = stage or path.parent.name
    try:
        return _opened(path, stage, name)
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"no store at {path}", hint=f"run `{command_for(name, path)}` first") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # parts are missing or no JSON
        raise _damaged(path, name, f"{type(error).__name__}: {error}") from None


def _opened(path: Path, stage: str | None, name: str) -> Store:
    stamp = _stamp(path)
    group = zarr.open_group(path, mode="r")
    attrs: dict[str, Any] = dict(group.attrs)
    version = attrs.get("format_version")
    if version != FORMAT_VERSION:
        raise StoreError(
            f"store {path}",
            expected=f"format version {FORMAT_VERSION}",
            found=version,
            hint=f"rerun `{command_for(name, path)}`",
        )
    if attrs.pop(SEAL, None) != hash_of(attrs):
        raise _damaged(path, name, "attributes that do not fit their checksum")
    if stage is not None and attrs["stage"] != stage:
        raise StoreError(f"store {path}", expected=f"stage {stage}", found=attrs["stage"])
    return Store(path, group, attrs, stamp)


def _damaged(path: Path, stage: str, found: str, expected: str | None = None) -> DamagedError:
    hint = f"delete it and rerun `{command_for(stage, path)}`"
    return DamagedError(f"store {path} is damaged", expected=expected, found=found, hint=hint, path=path)


def _stamp(path: Path) -> tuple[int, int]:
    """What differs between a store and the one that replaces it."""
    found = (path / "zarr.json").stat()
    return found.st_ino, found.st_mtime_ns
