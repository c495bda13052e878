"""The Snakefile on drawn scenes: a whole run, nothing to do after it, and what a changed value reruns."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cuts3d_cli.config import resolve
from cuts3d_cli.pipeline.methods import OWN
from cuts3d_cli.store.layout import pseudo_masks_path
from cuts3d_cli.workflow import MAX_FAILURES, ending, failures

ROOT = Path(__file__).parents[2]

MASK_RULES = {"depth", "features", "spatial_importance", "localcut", "confidence", "crf", "merge"}
BASELINE_RULES = {"localcut", "crf", "merge"}
LATER_RULES = {"train", "selftrain", "predict", "evaluate", "report", "all"}


def small_config(dataset: Path) -> dict:
    """Settings under which the whole workflow takes about a minute."""
    data = {"images": "images", "depth_maps": "depth", "annotations": "annotations.json", "n_shards": 2}
    data = {key: value if key == "n_shards" else str(dataset / value) for key, value in data.items()}
    data |= {f"val_{key}": value for key, value in data.items() if key != "n_shards"}
    return {
        "preset": "embedded",
        "run": "an out",  # every path of a run is quoted
        "data": data,
        "features": {"image_size": 96},
        "localcut": {"tau_knn": 0.115},  # a grid of 12 x 12 has longer edges
        "confidence": {"tau_knn_min": 0.05},
        "crf": {"image_size": 96, "iterations": 2},
        "train": {
            "iterations": 2,
            "batch_size": 2,
            "image_size": 64,
            "lr_steps": [],
            "warmup_iterations": 0,
            "workers": 0,
        },
        "selftrain": {"rounds": 1, "iterations": 2, "batch_size": 2},
        "report": {"n_images": 1},
    }


def jobs(text: str) -> dict[str, int]:
    """Jobs by rule, from the table that snakemake prints."""
    table = text.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", table, re.MULTILINE) if name != "job"}


def workflow(folder: Path, dataset: Path):
    """A function that runs snakemake in a folder and returns the finished process."""
    (folder / "config.yaml").write_text(yaml.safe_dump(small_config(dataset)))

    def snakemake(*args):
        words = [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "-d", folder, "--cores", "2", *args]
        words += [] if "--configfile" in args else ["--configfile", folder / "config.yaml"]
        return subprocess.run(
            list(map(str, words)), cwd=folder, capture_output=True, text=True, timeout=600, check=False
        )

    snakemake.folder = folder
    return snakemake


@pytest.fixture
def run(tmp_path, dataset):
    """Run snakemake in a working directory of the test's own."""
    return workflow(tmp_path, dataset)


def test_only_scores_need_ground_truth(run, dataset):
    """Everything up to the last detector can be made where no annotations are; only evaluate asks for them."""
    values = small_config(dataset)
    values["data"] |= {"annotations": "nowhere.json", "val_annotations": "nowhere.json"}
    (run.folder / "blind.yaml").write_text(yaml.safe_dump(values))
    ended = run("-n", "trained", "--configfile", run.folder / "blind.yaml")
    assert ended.returncode == 0 and "selftrain" in jobs(ended.stdout + ended.stderr), ended.stderr
    ended = run("-n", "evaluated", "--configfile", run.folder / "blind.yaml")
    assert ended.returncode == 1 and "nowhere.json" in ended.stdout + ended.stderr


def test_no_module_before_the_scores_knows_the_annotations():
    """The report and the ablations name them in their tables; learning from labels is on request and says so."""
    package = ROOT / "cuts3d_cli"
    readers = [
        p.relative_to(package).as_posix()
        for p in package.rglob("*.py")
        if re.search(r"config\.data\.(val_)?annotations", p.read_text())
    ]
    assert set(readers) == {
        "evaluation/plan.py",
        "experiments/ablations.py",
        "experiments/compare.py",
        "experiments/finetune.py",
        "report/pictures.py",
        "report/run_summary.py",
        "report/words.py",
    }


def test_a_run_of_masks_only(run, dataset):
    """Without detector: masks, scores and report; what needs one says so before anything is made."""
    values = small_config(dataset) | {"run": "masks"}
    values["train"]["detector"] = None
    (run.folder / "masks.yaml").write_text(yaml.safe_dump(values))
    ended = run("-n", "--configfile", run.folder / "masks.yaml")
    plan = jobs(ended.stdout)
    assert set(plan) == MASK_RULES | BASELINE_RULES | {"prepare", "evaluate", "report", "all"}
    assert plan["evaluate"] == 4, "two methods on two sets of images"
    for target in ("trained", "in_domain", "finetuned", "table4"):
        ended = run("-n", target, "--configfile", run.folder / "masks.yaml")
        assert ended.returncode == 1 and "train.detector" in ended.stdout + ended.stderr, target


