import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cuts3d_cli.errors import Cuts3dError, OutputError
from cuts3d_cli.store.files import (
    HOST,
    _mark,
    atomic_path,
    check_not_input,
    digest_file,
    digest_weights,
    write_json,
)


def test_a_file_appears_when_the_block_ends(tmp_path):
    with atomic_path(tmp_path / "sub/f") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "sub/f").exists()
    assert (tmp_path / "sub/f").read_text() == "new" and os.listdir(tmp_path / "sub") == ["f"]


@pytest.mark.parametrize("folder", [False, True])
def test_an_error_leaves_the_old_one(tmp_path, folder):
    path = tmp_path / "f"
    if folder:
        path.mkdir()
        (path / "x").write_text("old")
    else:
        path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        if folder:
            temporary.mkdir()
        else:
            temporary.write_text("half")
        raise KeyboardInterrupt
    assert (path / "x" if folder else path).read_text() == "old" and os.listdir(tmp_path) == ["f"]


def test_the_rest_of_a_dead_process_is_swept_and_of_a_living_one_kept(tmp_path):
    (tmp_path / f".f.{HOST}.999999999.tmp").write_text("dead")
    kept = {f".f.{HOST}.1.tmp": "living", ".f.another-host.999999999.tmp": "living on another host"}
    kept[f".[f].{HOST}.999999999.tmp"] = "another file's"
    for name, text in kept.items():
        (tmp_path / name).write_text(text)
    write_json(tmp_path / "f", {"a": 1})
    assert set(os.listdir(tmp_path)) == {*kept, "f"}
    write_json(tmp_path / "[f]", {"a": 1})
    assert set(os.listdir(tmp_path)) == {*list(kept)[:2], "f", "[f]"}


def test_digest_depends_on_content_alone(tmp_path):
    for name, content in [("a", b"x"), ("b", b"x"), ("c", b"y")]:
        (tmp_path / name).write_bytes(content)
    assert digest_file(tmp_path / "a") == digest_file(tmp_path / "b") != digest_file(tmp_path / "c")


def test_digest_of_weights_sees_other_weights_and_a_folder(tmp_path):
    rng = np.random.default_rng(0)
    weights = rng.bytes(6 * 2**20)
    (tmp_path / "a").write_bytes(weights)
    (tmp_path / "b").write_bytes(weights)
    (tmp_path / "c").write_bytes(weights + b"more")
    (tmp_path / "d").write_bytes(weights[: 3 * 2**20] + rng.bytes(3 * 2**20))
    a, b, c, d = (digest_weights(tmp_path / name) for name in "abcd")
    assert a == b and len({a, c, d}) == 3
    folder = digest_weights(tmp_path)
    (tmp_path / "d").unlink()
    assert folder != digest_weights(tmp_path) and digest_weights(tmp_path / "none") is None


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "n\n" * 100])
def test_a_long_name_is_written_too(tmp_path, name):
    (tmp_path / f"{_mark(tmp_path / name)}{2**22 + 1}.tmp").touch()  # of a writer that was killed
    with atomic_path(tmp_path / name) as temporary:
        assert HOST in temporary.name
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "the disk is full -> free some space there, or write elsewhere, and run the same command again"),
        (errno.EDQUOT, "the quota on this disk is used up -> free some space"),
        (errno.EROFS, "the disk is read-only -> write to another folder, or make this one writable"),
        (errno.EACCES, "permission denied -> write to another folder"),
        (errno.EFBIG, "larger than files may be here -> raise the limit (`ulimit -f`)"),
    ],
)
@pytest.mark.parametrize("named", [False, True])  # writing to an open file names none
def test_what_cannot_be_written_is_named_and_leaves_nothing(tmp_path, number, told, named):
    path = tmp_path / "sub/f"
    with pytest.raises(OutputError) as caught, atomic_path(path) as temporary:
        temporary.write_text("half")
        raise OSError(number, "system's words", str(temporary)) if named else OSError(number, "system's words")
    assert str(caught.value).startswith(f"cannot write {path}: {told}") and os.listdir(tmp_path / "sub") == []


def test_a_folder_that_cannot_be_made_is_told_by_the_path_that_was_to_be_written(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match=r"cannot write .*/a/b/f: the disk is read"), atomic_path(tmp_path / "a/b/f"):
        pass


@pytest.mark.parametrize("free", [0, 10**9])
def test_an_error_without_a_reason_is_that_of_a_full_disk_where_it_is_full(tmp_path, monkeypatch, free):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free))
    expected = (OSError, "encoder") if free else (OutputError, "the disk is full")
    with pytest.raises(expected[0], match=expected[1]), atomic_path(tmp_path / "f"):
        raise OSError("encoder error -2 when writing image file")


def test_errors_of_other_files_are_left_as_they_are(tmp_path):
    error = PermissionError(errno.EACCES, "Permission denied", "/elsewhere/photo.jpg")
    with pytest.raises(PermissionError), atomic_path(tmp_path / "f"):
        raise error


def test_a_file_too_large_for_the_limit_is_one_line(tmp_path):
    """As on a disk that fills up: what is written gets an error of the system without a name."""
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
from cuts3d_cli.store.files import write_json
write_json(sys.argv[1], {"a": "x" * 2**20})
"""
    ended = subprocess.run([sys.executable, "-c", code, tmp_path / "f.json"], capture_output=True, text=True)
    assert f"OutputError: cannot write {tmp_path}/f.json: larger than files may be here" in ended.stderr
    assert os.listdir(tmp_path) == []


def test_a_folder_is_put_back_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    path, replace = tmp_path / "f", os.replace
    path.mkdir()
    (path / "x").write_text("old")

    def fail_for_the_new(source, target):
        if Path(source).suffix == ".tmp":
            raise OSError(errno.EIO, "Input/output error", str(source))
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_for_the_new)
    with pytest.raises(OSError, match="Input/output"), atomic_path(path) as temporary:
        temporary.mkdir()
    assert (path / "x").read_text() == "old" and os.listdir(tmp_path) == ["f"]


def test_what_is_read_is_not_written_to(tmp_path):
    read, link = tmp_path / "in/masks.json", tmp_path / "link"
    read.parent.mkdir()
    read.write_text("{}")
    link.symlink_to(read)
    check_not_input(tmp_path / "out.json", "--out", [read, None])
    check_not_input(tmp_path / "in/sub", "--out", [read])
    with pytest.raises(Cuts3dError, match="is read by the same command"):
        check_not_input(link, "--out", [None, read])
    with pytest.raises(Cuts3dError, match=r"--out .*in holds .*masks.json, which the same command reads"):
        check_not_input(read.parent, "--out", [read])
