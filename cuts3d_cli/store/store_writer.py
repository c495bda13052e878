"""Writing the Zarr store of a stage and shard: whole or not at all, with a checksum of every part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from cuts3d_cli import __version__
from cuts3d_cli.store.checksums import checksum
from cuts3d_cli.store.files import atomic_path
from cuts3d_cli.store.files import fingerprint as hash_of
from cuts3d_cli.store.layout import ARRAYS, DONE, FAILED, FORMAT_VERSION, NO_OBJECT, STATUS_NAMES, ArraySpec
from cuts3d_cli.store.zarr_store import SEAL

SHARD_BYTES = 32 * 2**20
"""Uncompressed size that a file of a store aims at: a million images must not make millions of files."""

CHUNK_BYTES = 64 * 2**10
"""Rows of up to this size together are packed as one: each chunk costs some tenths of a millisecond to read."""


class StoreWriter:
    """Takes the results of a shard's images in any order; see :func:`create_store`."""

    def __init__(
        self, group: zarr.Group, arrays: Mapping[str, ArraySpec], image_ids: Sequence[int], sizes: Mapping[str, int]
    ):
        self._group, self._specs = group, arrays
        self.n = len(image_ids)
        self._sizes = {"n": self.n, "2": 2, **sizes}
        self._arrays: dict[str, zarr.Array] = {}
        self._pending: dict[str, dict[int, np.ndarray]] = {name: {} for name in arrays}
        self.status = np.full(self.n, FAILED, np.uint8)
        self.failures: dict[int, str] = dict.fromkeys(range(self.n), "not computed")

    def write(self, row: int, *, no_object: bool = False, **arrays: np.ndarray) -> None:
        """Store one image's arrays; every array of the stage must be given.

        Raises:
            ValueError: an array is missing or has another shape than the rows before.
        """
        if set(arrays) != set(self._specs):
            raise ValueError(f"expected arrays {sorted(self._specs)}, found {sorted(arrays)}")
        for name, value in arrays.items():
            self._pending[name][row] = self._checked(name, value)
            if len(self._pending[name]) >= self._rows_per_file(name):
                self._flush(name)
        self.status[row] = NO_OBJECT if no_object else DONE
        self.failures.pop(row, None)

    def fail(self, row: int, text: str) -> None:
        """Record why an image has no result."""
        self.failures[row] = text

    def finish(self) -> None:
        """Write what is pending; arrays without any row exist all the same."""
        for name in self._specs:
            self._flush(name)
            if name not in self._arrays:
                self._create(name)

    def _checked(self, name: str, value: np.ndarray) -> np.ndarray:
        spec = self._specs[name]
        value = np.asarray(value)
        axes = spec.axes[1:]
        if value.ndim != len(axes):
            raise ValueError(f"{name}: expected axes {axes}, found shape {value.shape}")
        for axis, length in zip(axes, value.shape, strict=True):
            if self._sizes.setdefault(axis, length) != length:
                raise ValueError(f"{name}: expected {axis} = {self._sizes[axis]}, found shape {value.shape}")
        return value.astype(spec.dtype)

    def _row_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._sizes.get(axis, 1) for axis in self._specs[name].axes[1:])

    def _row_bytes(self, name: str) -> int:
        return max(1, int(np.prod(self._row_shape(name))) * np.dtype(self._specs[name].dtype).itemsize)

    def _rows_per_chunk(self, name: str) -> int:
        return max(1, min(self.n, CHUNK_BYTES // self._row_bytes(name)))

    def _rows_per_file(self, name: str) -> int:
        """A whole number of chunks; the last file may be larger than what is left of the array."""
        chunk = self._rows_per_chunk(name)
        return chunk * -(-max(1, min(self.n, SHARD_BYTES // self._row_bytes(name))) // chunk)

    def _create(self, name: str) -> zarr.Array:
        spec, shape = self._specs[name], self._row_shape(name)
        array = self._group.create_array(
            name,
            shape=(self.n, *shape),
            chunks=(self._rows_per_chunk(name), *shape),
            shards=(self._rows_per_file(name), *shape),
            dtype=spec.dtype,
            fill_value=0,
            compressors=(BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"), Crc32cCodec()),
            dimension_names=spec.axes if len(set(spec.axes)) == len(spec.axes) else None,
            attributes={
                "axes": list(spec.axes),
                "meaning": spec.meaning,
                **({"values": list(spec.values)} if spec.values else {}),
            },
        )
        self._arrays[name] = array
        return array

    def _flush(self, name: str) -> None:
        """Write the pending rows, one file of the array at a time (a partial write rewrites its file)."""
        pending = self._pending[name]
        if not pending:
            return
        array = self._arrays.get(name)
        if array is None:
            array = self._create(name)
        step = self._rows_per_file(name)
        for start in sorted({row // step * step for row in pending}):
            rows = [row for row in range(start, min(start + step, self.n)) if row in pending]
            first, last = rows[0], rows[-1] + 1
            block = np.empty((last - first, *array.shape[1:]), array.dtype)
            if len(rows) < last - first:
                block[:] = array[first:last]
            for row in rows:
                block[row - first] = pending[row]
            array[first:last] = block
        pending.clear()


@contextmanager
def create_store(
    path: str | Path,
    stage: str,
    image_ids: Sequence[int],
    *,
    sections: Mapping[str, Mapping[str, Any]],
    inputs: Mapping[str, str],
    fingerprint: str,
    sizes: Mapping[str, int] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> Iterator[StoreWriter]:
    """Write the store of a stage and shard; it appears under ``path`` when the block ends well.

    Args:
        path: folder of the store; an older store there is replaced.
        stage: a key of ``layout.ARRAYS``.
        image_ids: ids of the shard's images, in order.
        sections: the settings that lead to it, by config section, recorded.
        inputs: fingerprints of the stores read, by stage, recorded.
        fingerprint: hash of all of this, recorded.
        sizes: lengths of axes known beforehand; the others are taken from the first image.
        attrs: more to record.
    """
    with atomic_path(path) as temporary:
        group = zarr.open_group(temporary, mode="w", zarr_format=3)
        writer = StoreWriter(group, ARRAYS[stage], image_ids, sizes or {})
        yield writer
        writer.finish()
        packed = (ZstdCodec(), Crc32cCodec())
        group.create_array("image_id", data=np.asarray(image_ids, np.int64), compressors=packed)
        group.create_array("status", data=writer.status, compressors=packed, attributes={"values": list(STATUS_NAMES)})
        recorded = {
            "format_version": FORMAT_VERSION,
            "package_version": __version__,
            "stage": stage,
            "sections": {name: dict(values) for name, values in sections.items()},
            "inputs": dict(inputs),
            "fingerprint": fingerprint,
            "files": _chunk_files(temporary),
            "arrays": _metadata(temporary),
            "failures": {str(row): text for row, text in sorted(writer.failures.items())},
            **(attrs or {}),
        }
        group.update_attributes({**recorded, SEAL: hash_of(recorded)})  # in one write


def _chunk_files(path: Path) -> dict[str, int]:
    """The files of a store that hold its arrays' values, relative to it, and their bytes."""
    files = sorted(file for file in path.glob("*/c/**/*") if file.is_file())
    return {file.relative_to(path).as_posix(): file.stat().st_size for file in files}


def _metadata(path: Path) -> dict[str, str]:
    """The checksum of the metadata of each array of a store."""
    return {file.parent.name: checksum(file.read_bytes()) for file in sorted(path.glob("*/zarr.json"))}
