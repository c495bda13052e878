import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest

from cuts3d_cli.errors import DamagedError, StoreError
from cuts3d_cli.store.layout import ARRAYS, FORMAT_VERSION, STATUS_NAMES
from cuts3d_cli.store.store_writer import create_store
from cuts3d_cli.store.zarr_store import open_store


def make(path, n=5, stage="spatial-importance", fingerprint="f", inputs=None, skip=()):
    rng = np.random.default_rng(0)
    rows = rng.random((n, 6, 6), np.float32)
    with create_store(
        path,
        stage,
        range(1, n + 1),
        sections={"spatial_importance": {"beta": 0.45}},
        inputs=inputs or {},
        fingerprint=fingerprint,
    ) as writer:
        for row in reversed(range(n)):  # any order
            if row in skip:
                writer.fail(row, f"row {row} broken")
            else:
                writer.write(row, importance=rows[row], no_object=row == 1)
    return rows


def test_reads_back_what_was_written(tmp_path):
    rows = make(tmp_path / "s.zarr")
    store = open_store(tmp_path / "s.zarr", "spatial-importance")
    np.testing.assert_array_equal(store.array("importance")[:], rows)
    assert store.image_ids.tolist() == [1, 2, 3, 4, 5]
    assert [STATUS_NAMES[s] for s in store.status] == ["done", "no object", "done", "done", "done"]
    assert store.attrs["format_version"] == FORMAT_VERSION
    assert store.config == {"beta": 0.45} and store.fingerprint == "f"


def test_a_failed_row_keeps_its_reason_and_the_others_their_place(tmp_path):
    rows = make(tmp_path / "s.zarr", skip={2})
    store = open_store(tmp_path / "s.zarr")
    assert store.failures == {2: "row 2 broken"} and store.status[2] == 2
    np.testing.assert_array_equal(store.array("importance")[3], rows[3])


def test_a_store_whose_images_all_failed_opens(tmp_path):
    make(tmp_path / "s.zarr", skip=set(range(5)))
    store = open_store(tmp_path / "s.zarr")
    assert len(store.failures) == 5 and store.array("importance").shape[0] == 5


ROW_BYTES = 36 * 4


@pytest.mark.parametrize(("chunk_bytes", "rows"), [(1, 1), (ROW_BYTES, 1), (7 * ROW_BYTES, 7), (2**30, 200)])
def test_many_images_are_few_files_and_small_ones_share_a_chunk(tmp_path, monkeypatch, chunk_bytes, rows):
    monkeypatch.setattr("cuts3d_cli.store.store_writer.CHUNK_BYTES", chunk_bytes)
    written = make(tmp_path / "s.zarr", n=200)
    assert sum(len(files) for _, _, files in os.walk(tmp_path / "s.zarr")) < 12
    array = open_store(tmp_path / "s.zarr").array("importance")
    assert array.chunks == (rows, 6, 6) and array.shards[0] >= 200
    np.testing.assert_array_equal(array[:], written)


@pytest.mark.parametrize(("chunk_rows", "file_rows"), [(1, 3), (2, 4), (5, 5)])
def test_files_are_written_in_blocks(tmp_path, monkeypatch, chunk_rows, file_rows):
    monkeypatch.setattr("cuts3d_cli.store.store_writer.SHARD_BYTES", 3 * ROW_BYTES)
    monkeypatch.setattr("cuts3d_cli.store.store_writer.CHUNK_BYTES", chunk_rows * ROW_BYTES)
    rows = make(tmp_path / "s.zarr", n=10, skip={4})
    read = open_store(tmp_path / "s.zarr").array("importance")
    assert read.shards == (file_rows, 6, 6)
    for row in set(range(10)) - {4}:
        np.testing.assert_array_equal(read[row], rows[row])


@pytest.mark.parametrize(
    "arrays", [{}, {"importance": np.zeros((6, 6)), "depth": np.zeros((6, 6))}, {"importance": np.zeros(6)}]
)
def test_wrong_arrays_are_refused(tmp_path, arrays):
    with (
        pytest.raises(ValueError, match="expected"),
        create_store(tmp_path / "s.zarr", "spatial-importance", [1], sections={}, inputs={}, fingerprint="f") as writer,
    ):
        writer.write(0, **arrays)
    assert not (tmp_path / "s.zarr").exists()


def test_images_of_another_grid_are_refused(tmp_path):
    with (
        pytest.raises(ValueError, match="G = 6"),
        create_store(
            tmp_path / "s.zarr", "spatial-importance", [1, 2], sections={}, inputs={}, fingerprint="f"
        ) as writer,
    ):
        writer.write(0, importance=np.zeros((6, 6)))
        writer.write(1, importance=np.zeros((7, 7)))


def test_an_error_leaves_the_old_store_and_nothing_else(tmp_path):
    make(tmp_path / "s.zarr", fingerprint="old")
    with (
        pytest.raises(RuntimeError),
        create_store(tmp_path / "s.zarr", "spatial-importance", [1], sections={}, inputs={}, fingerprint="new"),
    ):
        raise RuntimeError
    assert open_store(tmp_path / "s.zarr").fingerprint == "old"
    assert os.listdir(tmp_path) == ["s.zarr"]


