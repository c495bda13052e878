"""What failed is tried again by the next run of the stage, and too many failures leave an earlier result in place."""

import itertools
import json
import os
import shutil

import numpy as np
import pytest
import yaml

from cuts3d_cli.backends.features_kernel import KernelFeatures
from cuts3d_cli.pipeline.graph import result_path
from cuts3d_cli.pipeline.retries import changed_since, tell_unreadable_list
from cuts3d_cli.pipeline.runner import Job
from cuts3d_cli.store.layout import STATUS_NAMES, failed_path, manifest_path, pseudo_masks_path
from cuts3d_cli.store.manifest import read_manifest
from cuts3d_cli.store.masks import read_masks
from cuts3d_cli.store.zarr_store import StoredArray, open_store

SMALL = {
    "preset": "embedded",
    "depth": {"backend": "files"},
    "features": {"image_size": 96},
    "crf": {"image_size": 96, "iterations": 2},
    "localcut": {"tau_knn": 0.115},  # a grid of 12 x 12 has longer edges
    "confidence": {"tau_knn_min": 0.05},
    "max_failed": 0.3,
}
STORES = ["depth", "features", "spatial-importance", "localcut", "confidence"]


class Run:
    """A run on scenes of its own; its stages are called as a user would."""

    def __init__(self, folder, dataset, cuts3d):
        self.images, self.maps, self.folder = folder / "images", folder / "depth", folder / "run"
        for path in (self.images, self.maps):
            if not path.exists():
                shutil.copytree(dataset / path.name, path)
        values = {**SMALL, "run": str(self.folder), "data": {"images": str(self.images), "depth_maps": str(self.maps)}}
        self.config, self._cuts3d = folder / "mine.yaml", cuts3d
        self.config.write_text(yaml.safe_dump(values))

    def prepare(self, n_shards=1):
        code, _, err = self._cuts3d("prepare", self.images, "--run", self.folder, "--n-shards", n_shards)
        assert code == 0, err
        return err

    def __call__(self, command, *options, code=0):
        ended = self._cuts3d("-v", command, "--config", self.config, "--run", self.folder, *options)
        assert ended[0] == code, ended[2]
        return ended[2]

    def path(self, stage, shard=0):
        return result_path(self.folder, stage, f"{shard:05d}")

    def store(self, stage):
        return open_store(self.path(stage), stage)

    def statuses(self, stage):
        return [STATUS_NAMES[code] for code in self.store(stage).status]

    @property
    def masks(self):
        return read_masks(pseudo_masks_path(self.folder, "cuts3d"))


@pytest.fixture
def run(tmp_path, dataset, cuts3d):
    return Run(tmp_path, dataset, cuts3d)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, dataset):
    """The same run without any fault."""
    from cuts3d_cli.cli.main import cli

    def cuts3d(*words):
        cli.main([str(word) for word in words], standalone_mode=False)
        return 0, "", ""

    whole = Run(tmp_path_factory.mktemp("whole"), dataset, cuts3d)
    whole.prepare()
    whole("crf")
    whole("merge")
    return whole


@pytest.fixture
def read(monkeypatch):
    """The names of the images that stages read."""
    names, image = [], Job.image

    def noted(self, record):
        names.append(record.file_name)
        return image(self, record)

    monkeypatch.setattr(Job, "image", noted)
    return names


def assert_same(found, expected):
    """Two runs ended with the same stores and masks."""
    for stage in STORES:
        ours, theirs = found.store(stage), expected.store(stage)
        assert not ours.failures
        assert ours.attrs == theirs.attrs
        for name in theirs.attrs["arrays"]:
            np.testing.assert_array_equal(ours.array(name)[:], theirs.array(name)[:], err_msg=name)
    ours, theirs = found.masks, expected.masks
    assert (ours.images, ours.annotations, ours.counts) == (theirs.images, theirs.annotations, theirs.counts)


def stamp(path):
    found = (path / "zarr.json" if path.is_dir() else path).stat()
    return found.st_ino, found.st_mtime_ns


