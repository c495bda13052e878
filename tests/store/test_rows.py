import numpy as np
import pytest
import zarr

from cuts3d_cli.store.rows import Rows


@pytest.fixture
def values():
    return np.random.default_rng(0).random((7, 3, 4)).astype(np.float32)


class Counted:
    """An array that counts how often it is read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.reads = array, array.shape, array.dtype, 0

    def __getitem__(self, rows):
        self.reads += 1
        return self.array[rows]


@pytest.mark.parametrize(("block_bytes", "reads"), [(1, 7), (48, 7), (96, 4), (150, 3), (10**6, 1)])
def test_every_row_is_the_arrays_own(values, tmp_path, block_bytes, reads):
    array = Counted(zarr.create_array(tmp_path / "a.zarr", data=values, chunks=(1, 3, 4)))
    rows = Rows(array, block_bytes)
    np.testing.assert_array_equal(np.stack([rows[row] for row in range(7)]), values)
    assert array.reads == reads
    for row in (6, 0, 3):  # any order
        np.testing.assert_array_equal(rows[row], values[row])


def test_a_row_that_is_not_there(values):
    with pytest.raises(IndexError):
        Rows(values)[7]


def test_rows_cannot_be_written_to(values):
    with pytest.raises(ValueError, match="read-only"):
        Rows(values.copy())[0][0] = 1
