"""What is made again when: for each kind of change the workflow's plan, the status, the docs and the cache agree."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from cuts3d_cli.config import resolve
from cuts3d_cli.config.loading import merge_values
from cuts3d_cli.pipeline.cache import image_source
from cuts3d_cli.pipeline.graph import expected_fingerprints
from cuts3d_cli.pipeline.methods import method_config, methods_of
from cuts3d_cli.store.layout import changed_path
from scripts.rerun_table import steps_by_setting
from tests.workflow.test_workflow import ROOT, jobs

OUT = Path("an out")
SHARED = {"depth", "features", "spatial-importance"}
FOLLOW = r"(?:[\w\d -]+ is made again|made from other inputs: [^;]*)"
FOLLOWS = rf"{FOLLOW}(?:; {FOLLOW})*"


@pytest.fixture
def compare(finished, cuts3d, monkeypatch):
    """A function that gives the rows of the status that are stale, after it held them against the workflow's plan."""
    run, _ = finished
    monkeypatch.chdir(run.folder)

    def stale(changed: dict | None = None, plan=run) -> dict[tuple[str, str, str], dict]:
        config = run.folder / "changed.yaml"
        config.write_text(yaml.safe_dump(merge_values(settings(), changed or {})))
        ended = plan("-n", "--configfile", config)
        assert ended.returncode == 0, ended.stderr
        nothing = "Nothing to be done" in ended.stdout + ended.stderr
        planned = Counter({} if nothing else jobs(ended.stdout + ended.stderr))
        code, out, err = cuts3d("status", "--json", "--config", config)
        assert code == 0, err
        rows = [row for row in json.loads(out) if row["current"] < row["total"]]
        told: Counter = Counter()
        for row in rows:
            told[row["stage"].split()[0].replace("-", "_")] += row["total"] - row["current"]
        del planned["all"]
        assert told == planned, rows
        return {(row["images"], row["method"], row["stage"]): row for row in rows}

    return stale


def settings() -> dict:
    return yaml.safe_load(Path("config.yaml").read_text())


def first(rows: dict) -> set[str]:
    """The steps that something is wrong with themselves; all others that are made again follow these."""
    return {stage.split()[0] for (*_, stage), row in rows.items() if not re.fullmatch(FOLLOWS, row["why"])}


@contextmanager
def aside(*paths: Path) -> Iterator[None]:
    """Files and folders put away for a while."""
    places = [Path(f"aside{number}") for number in range(len(paths))]
    for path, place in zip(paths, places, strict=True):
        path.rename(place)
    try:
        yield
    finally:
        for path, place in zip(paths, places, strict=True):
            path.unlink(missing_ok=True)
            place.rename(path)


def test_nothing_is_made_again_without_a_change(compare, cuts3d):
    assert compare() == {}
    rows = json.loads(cuts3d("status", "--json", "--config", "config.yaml")[1])
    assert all(row["present"] == row["current"] == row["total"] for row in rows)
    steps = {"merge", "train", "selftrain 1", "predict 0", "predict 1", "evaluate maskcut_val", "report"}
    assert steps < {row["stage"] for row in rows} and {row["images"] for row in rows} == {"", "held-out"}
    alone = [row["stage"] for row in json.loads(cuts3d("status", "--json", "--run", OUT, "--method", "maskcut")[1])]
    assert alone == ["prepare", "features", "localcut", "crf", "merge"] * 2


def test_status_takes_the_settings_of_the_run(compare, cuts3d):
    rows, told = cuts3d("status", "--json", "--run", OUT)[1:]
    assert rows == cuts3d("status", "--json", "--config", "config.yaml")[1]
    assert re.search(rf"settings: those of the last workflow, {OUT}/settings/\w+\.yaml", told)
    compare({"localcut": {"tau_knn": 0.1}})  # to look at a plan makes it no run
    assert cuts3d("status", "--json", "--run", OUT)[1] == rows
    rows = json.loads(cuts3d("status", "--json", "--run", OUT, "--set", "crf.iterations=3")[1])
    assert any("iterations 2 -> 3" in row["why"] for row in rows)


