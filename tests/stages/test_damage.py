"""Damaged results: noticed when read, made again where that gives the same, listed by `status --verify`."""

import errno
import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from cuts3d_cli.config import resolve
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.pipeline.graph import result_path
from cuts3d_cli.store.checksums import read_own
from cuts3d_cli.store.layout import pseudo_masks_path
from cuts3d_cli.store.manifest import ImageRecord, write_manifest
from cuts3d_cli.store.masks import read_masks
from cuts3d_cli.store.zarr_store import open_store
from cuts3d_cli.workflow import settings_file

STORES = ["depth", "features", "spatial-importance", "localcut", "confidence"]
SMALL = {
    "features": {"image_size": 96},
    "crf": {"image_size": 96, "iterations": 2},
    "localcut": {"tau_knn": 0.115},  # a grid of 12 x 12 has longer edges
    "confidence": {"tau_knn_min": 0.05},
}
N_BITS = 300


@pytest.fixture(scope="module")
def finished(tmp_path_factory, dataset):
    """A run of four drawn scenes in one shard, with merged masks; and its configuration file."""
    from cuts3d_cli.cli.main import cli

    folder = tmp_path_factory.mktemp("finished")
    data = {"images": str(dataset / "images"), "depth_maps": str(dataset / "depth")}
    values = {**SMALL, "preset": "embedded", "run": str(folder / "run"), "data": data}
    (folder / "mine.yaml").write_text(yaml.safe_dump(values))
    options = ["--config", folder / "mine.yaml", "--run", folder / "run"]
    for words in (["prepare", dataset / "images", "--run", folder / "run"], ["crf", *options], ["merge", *options]):
        cli.main([str(word) for word in words], standalone_mode=False)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of that run, to be damaged."""
    return shutil.copytree(finished / "run", tmp_path / "run")


def flip(path, bit):
    """Flip a bit of a file, counted from its start and round again."""
    content = path.read_bytes()
    bit %= 8 * len(content)
    path.write_bytes(content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :])


def files_of(store):
    return sorted(file for file in store.rglob("*") if file.is_file())


def content_of(path):
    if path.suffix == ".json":
        return read_masks(path)
    store = open_store(path)
    arrays = {name: store.array(name)[:].tobytes() for name in store.attrs["arrays"]}
    return arrays, store.attrs


@pytest.mark.parametrize("stage", [*STORES, "crf"])
def test_no_flipped_bit_changes_what_is_read_of_a_stage(run, stage):
    path = result_path(run, stage, "00000")
    whole, rng, noticed = content_of(path), random.Random(0), 0
    files = files_of(path) if path.is_dir() else [path]
    for _ in range(N_BITS):
        file = rng.choice(files)
        bit = rng.randrange(8 * file.stat().st_size)
        flip(file, bit)
        try:
            assert content_of(path) == whole, (file, bit)
        except Cuts3dError as error:
            noticed += 1
            assert "\n" not in str(error)
        flip(file, bit)
    assert noticed > 0.8 * N_BITS  # the rest is white space, or a chunk that Zarr does not read


def a_chunk(store, array):
    return max((store / array / "c").rglob("*"), key=lambda path: path.is_file())


@pytest.mark.parametrize(
    ("damaged", "array", "command"),
    [("features", "features", "localcut"), ("localcut", "instance", "confidence"), ("localcut", "instance", "crf")],
)
def test_a_command_makes_damaged_inputs_again(finished, run, cuts3d, damaged, array, command):
    store, made = result_path(run, damaged, "00000"), result_path(run, command, "00000")
    whole, result = content_of(store), content_of(made)
    flip(a_chunk(store, array), 8 * 20)
    code, _, err = cuts3d(command, "--config", finished / "mine.yaml", "--run", run, "--force")
    assert code == 0, err
    assert f"{damaged}: recomputed for {command}, as store {store} is damaged" in err
    assert content_of(store) == whole and content_of(made) == result


def test_a_damaged_input_that_would_become_another_is_left(run, cuts3d, monkeypatch):
    monkeypatch.setattr("cuts3d_cli.backends.depth_files.depth_map_digests", lambda *_: {"s1.png": "other depth maps"})
    store, made = result_path(run, "depth", "00000"), result_path(run, "spatial-importance", "00000")
    flip(a_chunk(store, "depth"), 8 * 20)
    before = content_of(made), files_of(store)
    code, _, err = cuts3d("spatial-importance", "--preset", "embedded", "--run", run, "--force")
    assert code == 1 and "Traceback" not in err, err
    assert f"store {store} is damaged; found array depth" in err and "delete it and rerun `cuts3d depth`" in err
    assert (content_of(made), files_of(store)) == before


def test_an_image_whose_cache_is_damaged_gets_the_same_masks(photo, cuts3d):
    words = ("crf", photo, "--json", "--no-picture", "--set", "features.image_size=96")
    _, before, _ = cuts3d(*words)
    for stage in ("features", "localcut", "confidence"):
        (store,) = os.listdir(f".cuts3d/{stage}")
        for file in files_of(photo.absolute().parent / f".cuts3d/{stage}" / store):
            if "c" in file.parts:
                flip(file, 8 * 30)
    code, after, err = cuts3d(*words, "--force")
    assert (code, after) == (0, before), err


def test_a_disk_that_damages_everything_ends_the_command(finished, run, cuts3d, monkeypatch):
    from cuts3d_cli.store.zarr_store import StoredArray

    read = StoredArray.__getitem__

    def damaged(self, index):
        if self._name == "instance":
            raise self._store.damaged("array instance: other bits")
        return read(self, index)

    monkeypatch.setattr(StoredArray, "__getitem__", damaged)
    code, _, err = cuts3d("crf", "--config", finished / "mine.yaml", "--run", run, "--force")
    assert code == 1 and err.splitlines()[-1].startswith("cuts3d: error: store") and "Traceback" not in err
    assert err.count("recomputed for crf") == 2


def test_merge_and_report_refuse_damaged_masks(finished, run, cuts3d):
    flip(result_path(run, "crf", "00000"), 8 * 3000)
    code, _, err = cuts3d("merge", "--run", run)
    assert code == 1 and "crf/00000.json is damaged, or was edited" in err and "rerun `cuts3d crf`" in err
    code, _, err = cuts3d("crf", "--config", finished / "mine.yaml", "--run", run)
    assert code == 0 and "crf: recomputed, as file" in err
    assert read_own(result_path(run, "crf", "00000")) == read_own(result_path(finished / "run", "crf", "00000"))
    flip(pseudo_masks_path(run, "cuts3d"), 8 * 3000)
    for words in (("export", pseudo_masks_path(run, "cuts3d"), "--format", "npy", "--out", run / "e"),):
        code, _, err = cuts3d(*words)
        assert code == 1 and "rerun `cuts3d merge`" in err


class TestVerify:
    def test_a_sound_run(self, run, cuts3d):
        code, out, err = cuts3d("status", "--verify", "--run", run)
        assert (code, out) == (0, f"1 list, 5 stores, 3 JSON files in {run} read, none damaged\n"), err

    def test_a_missing_list_and_a_store_of_other_images_are_listed(self, run, cuts3d):
        lines = (run / "manifest.jsonl").read_bytes().splitlines(keepends=True)
        (run / "manifest.jsonl").write_bytes(b"".join([lines[0], *reversed(lines[1:])]))
        code, out, _ = cuts3d("status", "--verify", "--run", run)
        assert code == 1 and "records that are missing or in another order" in out
        (run / "manifest.jsonl").unlink()
        code, out, _ = cuts3d("status", "--verify", "--run", run)
        assert code == 1 and "no image list at" in out and len(out.splitlines()) == 1
        write_manifest(run / "manifest.jsonl", "elsewhere", [[ImageRecord(1, "a.png", 3, 4, "00")]])
        code, out, _ = cuts3d("status", "--verify", "--run", run)
        assert code == 1 and out.count("was made from images other than those in the image list") == len(STORES)

    def test_everything_damaged_is_listed(self, run, cuts3d):
        damaged = {
            run / "manifest.jsonl": "rerun `cuts3d prepare`",
            result_path(run, "crf", "00000"): "delete it and rerun `cuts3d crf`",
            pseudo_masks_path(run, "cuts3d"): "delete it and rerun `cuts3d merge`",
        }
        for path in damaged:
            flip(path, 8 * 200)
        for stage in STORES:
            store = result_path(run, stage, "00000")
            damaged[store] = f"delete it and rerun `cuts3d {stage}`"
            flip(max(files_of(store), key=lambda file: file.stat().st_size), 8 * 50)
        settings = run / "settings" / f"{'0a' * 10}.yaml"
        for folder in (settings.parent, run / "detector/round0"):
            folder.mkdir(parents=True)
        (run / "detector/round0/config.json").write_text("{")
        damaged[run / "detector/round0/config.json"] = "delete it and rerun `cuts3d train`"
        np.savez(run / "detector/round0/a.npz", a=np.zeros(99))  # a zip file as checkpoints are
        os.rename(run / "detector/round0/a.npz", run / "detector/round0/checkpoint.pth")
        flip(run / "detector/round0/checkpoint.pth", 8 * 300)
        damaged[run / "detector/round0/checkpoint.pth"] = "delete it and rerun `cuts3d train`"
        settings.write_text("seed: 3\n")
        damaged[settings] = "`cuts3d run` with your own configuration"
        code, out, err = cuts3d("status", "--verify", "--run", run)
        assert code == 1 and err.splitlines()[-1].startswith(f"cuts3d: error: {len(damaged)} of ")
        lines = out.splitlines()
        assert len(lines) == len(damaged)
        for path, hint in damaged.items():
            assert any(str(path) in line and hint in line for line in lines), path
        code, out, _ = cuts3d("status", "--verify", "--json", "--run", run)
        assert code == 1 and {entry["path"] for entry in json.loads(out)} == set(map(str, damaged))

    @pytest.mark.parametrize("name", ["none", "empty"])
    def test_no_run(self, tmp_path, cuts3d, name):
        (tmp_path / "empty").mkdir()
        code, _, err = cuts3d("status", "--verify", "--run", tmp_path / name)
        assert code == 1 and "expected a folder with results; found none" in err


class TestFullDisk:
    """Full for what the store of a stage, or the picture of an image, is written with."""

    @pytest.fixture
    def full(self, monkeypatch):
        def fail(*_args, **_kwargs):
            raise OSError(errno.ENOSPC, "No space left on device")

        return lambda name: monkeypatch.setattr(name, fail)

    @pytest.mark.parametrize("stage", ["depth", "features", "localcut", "crf"])
    def test_a_stage_names_the_result_and_leaves_the_earlier_one(self, finished, run, cuts3d, full, stage):
        path = result_path(run, stage, "00000")
        before, beside = content_of(path), os.listdir(path.parent)
        full("cuts3d_cli.store.files.sealed" if stage == "crf" else "cuts3d_cli.store.store_writer.StoreWriter.write")
        code, _, err = cuts3d("-q", stage, "--config", finished / "mine.yaml", "--run", run, "--force")
        told = f"cuts3d: error: cannot write {path}: the disk is full -> free some space there, or write elsewhere, and"
        assert code == 1 and err == f"{told} run the same command again\n"
        assert content_of(path) == before and os.listdir(path.parent) == beside

    def test_images_after_the_first_are_not_tried(self, photo, cuts3d, full):
        for name in ("t.png", "u.png"):
            shutil.copy(photo, name)
        full("PIL.Image.Image.save")
        code, _, err = cuts3d("-q", "masks", ".", "--out", "out", "--cores", 1, "--set", "features.image_size=96")
        assert code == 1 and err.count("\n") == 1 and "cannot write out/pictures/" in err and "the disk is full" in err

    def test_a_run_that_cannot_be_written_is_one_line(self, tmp_path, monkeypatch, capsys):
        def refuse(self, *args, **kwargs):
            raise OSError(errno.EROFS, "Read-only file system", str(self))

        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(SystemExit) as ended:
            settings_file(resolve({"run": str(tmp_path / "run")}))
        assert ended.value.code == 1
        assert capsys.readouterr().err.startswith(f"cuts3d: error: cannot write {tmp_path}/run/settings/")
