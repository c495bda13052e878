import os

import pytest

from cuts3d_cli.store.files import atomic_path, digest_file, write_json


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
    (tmp_path / ".f.999999999.tmp").write_text("dead")
    (tmp_path / ".f.1.tmp").write_text("living")
    write_json(tmp_path / "f", [1])
    assert sorted(os.listdir(tmp_path)) == [".f.1.tmp", "f"]


def test_digest_depends_on_content_alone(tmp_path):
    for name, content in [("a", b"x"), ("b", b"x"), ("c", b"y")]:
        (tmp_path / name).write_bytes(content)
    assert digest_file(tmp_path / "a") == digest_file(tmp_path / "b") != digest_file(tmp_path / "c")
