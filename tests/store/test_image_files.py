"""Finding the images of a folder: whatever else lies there is counted, and nothing is waited for."""

import os

import pytest
from PIL import Image

from cuts3d_cli.store import image_files
from cuts3d_cli.store.image_files import find_images, make_records


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3)).save(folder / name, "PNG")


def found(folder):
    return [path.relative_to(folder).as_posix() for path in find_images(folder)]


@pytest.fixture
def said(caplog, monkeypatch):
    """What was said; every test is a command of its own."""
    from cuts3d_cli import log

    monkeypatch.setattr(log, "_said", set())
    caplog.set_level("INFO", logger="cuts3d")
    return lambda: [record.getMessage() for record in caplog.records]


def test_depth_maps_and_other_files_are_told_apart_and_once(tmp_path, said):
    touch(tmp_path, "a.png", "a_depth.png", "b-color.png", "b-depth.png", "c.png", "c.depth.png", "x_depth.png")
    touch(tmp_path, "a.cuts3d-crf.png")
    for name in ("c.npy", "a_depth.exr", "notes.txt", "z.npy"):
        (tmp_path / name).touch()
    for _ in range(2):
        assert found(tmp_path) == ["a.png", "b-color.png", "c.png", "x_depth.png"]
    assert said() == [
        f"{tmp_path}: 5 depth maps beside the images",
        f"{tmp_path}: 2 other files beside the images, not read",
    ]


def test_folders_of_one_image_say_nothing(tmp_path, said):
    touch(tmp_path, "a.png")
    assert found(tmp_path) == ["a.png"] and said() == []


def test_links_pipes_and_folders_named_like_images(tmp_path, said):
    touch(tmp_path, "a.png", "dir.jpg/in.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "self").symlink_to(".")
    (tmp_path / "link.png").symlink_to("a.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert found(tmp_path) == ["a.png", "dir.jpg/in.png", "link.png"]
    assert said() == [f"{tmp_path}: 3 other files beside the images, not read"]


def test_a_folder_that_may_not_be_read_is_told(tmp_path, said, monkeypatch):
    touch(tmp_path, "a.png", "secret/b.png")
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(image_files.os, "scandir", scandir)
    assert found(tmp_path) == ["a.png"]
    assert said() == [f"folder {tmp_path}/secret cannot be read: Permission denied"]


def test_records_of_what_cannot_be_read_carry_the_reason(tmp_path, monkeypatch):
    touch(tmp_path, "a.png", "secret.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    digest = image_files.digest_file

    def digest_file(path):
        if path.name == "secret.png":
            raise PermissionError(13, "Permission denied", path)
        return digest(path)

    monkeypatch.setattr(image_files, "digest_file", digest_file)
    names = ["a.png", "secret.png", "pipe.png", "gone.png", "never.png"]
    good, *bad = make_records([tmp_path / name for name in names], tmp_path)
    assert good.error is None and (good.height, good.width) == (3, 4)
    for record, reason in zip(
        bad, ("Permission denied", "a pipe or a device", "a link that leads nowhere", "does not exist"), strict=True
    ):
        assert f"image {tmp_path / record.file_name}" in record.error and reason in record.error
        assert record.height == 0 and not record.stamp  # so that the next list looks again