SETTINGS = {
    "depth.holes": ({"depth": {"holes": "none"}}, {"depth"}),
    "features.image_size": ({"features": {"image_size": 104}}, {"features", "spatial-importance"}),
    "spatial_importance.beta": ({"spatial_importance": {"beta": 0.5}}, {"spatial-importance"}),
    "localcut.tau_knn": ({"localcut": {"tau_knn": 0.1}}, {"localcut"}),
    "localcut.n_instances": ({"localcut": {"n_instances": 2}}, {"localcut"}),
    "confidence.sc_min": ({"confidence": {"sc_min": 0.6}}, {"confidence"}),
    "crf.confidence": ({"crf": {"confidence": "crf"}}, {"crf"}),
    "baseline.tau_ncut": ({"baseline": {"tau_ncut": 0.2}}, {"localcut"}),
    "train.lr": ({"train": {"lr": 0.03}}, {"train"}),
    "train.momentum": ({"train": {"momentum": 0.8}}, {"train", "selftrain"}),
    "selftrain.score_step": ({"selftrain": {"score_step": 0.1}}, {"selftrain"}),
    "seed": ({"seed": 1}, {"train", "selftrain"}),
    "predict.max_detections": ({"predict": {"max_detections": 50}}, {"predict"}),
    "evaluate.iou_types": ({"evaluate": {"iou_types": ["segm"]}}, {"evaluate"}),
    "train.workers": ({"train": {"workers": 1}}, set()),
    "data.n_shards": ({"data": {"n_shards": 1}}, {"prepare"}),
}


@pytest.mark.parametrize("key", SETTINGS)
def test_a_changed_setting(compare, key):
    changed, steps = SETTINGS[key]
    rows = compare(changed)
    assert first(rows) == steps | {"report"}, "the report shows all settings"
    told = set(steps_by_setting()[key])  # in the documentation
    assert told == steps | ({"crf"} if key == "confidence.sc_min" else set()), "where crf.confidence is crf"
    source = image_source(Path("scenes/images/s1.png"), Path("scenes/depth"))
    before, after = resolve(settings()), resolve(merge_values(settings(), changed))
    if steps == {"prepare"}:
        return
    for method in methods_of(before):  # single images
        known, now = (expected_fingerprints(method_config(method, each), source) for each in (before, after))
        cached = {stage for stage in known if known[stage] != now[stage]}
        stages = {stage for (images, of, stage), row in rows.items() if not images and of in ("", method)}
        assert cached == stages & known.keys(), method


def test_images(compare):
    first_image, other = Path("scenes/images/s1.png"), Path("scenes/images/s2.png")
    with aside(first_image):
        shutil.copy(other, first_image)  # replaced, in both sets
        rows = compare()
        assert rows["", "", "prepare"]["why"] == rows["held-out", "", "prepare"]["why"] == "1 changed"
    with aside(first_image):
        rows = compare()
        assert rows["", "", "prepare"]["why"] == "1 removed" and first(rows) == {"prepare"}
    held_out = Path("held out")
    shutil.copytree("scenes/images", held_out)
    try:
        shutil.copy(first_image, held_out / "s5.png")
        rows = compare({"data": {"val_images": str(held_out)}})
        assert "-> held out" in rows["held-out", "", "prepare"]["why"] and first(rows) == {"prepare", "report"}
        assert ("", "", "prepare") not in rows and ("", "", "train") not in rows
        assert ("held-out", "", "predict 0") in rows
    finally:
        shutil.rmtree(held_out)
    assert compare() == {}


