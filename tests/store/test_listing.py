import os
import shutil
import time
from dataclasses import replace

import pytest

from cuts3d_cli.stages import prepare
from cuts3d_cli.store import image_files
from cuts3d_cli.store.image_files import list_images
from cuts3d_cli.store.layout import listing_path, manifest_path
from cuts3d_cli.store.listing import changes, current_listing, relisted
from cuts3d_cli.store.manifest import read_manifest


@pytest.fixture
def images(tmp_path, dataset):
    """A folder of images, listed below ``tmp_path / 'run'``."""
    folder = shutil.copytree(dataset / "images", tmp_path / "images")
    prepare.run(folder, manifest_path(tmp_path / "run"), n_shards=1)
    return folder


@pytest.fixture
def listed(images, tmp_path):
    """What stands for the folder at present."""
    return lambda: current_listing(images, tmp_path / "run")


@pytest.fixture
def read(monkeypatch):
    """Names of the files whose content is read."""
    names, digest = [], image_files.digest_file

    def digest_file(path):
        names.append(path.name)
        return digest(path)

    monkeypatch.setattr(image_files, "digest_file", digest_file)
    return names


def replaced(path, by):
    """Another image of the same size in bytes, and of the same time of modification."""
    stat = path.stat()
    content = by.read_bytes()[: stat.st_size].ljust(stat.st_size, b"\0")
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_before_the_list_is_made_it_is_that_of_the_list(images, listed, tmp_path, read):
    made = read_manifest(manifest_path(tmp_path / "run"))
    assert listed() == made.listing and made.listing.startswith("4 images ")
    assert current_listing(images, tmp_path / "fresh") == made.listing
    assert not read


def test_a_touch_changes_nothing_and_is_looked_into_once(images, listed, tmp_path, read):
    before = listed()
    (images / "s2.png").touch()
    assert [listed(), listed()] == [before] * 2 and read == ["s2.png"]
    (images / "s3.png").chmod(0o600)
    assert listed() == before and sorted(read) == ["s2.png", "s2.png", "s3.png"]
    listing_path(tmp_path / "run").write_text("damaged")
    assert listed() == before


def test_other_images_are_another_listing(images, listed, dataset):
    first = listed()
    shutil.copy(images / "s1.png", images / "new.png")
    added = listed()
    (images / "new.png").unlink()
    assert added != first == listed()
    (images / "s1.png").rename(images / "moved.png")
    assert listed() not in (first, added)
    (images / "moved.png").rename(images / "s1.png")
    assert listed() == first
    replaced(images / "s1.png", images / "s2.png")
    assert listed() != first


def test_what_is_no_image_of_the_list_is_not_counted(images, listed):
    before = listed()
    for name in ("notes.txt", ".hidden.png", "s1.cuts3d-crf.png", "s1_depth.png"):
        (images / name).write_bytes(b"x")
    assert listed() == before


def test_images_that_moved_away_change_nothing_but_an_emptied_folder_does(images, listed):
    before = listed()
    images.rename(images.with_name("away"))
    assert listed() == before
    images.mkdir()
    assert listed() == ""


def test_a_list_made_again_reads_what_changed_alone(images, tmp_path, read):
    shutil.copy(images / "s1.png", images / "a.png")
    replaced(images / "s3.png", images / "s2.png")
    (images / "s4.png").unlink()
    manifest = read_manifest(manifest_path(tmp_path / "run"))
    before, now = manifest.records(), relisted(manifest)
    assert changes(before, now) == {"new": 1, "removed": 1, "changed": 1} and sorted(read) == ["a.png", "s3.png"]
    assert [(record.id, record.file_name) for record in now] == [
        (4, "a.png"),
        (1, "s1.png"),
        (2, "s2.png"),
        (3, "s3.png"),
    ]
    assert [replace(record, id=0) for record in now] == [replace(record, id=0) for record in list_images(images)]
    assert prepare.run(images, manifest.path, n_shards=2).records() == now


def test_records_of_another_folder_are_not_taken_over(images, tmp_path, read):
    other = shutil.copytree(images, tmp_path / "other")
    prepare.run(other, manifest_path(tmp_path / "run"), n_shards=1)
    assert len(read) == 4


@pytest.mark.parametrize("harm", [b"s2.png", b'"shard_sizes"'])
def test_a_damaged_list_is_made_again(images, tmp_path, harm):
    path = manifest_path(tmp_path / "run")
    before, text = read_manifest(path), path.read_bytes()
    records = [replace(record, stamp="") for record in before.records()]
    path.write_bytes(text.replace(harm, harm[:-1] + b"?"))
    os.utime(images / "s1.png")
    assert current_listing(images, tmp_path / "run") != before.listing  # so that the workflow lists them again
    prepare.run(images, path, n_shards=1)
    assert [replace(record, stamp="") for record in read_manifest(path).records()] == records


def test_many_images_take_little_time(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(20_000):
        (tmp_path / "images" / f"{number}.jpg").touch()
    start = time.process_time()
    assert current_listing(tmp_path / "images", tmp_path / "run").startswith("20000 images")
    assert time.process_time() - start < 2