def test_plan_of_a_fresh_run(run):
    plan = jobs(run("-n").stdout)
    assert set(plan) == MASK_RULES | BASELINE_RULES | LATER_RULES | {"prepare"}
    # two shards of the training images and one of the held-out ones
    assert plan["localcut"] == plan["crf"] == 6 and plan["confidence"] == 3, "of two methods, one without confidence"
    assert plan["merge"] == 4 and plan["evaluate"] == 6


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("localcut={tau_kn: 0.1}", "unknown key localcut.tau_kn"),
        ("localcut={tau_knn: 0.01}", "confidence.tau_knn_min; expected at most localcut.tau_knn, 0.01; found 0.05"),
        ("crf=3", "crf"),
    ],
)
def test_a_wrong_value_ends_with_one_line(run, override, message):
    ended = run("-n", "--config", override)
    assert ended.returncode == 1
    errors = [line for line in ended.stderr.splitlines() if "error" in line.lower()]
    assert len(errors) == 1 and message in errors[0], ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_file_that_snakemake_would_read_otherwise_ends_with_one_line(run):
    text = (run.folder / "config.yaml").read_text()
    for more, message in (("seed: 010\n", "010 is 8 in YAML"), ("seed: 1\nseed: 2\n", "key seed is given twice")):
        (run.folder / "config.yaml").write_text(text + more)
        ended = run("-n")
        assert ended.returncode == 1
        (line,) = [line for line in ended.stderr.splitlines() if "error" in line.lower()]
        assert line.startswith("cuts3d: error: config file ") and message in line, ended.stderr


def test_a_missing_folder_of_images_ends_with_one_line(run, dataset):
    for key in ("images", "val_images"):
        values = small_config(dataset) | {"run": "missing"}
        values["data"][key] = "nowhere"
        (run.folder / "missing.yaml").write_text(yaml.safe_dump(values))
        ended = run("-n", "--configfile", run.folder / "missing.yaml")
        expected = (
            f"cuts3d: error: config: data.{key} nowhere; expected a folder of images; found nothing"
            f" -> relative paths start in the current folder, {run.folder}"
        )
        assert ended.returncode == 1 and ended.stderr.splitlines()[-1] == expected


def test_own_images_bring_nothing_of_the_sample(run, dataset):
    values = {"run": "short", "data": {"images": str(dataset / "images")}}
    (run.folder / "short.yaml").write_text(yaml.safe_dump(values))
    ended = run("-n", "-p", "--configfile", run.folder / "short.yaml")
    assert ended.returncode == 0 and "sample" not in ended.stdout + ended.stderr
    assert not {"predict", "evaluate"} & jobs(ended.stdout).keys() and jobs(ended.stdout)["depth"] == 1


def test_the_error_of_a_failed_job_is_shown_with_its_log(run, dataset):
    (run.folder / "broken").mkdir()
    for path in (dataset / "depth").iterdir():
        (run.folder / "broken" / path.name).write_bytes(b"no depth")
    values = small_config(dataset) | {"run": "failing"}
    values["data"]["depth_maps"] = "broken"
    (run.folder / "failing.yaml").write_text(yaml.safe_dump(values))
    ended = run("--until", "depth", "--configfile", run.folder / "failing.yaml", "--keep-going")
    assert ended.returncode == 1
    for shard in range(2):
        error, log = (
            f"error: depth: 2 of 2 images failed, first s{2 * shard + 1}.png",
            f"log: failing/logs/depth/0000{shard}.log",
        )
        assert re.search(rf"^cuts3d: {error}.* cannot be read.*\n  {log}$", ended.stderr, re.MULTILINE), ended.stderr


def test_errors_of_failed_jobs_are_found_in_their_logs(tmp_path):
    def log(name, text, mtime=100):
        path = tmp_path / "logs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (mtime, mtime))

    log("old.log", "cuts3d: error: old\n", mtime=99)
    log("fine.log", "12:00:00 WARNING depth: a.png failed: cuts3d: error: x\n")
    assert failures([str(tmp_path)], 100) == ""
    log("a/one.log", "cuts3d: error: first try\nmore\ncuts3d: error: what; expected it\n")
    log("two.log", "Traceback (most recent call last):\n  x\ntorch.cuda.OutOfMemoryError: no memory\n\n")
    log("usage.log", "Usage: cuts3d\n\nError: No such option\n")
    expected = {"a/one.log": "cuts3d: error: what; expected it", "two.log": "torch.cuda.OutOfMemoryError: no memory",
                "usage.log": "Error: No such option"}  # fmt: skip
    lines = [f"{text}\n  log: {tmp_path}/logs/{name}" for name, text in expected.items()]
    assert failures([str(tmp_path), str(tmp_path / "val")], 100) == "\n".join(lines)
    for number in range(MAX_FAILURES):
        log(f"x{number}.log", "cuts3d: error: more\n")
    assert failures([str(tmp_path)], 100).endswith("and 3 more jobs")