def test_a_killed_writer_leaves_no_store_and_its_rest_is_swept(tmp_path):
    code = f"""
import os, signal, numpy as np
from cuts3d_cli.store.store_writer import create_store
with create_store({str(tmp_path / "s.zarr")!r}, "spatial-importance", [1, 2],
                  sections={{}}, inputs={{}}, fingerprint="f") as w:
    w.write(0, importance=np.zeros((6, 6)))
    w.finish()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / "s.zarr").exists() and os.listdir(tmp_path)
    make(tmp_path / "s.zarr")
    assert os.listdir(tmp_path) == ["s.zarr"]


def test_reader_says_what_is_wrong(tmp_path):
    with pytest.raises(StoreError, match=r"no store at .*run `cuts3d depth` first"):
        open_store(tmp_path / "depth" / "00000.zarr")
    make(tmp_path / "s.zarr")
    with pytest.raises(StoreError, match="expected stage depth; found spatial-importance"):
        open_store(tmp_path / "s.zarr", "depth")
    with pytest.raises(StoreError, match="no array depth; expected one of importance"):
        open_store(tmp_path / "s.zarr").array("depth")


@pytest.mark.parametrize("harm", ["missing", "empty", "cut"])
def test_a_lost_or_shortened_file_is_no_zeros(tmp_path, harm):
    make(tmp_path / "s.zarr")
    file = tmp_path / "s.zarr/importance/c/0/0/0"
    whole = file.read_bytes()
    file.unlink() if harm == "missing" else file.write_bytes(whole[:-3] if harm == "cut" else b"")
    found = {"missing": "none", "empty": "0 bytes", "cut": f"{len(whole) - 3} bytes"}[harm]
    with pytest.raises(
        StoreError, match=f"is damaged.*importance/c/0/0/0 of {len(whole)} bytes; found {found} -> delete it and rerun"
    ):
        open_store(tmp_path / "s.zarr")


def test_another_format_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("cuts3d_cli.store.store_writer.FORMAT_VERSION", 0)
    make(tmp_path / "s.zarr")
    monkeypatch.undo()
    with pytest.raises(StoreError, match=f"expected format version {FORMAT_VERSION}; found 0 -> rerun"):
        open_store(tmp_path / "s.zarr")


def test_lineage_is_checked(tmp_path):
    make(tmp_path / "up.zarr", fingerprint="a")
    up = open_store(tmp_path / "up.zarr")
    make(tmp_path / "s.zarr", inputs={"spatial-importance": "a"})
    open_store(tmp_path / "s.zarr").require_made_from(up)
    make(tmp_path / "s.zarr", inputs={"spatial-importance": "b"})
    with pytest.raises(StoreError, match="rerun"):
        open_store(tmp_path / "s.zarr").require_made_from(up)


def test_every_array_has_images_first():
    assert all(spec.axes[0] == "n" for arrays in ARRAYS.values() for spec in arrays.values())


def values(path):
    store = open_store(path)
    return {name: store.array(name)[:].tolist() for name in store.attrs["arrays"]} | {"attrs": store.attrs}


@pytest.mark.parametrize(
    "file", ["importance/c/0/0/0", "status/c/0", "image_id/c/0", "zarr.json", "importance/zarr.json"]
)
def test_no_flipped_bit_changes_what_is_read(tmp_path, file):
    make(tmp_path / "s.zarr", skip={2})
    whole, path = values(tmp_path / "s.zarr"), tmp_path / "s.zarr" / file
    content = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(content)), min(100, 8 * len(content))):
        path.write_bytes(content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :])
        try:
            assert values(tmp_path / "s.zarr") == whole
        except StoreError as error:
            assert "\n" not in str(error)


def test_a_file_that_is_lost_after_opening_is_no_zeros(tmp_path):
    make(tmp_path / "s.zarr")
    array = open_store(tmp_path / "s.zarr").array("importance")
    (tmp_path / "s.zarr/importance/c/0/0/0").unlink()
    with pytest.raises(DamagedError, match=r"expected file importance/c/0/0/0 of \d+ bytes; found none -> delete it"):
        array[0]


@pytest.mark.parametrize("fingerprint", ["f", "other"])
def test_a_store_that_is_replaced_while_it_is_read_is_noticed(tmp_path, fingerprint):
    make(tmp_path / "s.zarr")
    array = open_store(tmp_path / "s.zarr").array("importance")
    array[0]
    make(tmp_path / "s.zarr", fingerprint=fingerprint)
    with pytest.raises(DamagedError, match="was replaced by another process while it was read -> run the same command"):
        array[1]


def test_every_value_is_checked(tmp_path, monkeypatch):
    monkeypatch.setattr("cuts3d_cli.store.store_writer.CHUNK_BYTES", ROW_BYTES)
    monkeypatch.setattr("cuts3d_cli.store.zarr_store.CHECKED_BYTES", 2 * ROW_BYTES)
    make(tmp_path / "s.zarr")
    open_store(tmp_path / "s.zarr").check_values()
    file = tmp_path / "s.zarr/importance/c/0/0/0"
    content = file.read_bytes()
    for offset in (10, 600):  # in the first row and in the last
        file.write_bytes(content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :])
        with pytest.raises(DamagedError, match=r"array importance: .*checksum"):
            open_store(tmp_path / "s.zarr").check_values()
