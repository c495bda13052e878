"""The backend geometry: patches of a surface, the join, and the stage that hands it the depth."""

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from cuts3d_cli.backends import features_geometry as fg
from cuts3d_cli.backends.base import Surface, feature_backend
from cuts3d_cli.config import FeaturesConfig, resolve
from cuts3d_cli.config.backends import needs_depth
from cuts3d_cli.core.masks import mask_iou
from cuts3d_cli.errors import ConfigError, StoreError
from cuts3d_cli.pipeline.declarations import STAGES, inputs_of, upstream_of
from cuts3d_cli.pipeline.graph import execute, result_path
from cuts3d_cli.pipeline.runner import Source
from cuts3d_cli.stages import prepare
from cuts3d_cli.store.layout import manifest_path
from cuts3d_cli.store.manifest import read_manifest
from cuts3d_cli.store.zarr_store import open_store

SIZE = 480
CONFIG = {"preset": "rgbd", "features": {"patch_size": 8}}


def two_steps():
    """A wall at 2 with a near and a far box before it, every reading there."""
    distance = np.full((SIZE, SIZE), 2.0, np.float32)
    distance[120:280, 60:200] = 1.0
    distance[120:280, 280:420] = 1.5
    return Surface(distance, np.ones((SIZE, SIZE), bool), 4 / 3)


def run(stage, run_dir, images, depth_maps, config):
    """The store of a stage after all before it; the only shard."""
    if not manifest_path(run_dir).exists():
        prepare.run(images, manifest_path(run_dir), n_shards=1)
    manifest = read_manifest(manifest_path(run_dir))
    source = Source(manifest.records(0), manifest.image_root, depth_maps)
    for name in [*upstream_of(stage, config), stage]:
        execute(name, source, config, lambda s: result_path(run_dir, s, "00000"))
    return open_store(result_path(run_dir, stage, "00000"))


def test_extract_tells_the_boxes_from_the_wall():
    backend = feature_backend(FeaturesConfig(backend="geometry", patch_size=8))
    features = backend.extract(np.zeros((SIZE, SIZE, 3), np.uint8), two_steps())
    assert features.dtype == np.float32 and features.shape[1:] == (60, 60)
    parts = features.argmax(axis=0)
    assert parts[0, 0] == 0 and {parts[25, 15], parts[25, 45]} == {1, 2} and parts.max() == 2


def test_patch_distance_is_the_median_where_half_has_a_reading():
    surface = two_steps()
    reading = surface.reading.copy()
    reading[:8, :5], reading[:8, 8:11] = False, False
    distance = fg.patch_distance(surface._replace(reading=reading), 60)
    assert np.isnan(distance[0, 0]) and np.isnan(distance).sum() == 1
    assert distance[25, 15] == 1 and distance[25, 45] == 1.5


def test_the_join_gets_the_working_image():
    class Halves:
        description = "halves"

        def extract(self, working):
            side = np.arange(60) < 16
            return np.stack([np.tile(side, (60, 1)), np.tile(~side, (60, 1))]).astype(np.float32) * working.max()

    backend = fg.GeometryFeatures(grid=60, focal=0.82, semantic=Halves())
    parts = backend.extract(np.ones((SIZE, SIZE, 3), np.uint8), two_steps()).argmax(axis=0)
    assert parts.max() == 3 and parts[25, 10] != parts[25, 20]  # the near box in two
    assert "halves" in backend.description


def test_what_may_be_joined():
    for name in ("geometry", "dino-vitb88", ""):
        with pytest.raises(ConfigError, match="join must be one of kernel, "):
            resolve({"features": {"backend": "geometry", "join": name}})
    with pytest.raises(ConfigError, match=r"join goes with features\.backend geometry"):
        resolve({"features": {"backend": "kernel", "join": "dino-vitb8"}})
    joined = feature_backend(FeaturesConfig(backend="geometry", join="kernel"))
    assert "joined with kernel" in joined.description


def test_only_geometry_reads_the_depth():
    assert inputs_of("features", resolve(CONFIG)) == ("depth",)
    assert inputs_of("features", resolve()) == ()
    assert upstream_of("features", resolve(CONFIG)) == ["depth"]
    assert needs_depth("geometry") and not needs_depth("kernel") and not needs_depth("nothing")


@pytest.fixture(scope="module")
def found(dataset, tmp_path_factory):
    return run("localcut", tmp_path_factory.mktemp("run"), dataset / "images", dataset / "depth", resolve(CONFIG))


def test_the_preset_finds_every_box(found, dataset):
    truth = COCO(str(dataset / "annotations.json"))
    for row in range(4):
        masks = [truth.annToMask(entry) for entry in truth.imgToAnns[row + 1]]
        grid = np.array([cv2.resize(mask, (60, 60), interpolation=cv2.INTER_NEAREST) for mask in masks], bool)
        instance = found.array("instance")[row]
        instance = instance[instance.any(axis=(1, 2))]
        assert len(instance) == len(masks) and (mask_iou(grid, instance).max(axis=1) > 0.8).all()


def test_metres_and_millimetres_give_the_same(found, dataset, tmp_path):
    (tmp_path / "metres").mkdir()
    for path in (dataset / "depth").iterdir():
        np.save(tmp_path / "metres" / f"{path.stem}.npy", np.asarray(Image.open(path)).astype(np.float32) / 1000)
    other = run("localcut", tmp_path / "run", dataset / "images", tmp_path / "metres", resolve(CONFIG))
    assert (other.array("instance")[:] == found.array("instance")[:]).all()
    near_far = open_store(result_path(tmp_path / "run", "depth", "00000")).array("range")[0]
    assert np.allclose(near_far, [0.6, 2.0])


def test_disparity_will_do(found, dataset, tmp_path):
    (tmp_path / "disparity").mkdir()
    for path in (dataset / "depth").iterdir():
        np.save(tmp_path / "disparity" / f"{path.stem}.npy", 500 / np.asarray(Image.open(path)).astype(np.float32) + 3)
    config = resolve({**CONFIG, "depth": {"kind": "inverse"}})
    other = run("localcut", tmp_path / "run", dataset / "images", tmp_path / "disparity", config)
    assert np.isnan(open_store(result_path(tmp_path / "run", "depth", "00000")).array("range")[:]).all()
    same = other.array("instance")[:].any(axis=1) == found.array("instance")[:].any(axis=1)
    assert same.mean() > 0.99


def test_features_say_that_depth_comes_first(dataset, tmp_path):
    prepare.run(dataset / "images", manifest_path(tmp_path), n_shards=1)
    manifest = read_manifest(manifest_path(tmp_path))
    with pytest.raises(StoreError, match="cuts3d depth"):
        execute(
            "features",
            Source(manifest.records(0), manifest.image_root, dataset / "depth"),
            resolve(CONFIG),
            lambda s: result_path(tmp_path, s, "00000"),
        )


def test_a_weights_file_counts_for_the_join(dataset, tmp_path):
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"x")
    config = resolve({**CONFIG, "features": {"backend": "geometry", "join": "dino-vitb8", "weights": str(weights)}})
    assert STAGES["features"].files(config, None)
