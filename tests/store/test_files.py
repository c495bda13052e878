import os

import numpy as np
import pytest

from cuts3d_cli.store.files import HOST, _mark, atomic_path, digest_file, digest_weights, write_json


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
    write_json(tmp_path / "f", [1])
    assert set(os.listdir(tmp_path)) == {*kept, "f"}
    write_json(tmp_path / "[f]", [1])
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
