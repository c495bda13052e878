"""Rows of a stored array, one after another, read some at a time: a read costs about as much as what it reads."""

from __future__ import annotations

import numpy as np

from cuts3d_cli.store.zarr_store import StoredArray

BLOCK_BYTES = 8 * 2**20
"""Uncompressed size of what is read at once."""


class Rows:
    """Gives single rows of an array and keeps those around the last one.

    Args:
        array: (n, ...) of a store.
        block_bytes: rows of up to this size together are read at once, at least one.
    """

    def __init__(self, array: StoredArray, block_bytes: int = BLOCK_BYTES):
        self._array = array
        row_bytes = int(np.prod(array.shape[1:])) * array.dtype.itemsize
        self._count = max(1, block_bytes // max(1, row_bytes))
        self._start = -1
        self._block = np.empty(0)

    def __getitem__(self, row: int) -> np.ndarray:
        """Row ``row`` (0 or more); not to be written to.

        Raises:
            DamagedError: what lies there is not what was written.
        """
        start = row - row % self._count
        if start != self._start:
            self._block = self._array[start : start + self._count]
            self._block.flags.writeable = False
            self._start = start
        return self._block[row - start]