def test_an_image_that_was_away_is_computed_once_it_is_back(run, whole, read):
    run.prepare()
    run("depth")
    os.rename(run.images / "s2.png", run.images.parent / "away.png")
    err = run("features")
    assert "features: 3 done, 0 no object, 1 failed" in err and run.statuses("features")[1] == "failed"
    run("crf")
    run("merge")
    assert list(run.masks.counts.failures) == ["s2.png"] and len(run.masks.by_image()[2]) == 0
    os.rename(run.images.parent / "away.png", run.images / "s2.png")
    read.clear()
    assert "features: 4 done, 0 no object, 0 failed" in run("features")
    assert read == ["s2.png"]
    for stage in ("localcut", "confidence", "crf"):
        err = run(stage)
        assert f"{stage}: 4 done, 0 no object, 0 failed" in err
    assert read == ["s2.png", "s2.png"], "by features and by crf"
    run("merge")
    assert_same(run, whole)
    assert not failed_path(run.path("features")).exists()


def test_an_image_that_comes_back_during_a_stage_is_tried_at_its_end(run, whole, monkeypatch):
    image, read = Job.image, []

    def coming_back(self, record):
        read.append(record.file_name)
        if read == ["s1.png", "s2.png"]:
            os.rename(run.images / "s2.png", run.images.parent / "s2.png")
        elif read == ["s1.png", "s2.png", "s3.png"]:
            os.rename(run.images.parent / "s2.png", run.images / "s2.png")
        return image(self, record)

    run.prepare()
    with monkeypatch.context() as patch:
        patch.setattr(Job, "image", coming_back)
        patch.setattr(KernelFeatures, "batch_size", 1)
        run("features")
    assert read == ["s1.png", "s2.png", "s3.png", "s4.png", "s2.png"]
    run("crf")
    run("merge")
    assert_same(run, whole)


def test_the_last_stage_tries_again_what_failed_before_it(run, whole):
    run.prepare()
    for folder, name in ((run.images, "s3.png"), (run.maps, "s1.png")):
        os.rename(folder / name, folder.parent / name)
    run("crf", "--max-failed", "0.5")
    assert run.statuses("depth") == ["failed", "done", "failed", "done"]
    for folder, name in ((run.images, "s3.png"), (run.maps, "s1.png")):
        os.rename(folder.parent / name, folder / name)
    run("crf")
    run("merge")
    assert_same(run, whole)


def test_the_last_stage_notices_that_an_earlier_one_was_completed(run, whole):
    run.prepare()
    os.rename(run.maps / "s1.png", run.maps.parent / "s1.png")
    run("crf")
    os.rename(run.maps.parent / "s1.png", run.maps / "s1.png")
    run("depth")
    run("crf")
    run("merge")
    assert_same(run, whole)


