import pytest

from cuts3d_cli.errors import Cuts3dError, StoreError
from cuts3d_cli.store.manifest import ImageRecord, read_manifest, write_manifest


def records(n):
    return [ImageRecord(i, f"a/{i}.jpg", 10, 20, "d") for i in range(1, n + 1)]


def test_round_trip_by_shard(tmp_path):
    manifest = write_manifest(tmp_path / "m.jsonl", "/images", [records(7)[:2], records(7)[2:6], records(7)[6:]])
    again = read_manifest(tmp_path / "m.jsonl")
    assert again == manifest and (again.n_images, again.n_shards) == (7, 3)
    assert [len(again.records(i)) for i in range(3)] == [2, 4, 1]
    assert again.records() == records(7)
    assert [r for i in range(3) for r in again.records(i)] == records(7)
    with pytest.raises(StoreError, match="no shard 3; expected 0 to 2"):
        again.records(3)


def test_equal_lists_have_equal_fingerprints_and_others_not(tmp_path):
    a = write_manifest(tmp_path / "a", "/x", [records(5)])
    b = write_manifest(tmp_path / "b", "/y", [[record] for record in records(5)])
    c = write_manifest(tmp_path / "c", "/x", [records(4)])
    assert a.fingerprint == b.fingerprint != c.fingerprint


def test_more_shards_than_images(tmp_path):
    with pytest.raises(Cuts3dError, match=r"data.n_shards.*at most the number of images, 2; found 3"):
        write_manifest(tmp_path / "m", "/", [[], records(2)[:1], records(2)[1:]])
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("content", ["", "x", "{}", '{"format": "cuts3d-manifest", "version": 99}', "\x00\xff"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "m").write_text(content, encoding="latin-1")
    with pytest.raises(StoreError, match="expected a cuts3d manifest"):
        read_manifest(tmp_path / "m")


def test_missing_list(tmp_path):
    with pytest.raises(StoreError, match="run `cuts3d prepare` first"):
        read_manifest(tmp_path / "m")


def test_a_lost_line_is_noticed_in_every_shard_after_it(tmp_path):
    manifest = write_manifest(tmp_path / "m", "/", [records(6)[:2], records(6)[2:4], records(6)[4:]])
    lines = (tmp_path / "m").read_bytes().splitlines(keepends=True)
    (tmp_path / "m").write_bytes(b"".join(lines[:2] + lines[3:]))
    for shard in range(3):
        with pytest.raises(StoreError, match="damaged"):
            manifest.records(shard)
