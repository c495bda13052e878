"""The stages on a run: what they write, what they refuse, and what survives a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from cuts3d_cli.config import resolve
from cuts3d_cli.errors import ConfigError, Cuts3dError, StoreError
from cuts3d_cli.pipeline.declarations import STAGES as DECLARED
from cuts3d_cli.pipeline.declarations import inputs_of, upstream_of
from cuts3d_cli.pipeline.depth_notes import notes_of
from cuts3d_cli.pipeline.graph import depth_maps_of, execute, expected_fingerprints, result_path
from cuts3d_cli.pipeline.methods import OWN
from cuts3d_cli.pipeline.results import Damaged, read_result
from cuts3d_cli.pipeline.runner import Source, solver_and_device
from cuts3d_cli.report import status
from cuts3d_cli.stages import merge, prepare
from cuts3d_cli.store.checksums import read_own
from cuts3d_cli.store.coco import confidence_of, cut_of, decode_mask, quality_of
from cuts3d_cli.store.image_files import find_images
from cuts3d_cli.store.layout import (
    DEPTH_SOURCES,
    FORMAT_VERSION,
    OUTCOME_NAMES,
    SOLVER_NAMES,
    STATUS_NAMES,
    manifest_path,
    pseudo_masks_path,
)
from cuts3d_cli.store.manifest import read_manifest
from cuts3d_cli.store.masks import read_masks
from cuts3d_cli.store.zarr_store import open_store

SMALL = {
    "features": {"image_size": 96},
    "crf": {"image_size": 96, "iterations": 2},
    "localcut": {"tau_knn": 0.115},  # a grid of 12 x 12 has longer edges
    "confidence": {"tau_knn_min": 0.05},
    "max_failed": 1.0,
}
STAGES = ["depth", "features", "spatial-importance", "localcut", "confidence", "crf"]


def run_all(run_dir, dataset, values=SMALL, stages=STAGES, shard=0, force=False):
    config = resolve(values)
    if not manifest_path(run_dir).exists():
        prepare.run(dataset / "images", manifest_path(run_dir), n_shards=2)
    manifest = read_manifest(manifest_path(run_dir))
    source = Source(manifest.records(shard), manifest.image_root, dataset / "depth")
    return [execute(s, source, config, lambda s: result_path(run_dir, s, f"{shard:05d}"), force=force) for s in stages]


@pytest.fixture(scope="module")
def done(tmp_path_factory, dataset):
    run_dir = tmp_path_factory.mktemp("run")
    for shard in (0, 1):
        run_all(run_dir, dataset, shard=shard)
    merge.run(run_dir)
    return run_dir


def test_stores_hold_what_the_layout_says(done):
    depth = open_store(result_path(done, "depth", "00000"))
    assert depth.array("depth").shape == (2, 480, 480) and depth.array("depth").dtype == np.float16
    assert depth.attrs["files_hold"] == "metric" and (depth.array("source")[:] == DEPTH_SOURCES.index("file")).all()
    importance = open_store(result_path(done, "spatial-importance", "00000")).array("importance")[:]
    assert importance.shape == (2, 12, 12) and importance.min() >= 0.45 - 1e-6 and importance.max() <= 1
    localcut = open_store(result_path(done, "localcut", "00000"))
    instance, semantic = localcut.array("instance")[:], localcut.array("semantic")[:]
    assert instance.shape == (2, resolve().localcut.n_instances, 12, 12) and not (instance & ~semantic).any()
    confidence = open_store(result_path(done, "confidence", "00000"))
    values = confidence.array("confidence")[:]
    assert ((values == 0) | ((values >= 0.5) & (values <= 1))).all()
    np.testing.assert_array_equal(values > 0, instance)


def test_instances_are_cut_apart_in_depth(done, dataset):
    """The two red boxes touch and look alike: no mask may hold much of both."""
    from pycocotools.coco import COCO

    truth, masks = COCO(str(dataset / "annotations.json")), read_masks(pseudo_masks_path(done, OWN))
    names = {image["id"]: image["file_name"] for image in masks.images}
    assert masks.annotations
    for entry in masks.annotations:
        image = next(i for i in truth.imgs.values() if i["file_name"] == names[entry["image_id"]])
        left, right, _ = (truth.annToMask(a).astype(bool) for a in truth.loadAnns(truth.getAnnIds(imgIds=image["id"])))
        mask = decode_mask(entry["segmentation"])
        assert mask.shape == (image["height"], image["width"])
        assert min((mask & left).sum() / left.sum(), (mask & right).sum() / right.sum()) < 0.5


def test_localcut_records_what_came_of_each_try_and_which_solver_ran(done):
    store = open_store(result_path(done, "localcut", "00000"))
    outcome, solver = store.array("outcome")[:], store.array("solver")[:]
    assert outcome.shape == solver.shape == (2, resolve().localcut.n_instances) and store.array("solver").attrs[
        "values"
    ] == list(SOLVER_NAMES)
    kept = outcome == OUTCOME_NAMES.index("kept")
    np.testing.assert_array_equal(kept, store.array("instance")[:].any(axis=(2, 3)))
    assert kept.any() and set(solver[kept]) <= {SOLVER_NAMES.index(name) for name in SOLVER_NAMES[1:]}
    assert set(outcome[solver == 0]) <= {OUTCOME_NAMES.index(name) for name in ("stopped", "few", "uniform")}


def test_codes_stand_for_every_outcome():
    from typing import get_args

    from cuts3d_cli.core.types import Outcome

    assert sorted(OUTCOME_NAMES) == sorted(get_args(Outcome))


@pytest.mark.parametrize("at_once", [1, 3])
def test_images_refined_together_give_what_each_gives_alone(done, dataset, tmp_path, monkeypatch, at_once):
    """Through torch, with an image among them that has gone since its instances were found."""
    monkeypatch.setattr("cuts3d_cli.core.permutohedral_torch.batch_size", lambda n: at_once)
    shutil.copytree(dataset / "images", tmp_path / "data/images")
    prepare.run(tmp_path / "data/images", manifest_path(tmp_path), n_shards=1)
    values = {**SMALL, "crf": {**SMALL["crf"], "solver": "torch"}, "device": "cpu"}
    run_all(tmp_path, dataset, values, stages=STAGES[:5])
    (tmp_path / "data/images/s2.png").unlink()
    ((counts, _),) = run_all(tmp_path, dataset, values, stages=["crf"])
    assert list(counts.failures) == ["s2.png"] and counts.total == 4
    found = read_masks(result_path(tmp_path, "crf", "00000"))
    gone = next(image["id"] for image in found.images if image["file_name"] == "s2.png")
    alone = [a for i in (0, 1) for a in read_masks(result_path(done, "crf", f"0000{i}")).annotations]
    expected = [(a["image_id"], a["segmentation"]) for a in alone if a["image_id"] != gone]
    assert expected and [(a["image_id"], a["segmentation"]) for a in found.annotations] == expected


@pytest.mark.parametrize("at_once", [1, 2, 20])
def test_images_solved_together_give_what_each_gives_alone(done, dataset, tmp_path, monkeypatch, at_once):
    """Through torch, with an image among them that cannot be read."""
    monkeypatch.setattr("cuts3d_cli.core.ncut_torch.batch_size", lambda n: at_once)
    images = tmp_path / "data/images"
    shutil.copytree(dataset / "images", images)
    (images / "s2.png").write_bytes(b"broken")
    prepare.run(images, manifest_path(tmp_path), n_shards=1)
    values = {**SMALL, "localcut": {**SMALL["localcut"], "eigensolver": "torch"}, "device": "cpu"}
    run_all(tmp_path, dataset, values, stages=STAGES[:4])
    store = open_store(result_path(tmp_path, "localcut", "00000"))
    assert STATUS_NAMES[store.status[1]] == "failed" and "torch" in {SOLVER_NAMES[c] for c in store.array("solver")[0]}
    alone = [open_store(result_path(done, "localcut", f"0000{i}")).array("instance")[:] for i in (0, 1)]
    rows = [0, 2, 3]
    np.testing.assert_array_equal(store.array("instance")[:][rows], np.concatenate(alone)[rows])


@pytest.mark.parametrize(
    ("device", "asked", "expected"),
    [("auto", "lanczos", ("lanczos", "cpu")), ("cpu", "torch", ("torch", "cpu")), ("cpu", "dense", ("dense", "cpu"))],
)
def test_the_solver_follows_the_device(device, asked, expected):
    assert solver_and_device(resolve({"device": device}), asked) == expected


def test_a_named_gpu_takes_eigenvectors_and_masks_through_torch(monkeypatch):
    monkeypatch.setattr("cuts3d_cli.backends.torch_tools.resolve_device", lambda name: name)
    assert solver_and_device(resolve({"device": "cuda:1"}), "lanczos") == ("torch", "cuda:1")
    assert solver_and_device(resolve({"device": "cuda"}), "lattice") == ("torch", "cuda")
    assert solver_and_device(resolve({"device": "cuda"}), "dense") == ("dense", "cpu")


def test_annotations_carry_the_maps_of_the_store_and_their_cut(done):
    masks = read_masks(pseudo_masks_path(done, OWN))
    stores = [open_store(result_path(done, "confidence", f"0000{i}"), "confidence") for i in (0, 1)]
    assert masks.annotations
    for entry in masks.annotations:
        store = next(store for store in stores if entry["image_id"] in store.image_ids)
        row, cut = store.image_ids.tolist().index(entry["image_id"]), cut_of(entry)
        confidence = confidence_of(entry)
        np.testing.assert_array_equal(confidence.grid, store.array("confidence")[row, cut].astype(np.float32))
        assert confidence.grid.any() and confidence.sc_min == store.config["sc_min"]
        assert entry["score"] == pytest.approx(store.array("score")[row][cut], abs=1e-6)


def test_annotations_carry_their_quality_through_the_merge(done):
    shards = [read_masks(result_path(done, "crf", f"0000{i}")) for i in (0, 1)]
    cuts = [open_store(result_path(done, "localcut", f"0000{i}"), "localcut") for i in (0, 1)]
    for shard, store in zip(shards, cuts, strict=True):
        contrast, instance = store.array("contrast")[:], store.array("instance")[:]
        assert ((contrast > 0) == instance.any(axis=(2, 3))).all() and contrast.max() <= 1
        for entry in shard.annotations:  # the CRF and the border of the image can only lower it
            row = store.image_ids.tolist().index(entry["image_id"])
            assert 0 < quality_of(entry) <= contrast[row, cut_of(entry)] + 1e-6
    merged = read_masks(pseudo_masks_path(done, OWN)).annotations
    assert [quality_of(a) for a in merged] == [quality_of(a) for shard in shards for a in shard.annotations]
    assert len({quality_of(a) for a in merged}) > 1


def test_the_crf_gives_its_own_confidence(done, dataset, tmp_path):
    """The same masks with maps and scores of the CRF, in the file alone."""
    own = {**SMALL, "crf": {**SMALL["crf"], "confidence": "crf"}, "confidence": {"tau_knn_min": 0.05, "sc_min": 0.4}}
    for shard in (0, 1):
        run_all(tmp_path, dataset, own, shard=shard)
    merge.run(tmp_path)
    masks, before = (read_masks(pseudo_masks_path(run, OWN)).annotations for run in (tmp_path, done))
    assert [a["segmentation"] for a in masks] == [a["segmentation"] for a in before]
    assert [cut_of(a) for a in masks] == [cut_of(a) for a in before]
    assert [quality_of(a) for a in masks] == [quality_of(a) for a in before]
    for entry in masks:
        confidence = confidence_of(entry)
        grid = confidence.grid
        assert grid.shape == (12, 12) and ((grid == 0) | ((grid >= np.float16(0.4)) & (grid <= 1))).all()
        assert confidence.sc_min == 0.4 and entry["score"] == pytest.approx(grid[grid > 0].mean(), abs=1e-3)
    assert not np.array_equal(confidence_of(masks[0]).grid, confidence_of(before[0]).grid)
    assert {path.name for path in tmp_path.iterdir()} == {*STAGES[:3], "masks", "manifest.jsonl"}
    assert all(kept for _, kept in run_all(tmp_path, dataset, own))
    assert not run_all(tmp_path, dataset, {**own, "confidence": {**own["confidence"], "sc_min": 0.6}})[-1][1]


def test_maskcut_gets_confidence_from_the_crf_alone(dataset, tmp_path):
    values = {"preset": "maskcut", "features": {"backend": "kernel", "image_size": 96, "weights": None}}
    stages = ["features", "localcut", "crf"]
    run_all(tmp_path, dataset, {**values, "crf": {"confidence": "crf"}}, stages=stages)
    entries = read_masks(result_path(tmp_path, "crf", "00000")).annotations
    assert entries and all(0.5 <= entry["score"] <= 1 and confidence_of(entry).sc_min == 0.5 for entry in entries)
    assert all(0 < quality_of(entry) < 1 for entry in entries)
    with pytest.raises(ConfigError, match=r"crf\.unary confidence; expected Spatial Confidence"):
        run_all(tmp_path, dataset, {**values, "crf": {"unary": "confidence"}}, stages=stages)


def test_status_says_that_merged_masks_are_of_an_older_cuts3d(done, dataset, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(done, run_dir)
    path = pseudo_masks_path(run_dir, OWN)
    *_, row = status.run(run_dir, resolve(SMALL), depth_maps=dataset / "depth")
    assert (row.stage, row.current, row.why) == ("merge", 1, "")
    damage_version(path)
    *_, row = status.run(run_dir, resolve(SMALL), depth_maps=dataset / "depth")
    assert (row.current, row.total) == (0, 1) and "older cuts3d" in row.why and "`cuts3d merge`" in row.why


def test_the_record_of_a_shard_and_of_all(done):
    shards = [read_masks(result_path(done, "crf", f"0000{i}"), own=True) for i in (0, 1)]
    whole = read_masks(pseudo_masks_path(done, OWN), own=True)
    stores = {stage: open_store(result_path(done, stage, "00000")).fingerprint for stage in ("localcut", "confidence")}
    assert shards[0].provenance.inputs == stores and set(shards[0].provenance.config) == {
        stage.replace("-", "_") for stage in STAGES
    }
    assert whole.provenance.inputs == {f"crf/0000{i}": shard.provenance.fingerprint for i, shard in enumerate(shards)}
    assert whole.provenance.config == shards[0].provenance.config
    assert whole.counts == shards[0].counts + shards[1].counts and whole.counts.total == 4


def damage_missing_key(path):
    document = read_own(path)
    del document["info"]["counts"]
    path.write_text(json.dumps(document))


def damage_version(path):
    document = read_own(path)
    del document["info"]["format_version"]
    path.write_text(json.dumps(document))


def damage_text(path):
    path.write_text(path.read_text()[:100])


def damage_info(path):
    path.write_text(json.dumps({**read_own(path), "info": None}))


def damage_attributes(path):
    meta = json.loads((path / "zarr.json").read_text())
    meta["attributes"] = {"format_version": FORMAT_VERSION}
    (path / "zarr.json").write_text(json.dumps(meta))


def damage_array(path):
    shutil.rmtree(path / "status")


def damage_meta(path):
    (path / "zarr.json").write_text("{")


@pytest.mark.parametrize(
    ("stage", "damage"),
    [
        ("crf", damage_missing_key),
        ("crf", damage_text),
        ("crf", damage_version),
        ("crf", damage_info),
        ("depth", damage_attributes),
        ("depth", damage_array),
        ("depth", damage_meta),
    ],
)
def test_a_damaged_result_is_missing_with_its_reason_and_made_again(done, dataset, tmp_path, caplog, stage, damage):
    run_dir = tmp_path / "run"
    shutil.copytree(done, run_dir)
    path = result_path(run_dir, stage, "00000")
    damage(path)
    result = read_result(stage, path)
    assert isinstance(result, Damaged) and str(path) in result.reason
    row = next(
        r for r in status.run(run_dir, resolve(SMALL), methods=[OWN], depth_maps=dataset / "depth") if r.stage == stage
    )
    assert (row.present, row.current, row.total) == (1, 1, 2) and str(path) in row.why
    with caplog.at_level("WARNING", logger="cuts3d"):
        assert run_all(run_dir, dataset, stages=[stage])[0][1] is False
    assert "recomputed" in caplog.text and str(path) in caplog.text
    assert run_all(run_dir, dataset, stages=[stage])[0][1] is True


def test_importance_on_another_grid_is_refused(done, dataset, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(done, run_dir)
    other = {**SMALL, "features": {"image_size": 48}}
    run_all(run_dir, dataset, other, stages=["spatial-importance"])
    with pytest.raises(StoreError, match=r"different patch grid; expected .*; found .*features.image_size"):
        run_all(run_dir, dataset, other, stages=["localcut"])


def test_a_damaged_input_is_refused_in_one_line(done, dataset, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(done, run_dir)
    damage_meta(result_path(run_dir, "features", "00000"))
    with pytest.raises(StoreError, match=r"features/00000.zarr is damaged; .* -> delete it and rerun `cuts3d feat"):
        run_all(run_dir, dataset, stages=["localcut"], force=True)


def test_nothing_is_neither_found_nor_damaged(tmp_path):
    assert read_result("crf", tmp_path / "none.json") is None


def test_a_second_run_keeps_everything(done, dataset):
    assert all(kept for _, kept in run_all(done, dataset))


def test_one_and_two_shards_give_the_same(done, dataset, tmp_path):
    prepare.run(dataset / "images", manifest_path(tmp_path), n_shards=1)
    run_all(tmp_path, dataset)
    whole = open_store(result_path(tmp_path, "localcut", "00000")).array("instance")[:]
    parts = [open_store(result_path(done, "localcut", f"0000{i}")).array("instance")[:] for i in (0, 1)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_a_changed_threshold_recomputes_the_cut_alone(dataset, tmp_path):
    run_all(tmp_path, dataset)
    changed = {**SMALL, "localcut": {"tau_knn": 0.2}}
    assert [kept for _, kept in run_all(tmp_path, dataset, changed)] == [True, True, True, False, False, False]


def test_stale_inputs_are_refused(dataset, tmp_path):
    run_all(tmp_path, dataset)
    run_all(tmp_path, dataset, {**SMALL, "depth": {"size": 240}}, stages=["depth"])
    with pytest.raises(StoreError, match=r"made from a different depth store.*rerun `cuts3d spatial-importance`"):
        run_all(tmp_path, dataset, {**SMALL, "localcut": {"tau_knn": 0.115, "k": 10}}, stages=["localcut"])


def test_status_tells_which_images_are_new_gone_or_changed(dataset, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(dataset / "images", images)
    prepare.run(images, manifest_path(tmp_path), n_shards=1)
    first, second, third, *_ = sorted(images.iterdir())

    def row():
        return status.run(tmp_path, resolve(SMALL))[0]

    assert row().current == 1 and row().why == ""
    os.utime(third, (2e9, 2e9))  # touched, not changed
    assert row().current == 1
    shutil.copy(first, images / "new.png")
    first.unlink()
    shutil.copy(third, second)
    os.utime(second, (2e9, 2e9))
    assert row().current == 0 and row().why == "1 new, 1 removed, 1 changed"


def test_linked_folders_are_searched_once_and_hidden_ones_never(tmp_path):
    for name in ("elsewhere/b.png", "images/a.png", "images/.cache/c.png", "images/.d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "images/class1").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/up").symlink_to(tmp_path / "images")
    (tmp_path / "images/link.png").symlink_to(tmp_path / "elsewhere/b.png")
    found = find_images(tmp_path / "images")
    assert [path.relative_to(tmp_path / "images").as_posix() for path in found] == ["a.png", "class1/b.png", "link.png"]


def test_missing_inputs_are_named(dataset, tmp_path):
    with pytest.raises(StoreError, match="run `cuts3d features` first"):
        run_all(tmp_path, dataset, stages=["localcut"])


def test_thresholds_must_rise(dataset, tmp_path):
    values = {**SMALL, "localcut": {"tau_knn": 0.04}}
    with pytest.raises(ConfigError, match=r"tau_knn_min; expected at most localcut.tau_knn, 0.04"):
        run_all(tmp_path, dataset, values)


def test_maskcut_needs_no_depth():
    config = resolve({"preset": "maskcut"})
    assert inputs_of("localcut", config) == ("features",) and upstream_of("crf", config) == ["features", "localcut"]


def test_a_broken_image_keeps_its_place(dataset, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for path in (dataset / "images").iterdir():
        (images / path.name).write_bytes(path.read_bytes())
    (images / "s2.png").write_bytes((images / "s2.png").read_bytes()[:500])
    config, run_dir = resolve(SMALL), tmp_path / "run"
    prepare.run(images, manifest_path(run_dir), n_shards=1)
    manifest = read_manifest(manifest_path(run_dir))
    source = Source(manifest.records(), manifest.image_root, dataset / "depth")
    for stage in STAGES:
        counts, _ = execute(stage, source, config, lambda s: result_path(run_dir, s, "00000"))
    assert list(counts.failures) == ["s2.png"]
    localcut = open_store(result_path(run_dir, "localcut", "00000"))
    assert localcut.status.tolist()[1] == 2 and "s2.png" in localcut.failures[1]
    merge.run(run_dir)
    masks = read_masks(pseudo_masks_path(run_dir, OWN))
    assert len(masks.images) == 4 and {a["image_id"] for a in masks.annotations} == {1, 3, 4}
    assert list(masks.counts.failures) == ["s2.png"] and (masks.counts.done, masks.counts.no_object) == (3, 0)


def test_merge_refuses_missing_and_mixed_shards(dataset, tmp_path):
    run_all(tmp_path, dataset, shard=0)
    with pytest.raises(StoreError, match=r"00001.json"):
        merge.run(tmp_path)
    run_all(tmp_path, dataset, {**SMALL, "crf": {**SMALL["crf"], "iterations": 3}}, shard=1)
    with pytest.raises(StoreError, match=r"settings other than .*first shard: crf iterations; expected 2; found 3"):
        merge.run(tmp_path)


def test_every_setting_reaches_the_core(dataset, tmp_path, monkeypatch):
    """Most of them change nothing on easy scenes, so only the calls tell."""
    cut = {"k": 7, "xy_extent": 1.5, "background_z": 2.5, "capacity": "distance", "maxflow": "networkx"}
    values = {
        **SMALL,
        "localcut": {"tau_knn": 0.2, **cut},
        "confidence": {"tau_knn_min": 0.07, "n_thresholds": 3, "sc_min": 0.4},
        "crf": {**SMALL["crf"], "unary": "confidence", "min_iou": 0.3, "fill_holes": False},
    }
    calls = {}

    def spy(where, name):
        real = getattr(where, name)

        def wrapped(*args, **keywords):
            calls.setdefault(f"{where.__name__.split('.')[-1]}.{name}", []).append((args, keywords))
            return real(*args, **keywords)

        monkeypatch.setattr(where, name, wrapped)

    from cuts3d_cli.core import find_instances, segment

    for where, name in [
        (find_instances, "grid_points"), (find_instances, "semantic_graph"), (find_instances, "cut_in_3d"),
        (segment, "spatial_confidence"), (segment, "refine_images"), (segment, "DenseCrfs"),
    ]:  # fmt: skip
        spy(where, name)
    run_all(tmp_path, dataset, values)

    def keywords(name):
        return calls[name][0][1]

    assert keywords("find_instances.grid_points") == {"xy_extent": 1.5}
    assert keywords("find_instances.semantic_graph") == {"k": 7, "background_z": 2.5, "longest": 0.2}
    assert keywords("find_instances.cut_in_3d") == {"tau_knn": 0.2, "capacity": "distance", "maxflow": "networkx"}
    given = {key: value for key, value in keywords("segment.spatial_confidence").items() if np.isscalar(value)}
    assert given == {"tau_knn": 0.2, **cut, **values["confidence"]}
    refine = keywords("segment.refine_images")
    assert (refine["unary"], refine["min_iou"], refine["fill_holes"]) == ("confidence", 0.3, False)
    masks, maps = calls["segment.refine_images"][0][0][1][0], refine["confidence"][0]
    assert maps.shape == masks.shape and maps[masks].min() >= 0.4 - 1e-3 and np.ptp(maps[masks]) > 0
    expected = resolve(values).crf.model_dump(
        exclude={"enabled", "image_size", "confidence", "unary", "min_iou", "fill_holes", "outlines"}
    )
    assert keywords("segment.DenseCrfs") == expected | {"device": "cpu"}


def test_merge_refuses_masks_of_other_stores_than_those_there(done, dataset, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(done, run_dir)
    other = {**SMALL, "localcut": {"tau_knn": 0.115, "tau_ncut": 0.6}}
    run_all(run_dir, dataset, other, stages=["localcut", "confidence"], shard=1)
    with pytest.raises(StoreError, match=r"00001.json were made from a different localcut store.*rerun `cuts3d crf`"):
        merge.run(run_dir)
    for stage in ("localcut", "confidence"):  # what was deleted cannot be compared and is no fault
        shutil.rmtree(result_path(run_dir, stage, "00001"))
    merge.run(run_dir)


def test_merge_refuses_shards_whose_early_stages_ran_otherwise(done, dataset, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(done, run_dir)
    run_all(run_dir, dataset, {**SMALL, "spatial_importance": {"beta": 0.7}}, shard=1)
    with pytest.raises(StoreError, match=r"first shard: spatial_importance beta; expected 0.45; found 0.7"):
        merge.run(run_dir)


def test_inputs_of_an_earlier_algorithm_are_refused(done, dataset, monkeypatch):
    """By hand as by the workflow: what follows such a result may not be made from it."""
    monkeypatch.setitem(DECLARED, "spatial-importance", replace(DECLARED["spatial-importance"], algorithm=99))
    with pytest.raises(StoreError, match=r"another version of the algorithm; expected version 99; found version 1"):
        run_all(done, dataset, stages=["localcut"])
    monkeypatch.undo()
    monkeypatch.setitem(DECLARED, "crf", replace(DECLARED["crf"], algorithm=99))
    with pytest.raises(StoreError, match=r"another version of the algorithm.* rerun `cuts3d crf`"):
        merge.run(done)


def test_hints_name_the_method(done):
    with pytest.raises(StoreError, match="run `cuts3d localcut --method maskcut` first"):
        open_store(result_path(done, "localcut", "00000", "maskcut"), "localcut")


def test_merge_refuses_masks_of_another_method(done, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(done, run_dir)
    shutil.copytree(run_dir / "masks/cuts3d", run_dir / "masks/maskcut", dirs_exist_ok=True)
    with pytest.raises(StoreError, match=r"made by another method than maskcut; expected localcut.local_cut False"):
        merge.run(run_dir, "maskcut")


def test_merge_refuses_masks_of_another_version_or_without_record(done, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(done, run_dir)
    path = result_path(run_dir, "crf", "00001")
    document = read_own(path)
    path.write_text(json.dumps({**document, "info": {**document["info"], "algorithm": 0}}))
    with pytest.raises(StoreError, match=r"another version of the algorithm; expected version \d; found version 0"):
        merge.run(run_dir)
    damage_missing_key(path)
    with pytest.raises(StoreError, match=r"00001.json are damaged: info; .*'counts' -> rerun `cuts3d crf`"):
        merge.run(run_dir)
    path.write_text(json.dumps({**document, "info": {**document["info"], "format_version": 2}}))
    with pytest.raises(StoreError, match=r"older cuts3d; expected format version \d; found 2 -> rerun `cuts3d crf`"):
        merge.run(run_dir)


@pytest.fixture
def moved(done, dataset, tmp_path):
    """A finished run whose image list was made anew after an image more came first."""
    images = tmp_path / "data/images"
    shutil.copytree(dataset / "images", images)
    shutil.copytree(dataset / "depth", tmp_path / "data/depth")
    run_dir = tmp_path / "run"
    for shard in (0, 1):
        run_all(run_dir, tmp_path / "data", shard=shard)
    first, second = sorted(images.iterdir())[:2]
    shutil.copy(second, images / "a0.png")
    first.unlink()
    prepare.run(images, manifest_path(run_dir), n_shards=2)
    return run_dir, tmp_path / "data"


@pytest.mark.parametrize("stage", ["spatial-importance", "localcut", "confidence", "crf"])
def test_stores_of_other_images_are_refused(moved, stage):
    """As many images as before, others in part: ids and counts are equal, contents are not."""
    with pytest.raises(StoreError, match=r"made from images other than those in the image list"):
        run_all(*moved, stages=[stage])


def test_merge_refuses_masks_of_other_images(moved):
    with pytest.raises(StoreError, match=r"00000.json were made from images other than"):
        merge.run(moved[0])


@pytest.mark.parametrize("stage", ["features", "crf"])
def test_an_image_changed_after_the_list_was_made_is_a_failure(done, dataset, tmp_path, stage):
    run_dir, images = tmp_path / "run", tmp_path / "data/images"
    shutil.copytree(dataset / "images", images)
    shutil.copytree(dataset / "depth", tmp_path / "data/depth")
    run_all(run_dir, tmp_path / "data", stages=STAGES[: STAGES.index(stage)])
    first, second = sorted(images.iterdir())[:2]
    shutil.copy(second, first)
    counts, _ = run_all(run_dir, tmp_path / "data", stages=[stage])[0]
    assert list(counts.failures) == [first.name] and "has changed since" in counts.failures[first.name]


def test_other_weights_under_the_same_name_are_noticed(dataset, tmp_path):
    weights = tmp_path / "vit.pth"
    config = resolve({"features": {"backend": "dino-vits8", "weights": str(weights)}})
    source = Source([], dataset / "images")
    found = []
    for content in (None, b"one", b"two"):
        if content is not None:
            weights.write_bytes(content)
        found.append(expected_fingerprints(config, source, "features")["features"])
    assert len(set(found)) == 3


def test_a_killed_localcut_leaves_no_store_and_reruns_to_the_same(done, dataset, tmp_path):
    run_all(tmp_path, dataset, stages=STAGES[:3])
    code = f"""
