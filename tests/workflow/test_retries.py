"""The workflow takes up what failed once its files have changed, and keeps earlier results where a job fails."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from cuts3d_cli.pipeline.graph import result_path
from cuts3d_cli.store.layout import pseudo_masks_path
from cuts3d_cli.store.masks import read_masks

ROOT = Path(__file__).parents[2]
MASK_RULES = {"depth", "features", "spatial_importance", "localcut", "confidence", "crf", "merge"}
AFTER_FEATURES = {"features", "localcut", "confidence", "crf", "merge", "pseudo_masks"}


class Workflow:
    """Masks of five scenes, one of them a truncated file."""

    def __init__(self, folder, dataset):
        self.folder, self.images, self.maps = folder, folder / "images", folder / "depth"
        for path in (self.images, self.maps):
            shutil.copytree(dataset / path.name, path)
            shutil.copy(path / "s1.png", path / "s5.png")
        content = (self.images / "s5.png").read_bytes()
        (self.images / "s5.png").write_bytes(content[: len(content) // 2])
        values = {
            "preset": "embedded",
            "run": "an out",
            "data": {"images": str(self.images), "depth_maps": str(self.maps), "n_shards": 1},
            "depth": {"backend": "files"},
            "features": {"image_size": 96},
            "localcut": {"tau_knn": 0.115},  # a grid of 12 x 12 has longer edges
            "confidence": {"tau_knn_min": 0.05},
            "crf": {"image_size": 96, "iterations": 2},
            "max_failed": 0.5,
        }
        (folder / "mine.yaml").write_text(yaml.safe_dump(values))

    def __call__(self, *options):
        return subprocess.run(
            self.words(*options), cwd=self.folder, capture_output=True, text=True, timeout=600, check=False
        )

    def words(self, *options):
        words = ["-s", ROOT / "Snakefile", "-d", self.folder, "--cores", "1", "pseudo_masks", *options]
        words += ["--configfile", self.folder / "mine.yaml"]
        return [sys.executable, "-m", "snakemake", *map(str, words)]

    def plan(self, *options):
        ended = self("-n", *options)
        assert ended.returncode == 0, ended.stderr
        text = ended.stdout + ended.stderr
        if "Nothing to be done" in text:
            return set()
        table = text.split("Job stats:")[1].split("total")[0]
        return {name for name in re.findall(r"^(\w+)\s+\d+$", table, re.MULTILINE) if name != "job"}

    def path(self, stage):
        return result_path(self.folder / "an out", stage, "00000")

    @property
    def masks(self):
        return read_masks(pseudo_masks_path(self.folder / "an out", "cuts3d"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, dataset):
    run = Workflow(tmp_path_factory.mktemp("retries"), dataset)
    ended = run()
    assert ended.returncode == 0, ended.stderr
    return run


def test_a_failure_that_stays_is_not_taken_up(run):
    assert list(run.masks.counts.failures) == ["s5.png"]
    assert run.plan() == set()


@pytest.mark.parametrize(
    ("stage", "folder", "planned"),
    [
        ("features", "images", AFTER_FEATURES),
        ("depth", "depth", AFTER_FEATURES - {"features"} | {"depth", "spatial_importance"}),
    ],
)
def test_what_failed_is_taken_up_when_its_file_is_back(run, cuts3d, monkeypatch, stage, folder, planned):
    monkeypatch.chdir(run.folder)
    before, file = run.masks, run.folder / folder / "s2.png"
    os.rename(file, run.folder / "away.png")
    by_hand = ("--config", "mine.yaml", "--run", "an out")
    code, _, err = cuts3d(stage, *by_hand, "--force")
    assert code == 0 and f"{stage}: s2.png failed" in err, err
    if stage == "features":
        assert run.plan() >= AFTER_FEATURES - {"features"}, "its result is newer than theirs"
    os.rename(run.folder / "away.png", file)
    assert run.plan() == planned
    rows = json.loads(cuts3d("status", "--json", *by_hand)[1])
    stale = {row["stage"].replace("-", "_") for row in rows if row["current"] < row["total"]}
    assert stale & MASK_RULES == planned & MASK_RULES
    ended = run()
    assert ended.returncode == 0, ended.stderr
    assert run.plan() == set()
    assert (run.masks.annotations, run.masks.counts) == (before.annotations, before.counts)


def test_a_job_in_which_too_many_fail_leaves_the_earlier_result_and_is_run_again(run):
    paths = [run.path("crf"), pseudo_masks_path(run.folder / "an out", "cuts3d")]
    before = [path.read_bytes() for path in paths]
    changed = ("--config", "crf={iterations: 3}")
    ended = run(*changed, "max_failed=0")
    assert ended.returncode == 1
    assert "crf: 1 of 5 images failed, first s5.png" in ended.stderr, ended.stderr
    assert [path.read_bytes() for path in paths] == before
    assert run.plan(*changed) == {"crf", "merge", "pseudo_masks"}
    ended = run(*changed)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(paths[0].read_text())["info"]["config"]["crf"]["iterations"] == 3
    assert run.plan(*changed) == set()
    backup = run.folder / ".snakemake/backups/an out/features/00000.zarr"
    backup.mkdir(parents=True)  # as a killed Snakemake leaves it
    ended = run("--forcerun", "features", "--until", "features")
    assert ended.returncode == 0, ended.stderr


def test_an_interrupted_job_leaves_the_earlier_result_and_is_run_again(run, heeds_interrupts):
    changed = ("--config", "crf={iterations: 500}")
    before, log = run.path("crf").read_bytes(), run.folder / "an out/logs/cuts3d/crf/00000.log"
    log.unlink()
    with open(run.folder / "interrupted.txt", "w") as told:
        process = subprocess.Popen(
            run.words(*changed), cwd=run.folder, stdout=told, stderr=told, start_new_session=True
        )
        until = time.monotonic() + 60
        while not log.exists() and time.monotonic() < until:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 1
    assert run.path("crf").read_bytes() == before, (run.folder / "interrupted.txt").read_text()
    assert run.plan(*changed) == {"crf", "merge", "pseudo_masks"}
