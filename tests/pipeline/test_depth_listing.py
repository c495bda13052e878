"""The text that stands for depth maps stays the same as long as they do."""

import os
import shutil

import pytest

from cuts3d_cli.config import resolve
from cuts3d_cli.pipeline import depth_listing
from cuts3d_cli.pipeline.depth_listing import DepthMaps, maps_before, note_maps
from cuts3d_cli.pipeline.graph import execute, result_path
from cuts3d_cli.pipeline.runner import Source
from cuts3d_cli.stages import prepare
from cuts3d_cli.store.layout import manifest_path, shard_name


@pytest.fixture
def scenes(tmp_path, dataset):
    shutil.copytree(dataset, tmp_path / "scenes")
    return tmp_path / "scenes"


def current(scenes, **values) -> list[str]:
    config = resolve({"preset": "embedded", **values})
    maps = DepthMaps(config, scenes.parent / "run", scenes / "images", scenes / "depth", 2)
    return [maps.current(shard) for shard in (0, 1)]


def make_depth(scenes) -> None:
    """What a job does."""
    base, config = scenes.parent / "run", resolve({"preset": "embedded", "depth": {"size": 48}})
    manifest = prepare.run(scenes / "images", manifest_path(base), n_shards=2)
    for shard in (0, 1):
        source = Source(manifest.records(shard), scenes / "images", scenes / "depth")
        before = maps_before(config, source)
        _, kept = execute("depth", source, config, lambda stage, s=shard: result_path(base, stage, shard_name(s)))
        note_maps(base, shard, before, kept=kept)


def replace_map(scenes, name, other) -> None:
    """Other content with the old time."""
    path = scenes / "depth" / name
    before = path.stat()
    shutil.copy(scenes / "depth" / other, path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_before_and_after_the_depth_is_made_the_text_is_the_same(scenes):
    planned = current(scenes)
    make_depth(scenes)
    small = {"depth": {"size": 48}}
    assert current(scenes, **small) == planned
    for path in (scenes / "depth").iterdir():
        path.touch()
    assert current(scenes, **small) == planned, "touched"
    make_depth(scenes)
    assert current(scenes, **small) == planned, "nothing was to be done"
    replace_map(scenes, "s1.png", "s2.png")
    first, second = current(scenes, **small)
    assert first != planned[0] and second == planned[1], "of its shard alone"
    make_depth(scenes)
    assert current(scenes, **small) == [first, second]
    replace_map(scenes, "s3.png", "s2.png")
    (scenes / "depth").rename(scenes / "moved")
    assert current(scenes, **small) == [first, second], "maps whose folder is gone are needed no more"


def test_the_model_is_hashed_once_for_all_shards(scenes, monkeypatch):
    hashed = []
    monkeypatch.setattr(depth_listing, "model_digest", lambda config: hashed.append(1) or "hash")
    current(scenes)
    assert not hashed
    for number in range(1, 5):
        (scenes / f"depth/s{number}.png").unlink()
    first, second = current(scenes)
    assert len(hashed) == 1 and first != second


def test_the_model_counts_where_a_map_is_missing(scenes, tmp_path):
    weights = tmp_path / "model.onnx"
    weights.write_bytes(b"one")
    given = {"depth": {"backend": "auto", "weights": str(weights)}}
    before = current(scenes, **given)
    weights.write_bytes(b"two")
    assert current(scenes, **given) == before
    (scenes / "depth/s4.png").unlink()
    alone = current(scenes, **given)
    assert alone[0] == before[0] and alone[1] != before[1]
    weights.write_bytes(b"three")
    assert current(scenes, **given)[1] != alone[1]


def test_a_model_is_known_by_its_weights(scenes, tmp_path):
    weights = tmp_path / "model.onnx"
    weights.write_bytes(b"one")
    given = {"depth": {"backend": "embedded", "weights": str(weights)}}
    before = current(scenes, **given)
    replace_map(scenes, "s1.png", "s2.png")
    assert current(scenes, **given) == before
    weights.write_bytes(b"two")
    assert current(scenes, **given) != before