import os, signal, pathlib
import cuts3d_cli.stages.localcut as stage
from cuts3d_cli.cli.main import main
real, calls = stage.find_instances_batch, []
def find_instances_batch(*args, **options):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **options)
stage.find_instances_batch = find_instances_batch
main(["localcut", "--run", {str(tmp_path)!r}, "--shard", "0", "--tau-knn", "0.115"])
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not result_path(tmp_path, "localcut", "00000").exists()
    run_all(tmp_path, dataset, stages=["localcut"])
    left = [name for name in os.listdir(tmp_path / "masks/cuts3d/localcut") if name != "00000.zarr"]
    assert left == []
    again, whole = (open_store(result_path(d, "localcut", "00000")) for d in (tmp_path, done))
    for name in ("instance", "terminals", "fiedler"):
        np.testing.assert_array_equal(again.array(name)[:], whole.array(name)[:])


def test_too_many_failures_end_the_command(dataset, tmp_path, cuts3d):
    prepare.run(dataset / "images", manifest_path(tmp_path), n_shards=1)
    (tmp_path / "none").mkdir()
    args = ("depth", "--backend", "files", "--run", tmp_path, "--depth-map", tmp_path / "none")
    code, _, err = cuts3d(*args)
    assert code == 1 and "depth: 4 of 4 images failed, first s1.png" in err
    assert cuts3d(*args, "--force", "--max-failed", "1")[0] == 0