def test_a_run_ends_with_where_its_results_lie(tmp_path):
    run = tmp_path / "r"
    config = resolve({"run": str(run), "train": {"detector": None}})
    assert ending(config, 0) == ""
    masks = pseudo_masks_path(run, OWN)
    masks.parent.mkdir(parents=True)
    masks.touch()
    for name, text in (("results.txt", "scores\n"), ("report.html", "")):
        (run / name).write_text(text)
    old = run.joinpath("results.txt").stat().st_mtime + 1
    assert ending(config, old) == f"masks: {masks}\n"
    assert ending(config, 0).splitlines()[:4] == ["scores", "", f"masks: {masks}", f"report: {run / 'report.html'}"]


def test_a_whole_run(finished):
    run, ended = finished
    out = run.folder / "an out"
    last = [line.split(":")[0] for line in ended.stdout.splitlines()[-4:]]
    assert [name for name in last if name in ("masks", "detector", "report")] == ["masks", "detector", "report"]
    results = json.loads((out / "results.json").read_text())
    assert "maskcut" in json.dumps(results) and "round1" in json.dumps(results)
    assert (out / "report.html").stat().st_size > 10_000
    masks = json.loads((pseudo_masks_path(out, OWN)).read_text())
    assert len(masks["images"]) == 4 and masks["annotations"]
    assert all((out / "detector" / f"round{t}" / "checkpoint.pth").exists() for t in (0, 1))


def test_every_log_and_benchmark_is_written(finished):
    run, _ = finished
    assert all(path.stat().st_size for path in (run.folder / "an out/logs").rglob("*.log"))
    assert len(list((run.folder / "an out/benchmarks").rglob("*.tsv"))) >= 20


def test_nothing_to_do_afterwards(finished):
    run, _ = finished
    ended = run("-n")
    assert ended.returncode == 0 and "Nothing to be done" in ended.stdout + ended.stderr


def test_in_domain_self_training_follows_the_last_round(finished, dataset):
    run, _ = finished
    target = f"selftrain={{target_images: '{dataset / 'images'}', target_threshold: 0.0, target_iterations: 1}}"
    ended = run("-n", "--config", target)
    assert set(jobs(ended.stdout + ended.stderr)) == {"report", "all"}  # the rounds do not depend on the target
    ended = run("in_domain", "--config", target)
    assert ended.returncode == 0, ended.stderr
    done = {"selftrain_target", "predict_target", "evaluate_target", "in_domain"}
    assert set(jobs(ended.stdout + ended.stderr)) == done
    folder = run.folder / "an out/detector/in-domain"
    assert (folder / "checkpoint.pth").exists() and (folder / "scores_val.json").exists()
    assert json.loads((folder / "annotations.json").read_text())["annotations"]


def test_a_lost_shard_is_made_again_and_gives_the_same_masks(finished):
    run, _ = finished
    masks, lost = pseudo_masks_path(run.folder / "an out", OWN), "an out/masks/cuts3d/localcut/00001.zarr"
    before = masks.read_text()
    shutil.rmtree(run.folder / lost)
    ended = run(lost)  # by name: what is finished does not ask for it
    assert ended.returncode == 0 and jobs(ended.stdout + ended.stderr) == {"localcut": 1}, ended.stderr
    ended = run()  # everything after it
    assert ended.returncode == 0 and {"crf", "merge"} < set(jobs(ended.stdout + ended.stderr)), ended.stderr
    assert masks.read_text() == before


def test_a_finished_run_needs_its_images_no_more(finished):
    run, _ = finished
    images, moved = run.folder / "scenes/images", run.folder / "scenes/moved"
    images.rename(moved)
    try:
        ended = run("-n")
    finally:
        moved.rename(images)
    assert ended.returncode == 0 and "Nothing to be done" in ended.stdout + ended.stderr


def test_lint(run):
    ended = run("--lint")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_slurm_profile_has_a_gpu_for_every_rule_with_a_network():
    """Resources go by a rule's own name; a rule made of another one does not inherit them."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    blocks = re.split(r"^(?:use )?rule ", text, flags=re.MULTILINE)[1:]
    with_network, made_of = set(), {}
    for block in blocks:
        name = re.match(r"\w+", block).group()
        if found := re.match(r"(\w+) as (\w+) with", block):
            made_of[found[2]] = found[1]
        elif "envs/detector.yaml" in block or "envs/models.yaml" in block:
            with_network.add(name)
    for _ in made_of:  # a chain may be as long as there are links
        with_network |= {rule for rule, base in made_of.items() if base in with_network}
    profile = yaml.safe_load((ROOT / "slurm/config.yaml").read_text())["set-resources"]
    assert set(profile) == with_network and all(found["gpu"] == 1 for found in profile.values())