def test_a_failure_that_stays_costs_its_image_alone(run, read):
    run.prepare()
    content = (run.images / "s2.png").read_bytes()
    (run.images / "s2.png").write_bytes(content[: len(content) // 2])
    run.prepare()  # the header can be read
    run("crf")
    run("merge")
    paths = [*map(run.path, [*STORES, "crf"]), failed_path(run.path("features"))]
    before = [stamp(path) for path in paths]
    assert all("s2.png" in text for stage in STORES[1:] for text in run.store(stage).failures.values() or ["s2.png"])
    read.clear()
    err = run("features")
    assert read == ["s2.png"] and "features: up to date, 3 done, 0 no object, 1 failed" in err
    assert "features: s2.png failed: image" in err
    run("crf")
    assert read == ["s2.png"] and before == [stamp(path) for path in paths]
    assert len(os.listdir(run.path("features").parent)) == 1, "no temporary folder is left"


def test_another_reason_is_recorded(run):
    run.prepare()
    (run.images / "s2.png").write_bytes(b"no image")
    run("features")
    assert "no known image format" in run.store("features").failures[1]
    before = stamp(run.path("features"))
    (run.images / "s2.png").unlink()
    err = run("features")
    assert "does not exist" in run.store("features").failures[1] and stamp(run.path("features")) != before
    assert "up to date" not in err and run.statuses("features").count("done") == 3


def test_an_image_that_was_listed_as_unreadable_is_repaired(run, whole):
    content = (run.images / "s2.png").read_bytes()
    (run.images / "s2.png").write_bytes(b"")
    run.prepare()
    run("crf")
    run("merge")
    assert list(run.masks.counts.failures) == ["s2.png"]
    before = stamp(run.path("crf"))
    assert "up to date" in run("crf") and stamp(run.path("crf")) == before
    assert not failed_path(run.path("features")).exists(), "it is the list's matter"
    (run.images / "s2.png").write_bytes(content)
    run.prepare()
    for stage in (*STORES, "crf", "merge"):
        run(stage)
    assert_same(run, whole)


def test_an_image_whose_reading_failed_for_once_is_listed_anew(run, monkeypatch):
    """Its content is known, so the results are those of the same list, and only this image is computed."""
    from cuts3d_cli.store import image_files

    size = image_files.image_size

    def failing(path):
        if path.name == "s2.png":
            raise image_files.ImageError(f"image {path} cannot be read", found="Input/output error")
        return size(path)

    with monkeypatch.context() as patch:
        patch.setattr(image_files, "image_size", failing)
        run.prepare()
    run("crf")
    run.prepare()
    assert not any(record.error for record in read_manifest(manifest_path(run.folder)).records())
    assert "crf: 4 done, 0 no object, 0 failed" in run("crf")
    assert all(image["height"] for image in read_masks(run.path("crf")).images)


@pytest.mark.parametrize("stage", ["features", "crf"])
def test_too_many_failures_leave_the_earlier_result(run, stage):
    run.prepare(n_shards=2)
    run("crf")
    run("merge")
    paths = [run.path(stage), run.path(stage, 1), pseudo_masks_path(run.folder, "cuts3d")]
    before = [stamp(path) for path in paths]
    os.rename(run.images / "s3.png", run.images.parent / "s3.png")
    err = run(stage, "--force", code=1)
    assert f"{stage}: 1 of 2 images failed, first s3.png: image" in err
    assert [stamp(path) for path in paths[1:]] == before[1:], "of the second shard and of all"
    assert stamp(paths[0]) != before[0]
    run(stage, "--force", "--max-failed", "0.5")
    assert stamp(paths[1]) != before[1]


def test_a_first_result_with_too_many_failures_is_not_written(run):
    run.prepare()
    run("depth")
    for name in ("s1.png", "s2.png"):
        (run.images / name).unlink()
    assert "2 of 4 images failed" in run("features", code=1)
    assert not run.path("features").exists()
    run("features", "--max-failed", "0.5")
    before = stamp(run.path("features"))
    assert "2 of 4 images failed" in run("features", code=1), "what was allowed once is too much now"
    assert stamp(run.path("features")) == before


def test_merge_counts_the_failures_of_all_shards(run):
    run.prepare(n_shards=2)
    run("crf")
    run("merge")
    path = pseudo_masks_path(run.folder, "cuts3d")
    before = stamp(path)
    for name in ("s1.png", "s3.png"):
        (run.images / name).unlink()
    run("crf", "--force", "--max-failed", "0.5")
    err = run("merge", code=1)
    assert "merge: 2 of 4 images failed, first s1.png" in err and stamp(path) == before
    run("merge", "--max-failed", "0.5")
    assert list(run.masks.counts.failures) == ["s1.png", "s3.png"]


def test_forced_masks_of_a_damaged_store_leave_the_earlier_ones(run, monkeypatch):
    """The damage comes back whenever the store is made again."""
    run.prepare()
    run("crf")
    run("merge")
    before = [stamp(run.path("crf")), stamp(pseudo_masks_path(run.folder, "cuts3d"))]
    read = StoredArray.__getitem__

    def damaged(self, index):
        if self._name == "instance":
            raise self._store.damaged("array instance: other bits")
        return read(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(StoredArray, "__getitem__", damaged)
        assert "is damaged" in run("crf", "--force", code=1)
    run("merge")
    assert [stamp(run.path("crf"))] == before[:1] and run.masks.counts.done == 4


def test_a_damaged_store_with_failures_is_made_again_as_a_whole(run, monkeypatch):
    run.prepare()
    os.rename(run.images / "s2.png", run.images.parent / "s2.png")
    run("features")
    os.rename(run.images.parent / "s2.png", run.images / "s2.png")
    read, once = StoredArray.__getitem__, []

    def damaged(self, index):
        if self._name == "features" and not once:
            once.append(index)
            raise self._store.damaged("array features: other bits")
        return read(self, index)

    monkeypatch.setattr(StoredArray, "__getitem__", damaged)
    err = run("features")
    assert "features: recomputed, as store" in err and once and run.statuses("features") == ["done"] * 4


class TestChangedSince:
    def changed(self, run, stage):
        return list(changed_since(stage, run.path(stage), run.images, run.maps))

    def test_an_image(self, run):
        run.prepare()
        run("depth")
        os.rename(run.images / "s2.png", run.images.parent / "s2.png")
        run("features")
        assert self.changed(run, "features") == []
        os.rename(run.images.parent / "s2.png", run.images / "s2.png")
        assert self.changed(run, "features") == ["s2.png"]
        run("features")
        assert self.changed(run, "features") == []

    def test_a_depth_map(self, run):
        run.prepare()
        os.rename(run.maps / "s2.png", run.maps.parent / "s2.png")
        run("depth")
        run("localcut")
        assert self.changed(run, "depth") == []
        os.rename(run.maps.parent / "s2.png", run.maps / "s2.png")
        assert self.changed(run, "depth") == ["s2.png"]
        assert self.changed(run, "localcut") == [], "lost before"

    def test_a_file_that_is_another_now_but_no_better(self, run):
        run.prepare()
        (run.images / "s2.png").write_bytes(b"no image")
        run("features")
        (run.images / "s2.png").write_bytes(b"other image")
        assert self.changed(run, "features") == ["s2.png"]
        before = stamp(run.path("features"))
        run("features")
        assert self.changed(run, "features") == [] and stamp(run.path("features")) == before


def test_a_list_that_cannot_be_read_is_told_to_the_workflow(run):
    """Its images are as they were, so nothing else says that it must be made again before the stages."""
    assert tell_unreadable_list(run.folder) == []
    run.prepare()
    assert tell_unreadable_list(run.folder) == []
    path = manifest_path(run.folder)
    path.write_bytes(path.read_bytes().replace(b'"version": 3', b'"version": 2'))
    (told,) = tell_unreadable_list(run.folder)
    before = told.stat().st_mtime_ns
    assert before >= path.stat().st_mtime_ns and tell_unreadable_list(run.folder) == [told]
    assert told.stat().st_mtime_ns == before, "once"
    run.prepare()
    assert tell_unreadable_list(run.folder) == [told], "it stays, as an input that is gone is a change too"
    assert told.stat().st_mtime_ns == before < path.stat().st_mtime_ns


class TestStatus:
    def rows(self, run, cuts3d):
        code, out, err = cuts3d("status", "--json", "--config", run.config, "--run", run.folder)
        assert code == 0, err
        return {row["stage"]: row for row in json.loads(out)}

    def test_failures_of_another_list_are_no_matter(self, run, cuts3d):
        os.rename(run.maps / "s4.png", run.maps / "a.png")
        run.prepare()
        run("crf")
        for change in (lambda: shutil.copy(run.images / "s3.png", run.images / "a.png"), run.prepare):
            change()
            rows = self.rows(run, cuts3d)
            assert all(rows[stage]["current"] == 0 for stage in (*STORES, "crf"))

    def test_a_failure_is_named_with_what_tries_it_again(self, run, cuts3d):
        run.prepare()
        run("depth")
        os.rename(run.images / "s2.png", run.images.parent / "s2.png")
        run("features")
        run("localcut")
        shutil.copytree(run.images, run.images.parent / "gone")
        shutil.rmtree(run.images)  # so that the list is as it was
        rows = self.rows(run, cuts3d)
        told = (
            f"incomplete: 1 image failed, files are as they were; tried again by `cuts3d features --run {run.folder}`"
        )
        assert rows["features"]["why"] == told and rows["features"]["current"] == 1
        assert rows["localcut"]["why"] == "incomplete: 1 image failed before" and rows["localcut"]["current"] == 1
        os.rename(run.images.parent / "gone", run.images)
        os.rename(run.images.parent / "s2.png", run.images / "s2.png")
        rows = self.rows(run, cuts3d)
        assert "files have changed since" in rows["features"]["why"] and rows["features"]["current"] == 0
        assert rows["localcut"]["current"] == 0
        run("features")
        rows = self.rows(run, cuts3d)
        assert rows["features"]["why"] == "" and rows["features"]["current"] == 1
        assert "an earlier stage has some of them now" in rows["localcut"]["why"] and rows["localcut"]["current"] == 0


def normal_annotations(masks):
    """Annotations by the name of their image, without ids."""
    names = {image["id"]: image["file_name"] for image in masks.images}
    found = {name: [] for name in names.values()}
    for entry in masks.annotations:
        found[names[entry["image_id"]]].append({k: v for k, v in entry.items() if k not in ("id", "image_id")})
    return found


def fresh_run(folder, cuts3d):
    """A run on the images and depth maps as they are now in a folder."""
    (folder / "fresh").mkdir()
    run = Run(folder / "fresh", folder, cuts3d)
    run.prepare()
    run("crf")
    run("merge")
    return run


def assert_same_but_for_ids(found, fresh, n_shards=1):
    for shard in range(n_shards):
        for stage in STORES:
            ours, theirs = (open_store(each.path(stage, shard), stage) for each in (found, fresh))
            assert {**ours.attrs, "inputs": 0, "fingerprint": 0, "images": 0, "files": 0} == {
                **theirs.attrs, "inputs": 0, "fingerprint": 0, "images": 0, "files": 0
            }  # fmt: skip
            for name in set(theirs.attrs["arrays"]) - {"image_id"}:
                np.testing.assert_array_equal(ours.array(name)[:], theirs.array(name)[:], err_msg=name)
    assert normal_annotations(found.masks) == normal_annotations(fresh.masks)
    assert list(normal_annotations(found.masks)) == list(normal_annotations(fresh.masks)), "in the same order"


CHANGES = {
    "added in front": (lambda run: other_image(run, "a.png"), ["a.png"], 4),
    "added": (lambda run: other_image(run, "s22.png"), ["s22.png"], 4),
    "removed": (lambda run: (run.images / "s2.png").unlink(), [], 3),
    "replaced": (lambda run: other_image(run, "s3.png"), ["s3.png"], 3),
    "renamed": (lambda run: [os.rename(d / "s1.png", d / "z.png") for d in (run.images, run.maps)], [], 4),
    "another depth map": (lambda run: shutil.copy(run.maps / "s2.png", run.maps / "s1.png"), ["s1.png"], 3),
}


def other_image(run, name):
    """A new image, with a depth map."""
    from PIL import Image

    Image.open(run.images / "s4.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(run.images / name)
    shutil.copy(run.maps / "s4.png", run.maps / name)


@pytest.mark.parametrize("change", CHANGES)
def test_of_changed_images_only_these_are_computed(run, read, tmp_path, dataset, cuts3d, change):
    make, computed, n_kept = CHANGES[change]
    shutil.copy(run.maps / "s1.png", run.maps / "s4.png")  # with notes of its own
    run.prepare()
    run("crf")
    make(run)
    read.clear()
    run.prepare()
    n = len(list(run.images.glob("*.png")))
    for stage in (*STORES, "crf"):
        err = run(stage)
        unread = change == "another depth map" and stage == "features"
        assert (f"{stage}: up to date" if unread else f"{stage}: {n_kept} of {n} images are as before") in err
    assert read == (["s1.png"] if change == "another depth map" else [name for name in computed for _ in range(2)])
    run("merge")
    assert_same_but_for_ids(run, fresh_run(tmp_path, cuts3d))


def test_only_shards_that_gain_or_lose_an_image_are_computed(run, read):
    run.prepare(n_shards=2)
    run("crf")
    before = {stage: stamp(run.path(stage)) for stage in (*STORES, "crf")}
    other_image(run, "z.png")
    (run.images / "s3.png").unlink()
    read.clear()
    assert "prepare: 1 new, 1 removed since the last list\n" in run.prepare(n_shards=2)
    for stage in (*STORES, "crf"):
        run(stage)
    assert {stage: stamp(run.path(stage)) for stage in before} == before and set(read) == {"z.png"}
    run("merge")
    assert [(image["id"], image["file_name"]) for image in run.masks.images] == [
        (1, "s1.png"), (2, "s2.png"), (4, "s4.png"), (5, "z.png")
    ]  # fmt: skip


@pytest.mark.parametrize("stage", ["features", "crf"])
def test_nothing_is_taken_from_a_result_that_another_process_replaced(
    run, tmp_path, dataset, cuts3d, monkeypatch, stage
):
    """Rows are known by their numbers, which are those of other images in another result."""
    image, path = Job.image, run.path(stage)
    copy, remove = (shutil.copy, os.unlink) if stage == "crf" else (shutil.copytree, shutil.rmtree)
    run.prepare()
    run("crf")
    copy(path, tmp_path / "before")
    (run.images / "s1.png").unlink()
    run.prepare()
    for each in (*STORES, "crf"):
        run(each)
    other_image(run, "z.png")
    run.prepare()
    for each in itertools.takewhile(lambda each: each != stage, STORES):
        run(each)

    def replacing(self, record):
        if record.file_name == "z.png" and (tmp_path / "before").exists():
            remove(path)
            os.rename(tmp_path / "before", path)
        return image(self, record)

    monkeypatch.setattr(Job, "image", replacing)
    assert f"{stage}: recomputed, as {path} was replaced by another process" in run(stage)
    for each in (*STORES, "crf", "merge"):
        run(each)
    assert_same_but_for_ids(run, fresh_run(tmp_path, cuts3d))


def test_nothing_is_taken_from_a_result_with_other_settings(run):
    run.prepare()
    run("crf")
    other_image(run, "a.png")
    run.prepare()
    err = "".join(run(stage, "--set", "localcut.n_instances=2") for stage in (*STORES, "crf"))
    assert [stage for stage in (*STORES, "crf") if f"{stage}: 4 of 5 images are as before" in err] == STORES[:3]


def test_an_image_that_an_earlier_stage_lost_is_not_taken_from_an_earlier_result(run):
    run.prepare()
    run("crf")
    other_image(run, "a.png")
    run.prepare()
    run("depth")
    os.rename(run.images / "s2.png", run.images.parent / "s2.png")
    run("features", "--force")
    for stage in ("spatial-importance", "localcut", "confidence", "crf"):
        assert "3 of 5 images are as before" in run(stage) or stage == "spatial-importance"
    assert run.statuses("localcut") == run.statuses("features") == ["done", "done", "failed", "done", "done"]
    assert list(read_masks(run.path("crf")).counts.failures) == ["s2.png"]


def test_what_is_kept_says_that_images_were_replaced(tmp_path, dataset, cuts3d):
    run = Run(tmp_path, dataset, cuts3d)
    run.prepare()
    told = "images were replaced since they were listed"
    assert told not in run("spatial-importance") + run("spatial-importance")
    first, second = sorted(run.images.iterdir())[:2]
    first.touch()
    assert told not in run("spatial-importance")
    shutil.copy(second, first)
    err = run("spatial-importance")
    assert "up to date" in err and f" 1 of 4 {told}, first {first.name}" in err and "`cuts3d prepare`" in err


def test_masks_tell_the_names_that_their_images_have_now(run, cuts3d):
    """The list gives a renamed image the same id where no other has a higher one, and no result but masks has names."""
    values = yaml.safe_load(run.config.read_text())
    values |= {"localcut": {"local_cut": False, "sharpen": False}, "crf": values["crf"] | {"unary": "softmax"}}
    values["train"] = {"detector": None}
    run.config.write_text(yaml.safe_dump(values))
    run.prepare()
    run("crf")
    run("merge")
    before = stamp(run.path("localcut"))
    os.rename(run.images / "s4.png", run.images / "z.png")
    run.prepare()

    def current():
        rows = json.loads(
            cuts3d("status", "--json", "--config", run.config, "--run", run.folder, "--method", "cuts3d")[1]
        )
        return {row["stage"] for row in rows if row["current"] == row["total"]}

    assert current() == {"prepare", "features", "localcut"}
    assert "crf: 4 of 4 images are as before" in run("crf") and stamp(run.path("localcut")) == before
    assert "merge" not in current(), "the masks of all shards have the old name"
    run("merge")
    assert [image["file_name"] for image in run.masks.images] == ["s1.png", "s2.png", "s3.png", "z.png"]
    assert current() == {"prepare", "features", "localcut", "crf", "merge"}


def test_a_stage_says_that_an_earlier_one_is_of_other_images(run):
    """It takes what is there as it is, and a list that has grown has rows that are not there."""
    run.prepare()
    run("features")
    other_image(run, "a.png")
    run.prepare()
    err = run("localcut", code=1)
    assert "was made from images other than those in the image list" in err and "rerun `cuts3d features`" in err