def test_prepare_leaves_own_pictures_and_other_files_out(dataset, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    (images / ".cache").mkdir()
    names = ("a.png", "a_depth.png", "c-depth.png", "b.cuts3d-localcut.png", ".hidden.png", ".cache/d.png")
    for name in names:
        (images / name).write_bytes((dataset / "images/s1.png").read_bytes())
    (images / "notes.txt").write_text("x")
    assert [path.name for path in find_images(images)] == ["a.png", "c-depth.png"]


def test_depth_maps_named_for_other_images_are_not_taken(dataset, tmp_path):
    """data.depth_maps belongs to data.images; a list of other images has its maps beside them."""
    manifest = prepare.run(dataset / "images", manifest_path(tmp_path), n_shards=1)
    assert depth_maps_of(manifest, resolve({})) is None
    data = {"images": str(dataset / "images"), "depth_maps": "maps", "val_images": "elsewhere", "val_depth_maps": "v"}
    assert depth_maps_of(manifest, resolve({"data": data})).name == "maps"
    data = {"images": "elsewhere", "val_images": str(dataset / "images"), "val_depth_maps": "v"}
    assert depth_maps_of(manifest, resolve({"data": data})).name == "v"


def test_the_crf_works_at_its_own_size(done, dataset, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(done, run_dir)
    finer = {**SMALL, "crf": {**SMALL["crf"], "image_size": 240}}
    ((_, kept),) = run_all(run_dir, dataset, finer, stages=["crf"])
    coarse, fine = (read_masks(result_path(run, "crf", "00000")).annotations for run in (done, run_dir))
    assert not kept and len(fine) == len(coarse)
    assert [a["segmentation"] for a in fine] != [a["segmentation"] for a in coarse]
    assert all(a["segmentation"]["size"] == [120, 160] for a in fine)


def test_a_folder_of_broken_images_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(Cuts3dError, match="expected readable images; found none of 1"):
        prepare.run(tmp_path, tmp_path / "m.jsonl", n_shards=1)


class SlopeModel:
    """A depth model that predicts nearness falling from left to right."""

    description, convention = "slope", "inverse"

    def predict(self, rgb, size):
        return np.tile(np.linspace(1, 0, size, dtype=np.float32), (size, 1))


@pytest.fixture
def slope(monkeypatch):
    from cuts3d_cli.stages import depth

    calls = []
    monkeypatch.setattr(depth, "depth_backend", lambda config, device: calls.append(config.backend) or SlopeModel())
    return calls


def test_depth_is_from_files_where_there_are_and_else_from_the_model(dataset, tmp_path, slope):
    maps = tmp_path / "maps"
    maps.mkdir()
    shutil.copy(dataset / "depth" / "s1.png", maps)
    prepare.run(dataset / "images", manifest_path(tmp_path), n_shards=1)
    manifest = read_manifest(manifest_path(tmp_path))
    source = Source(manifest.records(0), manifest.image_root, maps)
    execute("depth", source, resolve({}), lambda s: result_path(tmp_path, s, "00000"))
    store = open_store(result_path(tmp_path, "depth", "00000"), "depth")
    assert [DEPTH_SOURCES[code] for code in store.array("source")[:]] == ["file", "model", "model", "model"]
    depth = store.array("depth")[:].astype(np.float32)
    assert np.allclose(depth[1], np.linspace(0, 1, 480), atol=0.02) and not np.allclose(depth[0], depth[1], atol=0.1)
    assert notes_of(store, ["s1", "s2", "s3", "s4"]) == {"predicted": ["s2", "s3", "s4"]} and slope == ["auto"]


def test_no_model_is_built_where_every_image_has_a_map(done, slope):
    assert slope == []


def test_a_map_that_came_or_went_makes_depth_stale(dataset, tmp_path, slope):
    image, maps = tmp_path / "s1.png", tmp_path / "maps"
    maps.mkdir()
    shutil.copy(dataset / "images" / "s1.png", image)
    from cuts3d_cli.pipeline.cache import image_source

    def fingerprint():
        return expected_fingerprints(resolve({}), image_source(image, maps), "depth")["depth"]

    without = fingerprint()
    shutil.copy(dataset / "depth" / "s1.png", maps)
    assert fingerprint() != without


def test_a_broken_image_costs_no_other_of_its_batch(dataset, tmp_path, monkeypatch):
    """Features are made some images at a time."""
    from cuts3d_cli.backends.features_kernel import KernelFeatures

    images = tmp_path / "images"
    shutil.copytree(dataset / "images", images)
    prepare.run(images, manifest_path(tmp_path), n_shards=1)
    manifest = read_manifest(manifest_path(tmp_path))
    (images / "s2.png").write_bytes(b"no image any more")
    source, config = Source(manifest.records(0), manifest.image_root, None), resolve(SMALL)
    found = []
    for size in (1, 4):
        monkeypatch.setattr(KernelFeatures, "batch_size", size)
        counts, _ = execute("features", source, config, lambda s, size=size: tmp_path / f"{s}{size}.zarr")
        assert (counts.done, list(counts.failures)) == (3, ["s2.png"])
        found.append(open_store(tmp_path / f"features{size}.zarr", "features").array("features")[:])
    np.testing.assert_array_equal(*found)


def test_the_content_of_a_depth_head_counts(dataset, tmp_path):
    from cuts3d_cli.pipeline.cache import image_source

    image, head = tmp_path / "s1.png", tmp_path / "head.safetensors"
    shutil.copy(dataset / "images" / "s1.png", image)
    found = set()
    for backend in ("auto", "embedded"):
        for content in (b"one", b"two"):
            head.write_bytes(content)
            config = resolve({"preset": "photo", "depth": {"backend": backend, "weights": str(head)}})
            found.add(expected_fingerprints(config, image_source(image, None), "depth")["depth"])
    assert len(found) == 4