def test_depth_maps(compare):
    path = Path("scenes/depth/s1.png")
    before = path.stat()
    os.utime(path)
    assert compare() == {}, "touched"
    with aside(path):
        shutil.copy("scenes/depth/s2.png", path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        rows = compare()
        assert first(rows) == {"depth"} and rows["", "", "depth"]["current"] == 1, "of its shard alone"
    with aside(Path("scenes/depth")):
        assert compare() == {}, "a finished run needs them no more"
    assert compare() == {}


def test_labels(compare):
    path = Path("scenes/annotations.json")
    with aside(path):
        path.write_text(Path("aside0").read_text() + "\n")
        assert {stage for *_, stage in compare()} == {
            *(f"evaluate {name}_{split}" for name in ("maskcut", "cuts3d") for split in ("train", "val")),
            "evaluate round0_val",
            "evaluate round1_val",
            "report",
        }


PRODUCTS = {
    "masks/cuts3d/pseudo_masks.json": "merge",
    "detector/round0/checkpoint.pth": "train",
    "detector/round1/annotations.json": "selftrain",
    "detector/round0/predictions_val.json": "predict",
    "evaluation/maskcut_train.json": "evaluate",
    "results.txt": "report",
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_deleted_product_is_made_again(compare, name):
    with aside(OUT / name):
        rows = compare()
        assert first(rows) == {PRODUCTS[name]}
        assert any(row["present"] == 0 for row in rows.values())


def test_a_deleted_image_list_is_made_again_with_all_that_follows(compare):
    with aside(OUT / "manifest.jsonl"):
        rows = compare()
    assert rows["", "", "prepare"]["present"] == 0 and ("held-out", "", "prepare") not in rows
    assert ("", "", "train") in rows and ("", "", "report") in rows


def test_a_deleted_store_is_made_again_where_something_reads_it(compare, cuts3d):
    with aside(OUT / "masks/cuts3d/localcut/00001.zarr", OUT / "features/00000.zarr"):
        assert compare() == {}
        rows = json.loads(cuts3d("status", "--json", "--config", "config.yaml")[1])
        told = {row["stage"]: row for row in rows if row["present"] < row["total"]}
        assert set(told) == {"localcut", "features"}
        assert told["features"]["why"] == "1 deleted, not needed by what is there"
        rows = compare({"crf": {"iterations": 3}})
        assert rows["", "cuts3d", "localcut"]["current"] == 1 and ("", "", "features") not in rows
        rows = compare({"localcut": {"n_instances": 2}})
        assert rows["", "", "features"]["current"] == 1


def test_a_result_made_by_hand_with_other_settings_is_made_again(compare, cuts3d):
    path = OUT / "masks/cuts3d/crf/00000.json"
    kept = shutil.copy2(path, "kept")
    by_hand = ("crf", "--run", OUT, "--shard", 0, "--config", "config.yaml")
    try:
        assert cuts3d(*by_hand)[0] == 0 and compare() == {}
        assert cuts3d(*by_hand, "--set", "crf.iterations=3")[0] == 0
        rows = compare()
        assert first(rows) == {"crf"} and "iterations 3 -> 2" in rows["", "cuts3d", "crf"]["why"]
    finally:
        changed_path(path).unlink()
        os.replace(kept, path)
    assert compare() == {}


def test_another_algorithm(compare, finished, monkeypatch):
    from dataclasses import replace

    from cuts3d_cli.pipeline.declarations import STAGES
    from cuts3d_cli.training import train

    run, _ = finished
    program = (
        "import sys; from dataclasses import replace; from cuts3d_cli.pipeline.declarations import STAGES;"
        "from cuts3d_cli.training import train;"
        "STAGES['confidence'] = replace(STAGES['confidence'], algorithm=99); train.ALGORITHM = 99;"
        "from snakemake.cli import main; main(sys.argv[1:])"
    )

    def plan(*args):
        words = [sys.executable, "-c", program, "-s", ROOT / "Snakefile", "-d", run.folder, "--cores", "1", *args]
        return subprocess.run(list(map(str, words)), cwd=run.folder, capture_output=True, text=True, check=False)

    monkeypatch.setitem(STAGES, "confidence", replace(STAGES["confidence"], algorithm=99))
    monkeypatch.setattr(train, "ALGORITHM", 99)
    rows = compare(plan=plan)
    assert first(rows) == {"confidence", "train", "selftrain"}
    assert "version" in rows["", "cuts3d", "confidence"]["why"] and "version" in rows["", "", "train"]["why"]
