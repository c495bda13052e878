"""A run on images of one's own: they change, some are broken, and nobody labelled them."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from cuts3d_cli.pipeline.methods import OWN
from cuts3d_cli.store.layout import pseudo_masks_path
from tests.workflow.test_workflow import MASK_RULES, jobs, small_config, workflow

MASKS_ONLY = MASK_RULES | {"prepare", "report", "all"}


@pytest.fixture
def own(tmp_path, dataset):
    """A function that runs snakemake, and the folder of three images, of which one is broken."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("s1.png", "s2.png"):
        shutil.copy(dataset / "images" / name, photos)
    (photos / "broken.png").write_bytes(b"no image")
    run = workflow(tmp_path, dataset)
    values = small_config(dataset) | {"run": "own"}
    values["data"] = {"images": "photos", "depth_maps": str(dataset / "depth"), "n_shards": 1}
    values["train"]["detector"] = None
    values["max_failed"] = 0.5
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    return run, photos


def listed(folder: Path) -> list[str]:
    return [image["file_name"] for image in json.loads(pseudo_masks_path(folder / "own", OWN).read_text())["images"]]


def test_images_that_change_are_taken_up(own, dataset, cuts3d, monkeypatch):
    run, photos = own
    monkeypatch.chdir(run.folder)

    def planned() -> set[str]:
        """What snakemake would run; status agrees on whether there is anything."""
        ended = run("-n")
        assert ended.returncode == 0, ended.stderr
        rows = json.loads(cuts3d("status", "--json", "--run", "own", "--config", "config.yaml", "--method", OWN)[1])
        stale = {row["stage"] for row in rows if row["current"] < row["total"]}
        told.append(rows[0]["why"])
        if "Nothing to be done" in ended.stdout + ended.stderr:
            assert not stale
            return set()
        assert {stage.replace("-", "_") for stage in stale} == MASK_RULES | {"prepare"}
        return set(jobs(ended.stdout))

    told: list[str] = []
    ended = run()
    assert ended.returncode == 0, ended.stderr
    line = "1 image failed:\n  broken.png: image photos/broken.png cannot be read; found no known image format\n"
    assert ended.stderr.count("broken.png: ") == 1 and line in ended.stderr.replace(str(run.folder) + "/", "")
    assert "no scores, as nothing was compared with labels" in ended.stdout
    assert planned() == set() and listed(run.folder) == ["broken.png", "s1.png", "s2.png"]

    (photos / "s1.png").touch()
    assert planned() == set()

    shutil.copy(dataset / "images/s3.png", photos)  # added
    (photos / "s1.png").write_bytes((dataset / "images/s4.png").read_bytes())  # replaced
    (photos / "broken.png").unlink()  # removed
    assert planned() == MASKS_ONLY and told[-1] == "1 new, 1 removed, 1 changed"
    ended = run()
    assert ended.returncode == 0 and "failed:" not in ended.stderr, ended.stderr
    assert planned() == set() and listed(run.folder) == ["s1.png", "s2.png", "s3.png"]
    log = (run.folder / "own/logs/features/00000.log").read_text()
    assert "features: 1 of 3 images are as before" in log, "s2.png"

    photos.rename(run.folder / "moved")
    assert planned() == set()


def test_a_stage_that_loses_too_many_images_names_each(own, dataset):
    run, _ = own
    (run.folder / "maps").mkdir()
    for name in ("s1.png", "s2.png"):
        (run.folder / "maps" / name).write_bytes(b"no depth")
    ended = run("--config", "data={depth_maps: maps}")
    assert ended.returncode == 1
    lines = ended.stderr.splitlines()
    start = lines.index("3 images failed:")
    assert [line.split(":")[0].strip() for line in lines[start + 1 : start + 4]] == ["broken.png", "s1.png", "s2.png"]
    assert "cuts3d: error: depth: 3 of 3 images failed" in ended.stderr


def test_detections_without_labels_are_made_and_told(own, dataset):
    run, photos = own
    (photos / "broken.png").unlink()
    values = small_config(dataset) | {"run": "own"}
    values["data"] = {"images": "photos", "depth_maps": str(dataset / "depth"), "n_shards": 1,
                      "val_images": str(dataset / "images"), "val_depth_maps": str(dataset / "depth")}  # fmt: skip
    values["baseline"] = {"enabled": False}
    (run.folder / "config.yaml").write_text(yaml.safe_dump(values))
    plan = jobs(run("-n").stdout)
    assert plan["predict"] == 1 and "evaluate" not in plan, "of the last round alone"
    ended = run()
    assert ended.returncode == 0, ended.stderr
    found = run.folder / "own/detector/round1/predictions_val.json"
    assert len(json.loads(found.read_text())["images"]) == 4
    line = "detections on the held-out images, which have no labels: own/detector/round1/predictions_val.json"
    assert line in ended.stdout and "no scores" in ended.stdout and "cuts3d predict" not in ended.stdout
    html = (run.folder / "own/report.html").read_text()
    assert "Detections, round 1" in html and "The held-out images have no labels" in html
    assert "Nothing to be done" in run("-n").stdout


@pytest.mark.parametrize("run", ["", "/", "r{x}", "r\nx", " r", "~/r"])
def test_a_run_whose_folder_snakemake_cannot_take_is_refused(run, capsys, monkeypatch, tmp_path):
    from cuts3d_cli.workflow import checked_config

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        checked_config({"run": run}, "mine.yaml")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cuts3d: error: mine.yaml: run; expected a folder, without braces")
    assert not any(tmp_path.iterdir())
