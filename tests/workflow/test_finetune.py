"""Learning from labels as a target: what it would run, with which settings, and its table."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cuts3d_cli.config import resolve
from cuts3d_cli.errors import ConfigError
from cuts3d_cli.experiments import finetune

ROOT = Path(__file__).parents[2]


def plan(folder, *args, config=()):
    """Dry run of a target in an empty run of the sample."""
    words = [sys.executable, "-m", "snakemake", "-n", "-p", "--cores", "2", *args, "--config", f"run={folder / 'run'}"]
    return subprocess.run([*words, *config], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    ended = plan(tmp_path_factory.mktemp("finetune"), "finetuned")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_two_detectors_learn_from_every_share(planned):
    table = planned.split("Job stats:")[1].split("total")[0]
    jobs = {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", table, re.MULTILINE)}
    assert jobs["finetune"] == jobs["predict_finetuned"] == jobs["evaluate_finetuned"] == 3 * 2
    assert jobs["train"] == 1 and jobs["selftrain"] == 2 and not {"report", "localcut_baseline", "compare"} & set(jobs)


def test_the_commands_are_those_of_supervised_learning(planned):
    trainings = [line for line in planned.splitlines() if "cuts3d train" in line and "--labels" in line]
    assert len(trainings) == 6
    smallest = [line for line in trainings if "/0.05 " in line]
    settings = ["fraction=0.05", "droploss=false", "copy_paste=false", 'loss="none"']
    options = [*(f"--set=train.{words}" for words in settings), "--image-root sample/train/images"]
    assert len(smallest) == 2 and all(words in line for words in options for line in smallest)
    assert sum("--init" in line for line in trainings) == 3  # embedded: the others start from nothing
    assert all("round2/checkpoint.pth" in line for line in trainings if "--init" in line)
    scored = [line for line in planned.splitlines() if "cuts3d evaluate" in line]
    assert len(scored) == 6 and all("--no-class-agnostic" in line for line in scored)


def test_the_default_target_has_none_of_it(tmp_path):
    ended = plan(tmp_path)
    assert ended.returncode == 0 and "report" in ended.stdout
    assert not re.search(r"finetuned?\s+\d+$|cuts3d train .*--labels", ended.stdout, re.MULTILINE)


def test_without_labels_it_says_so(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"run: {tmp_path / 'run'}\ndata: {{annotations: null}}\n")
    ended = plan(tmp_path, "finetuned", "--configfile", path)
    assert ended.returncode == 1 and "config key finetune.labels; expected a COCO JSON" in ended.stdout + ended.stderr
    assert plan(tmp_path, "--configfile", path).returncode == 0


def test_where_labels_and_images_come_from():
    sample = finetune.source(resolve({}))
    assert sample == ("sample/train/annotations.json", "sample/train/images")
    assert finetune.source(resolve({"finetune": {"labels": "a.json"}})) == ("a.json", None)
    assert finetune.source(resolve({"finetune": {"labels": "a.json", "images": "b"}})) == ("a.json", "b")
    with pytest.raises(ConfigError, match=r"data.val_annotations; expected labels of held-out images"):
        finetune.source(resolve({"data": {"val_annotations": None}}))


def test_a_share_takes_its_own_numbers():
    values = {"fractions": [0.1, 1], "iterations": [90, 900], "lr": [0.04], "predictor_lr": [4, 2], "lr_batch": 16}
    config = resolve({"finetune": values, "train": {"init": "dino-resnet50", "amp": True}})
    small = finetune.train_section(config, "0.1", "detector")
    assert (small.fraction, small.iterations, small.lr_steps, small.predictor_lr) == (0.1, 90, [60, 80], 4)
    assert small.used_lr == pytest.approx(0.04 * 4 / 16) and small.init is None and small.amp
    assert not small.droploss and not small.copy_paste and small.loss == "none"
    large = finetune.train_section(config, "1", "baseline")
    assert (large.iterations, large.lr_steps, large.predictor_lr, large.init) == (900, [600, 800], 2, "dino-resnet50")


def test_the_papers_presets_hold_cutlers_schedule():
    config = resolve({"preset": "paper"})
    assert [round(100 * share) for share in config.finetune.fractions] == [1, 2, 5, 10, 20, 30, 40, 50, 60, 80, 100]
    one, all_of_them = (finetune.train_section(config, share, "detector") for share in ("0.01", "1"))
    assert (one.iterations, one.lr_steps, one.used_lr, one.predictor_lr) == (3600, [2400, 3200], 0.04, 4)
    assert (all_of_them.iterations, all_of_them.lr_steps, all_of_them.used_lr) == (90_000, [60_000, 80_000], 0.02)
    assert one.precise_bn == 200 and one.weight_decay == 1e-4 and one.batch_size == 16


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fractions": [0.1, 0.1]}, "fractions must be distinct"),
        ({"fractions": [0]}, "above 0 and at most 1"),
        ({"fractions": [0.1, 0.2, 0.3], "lr": [0.1, 0.2]}, "lr must be one number above 0, or 3"),
        ({"iterations": [0]}, "iterations; expected a list, each a whole number from 1 to"),
    ],
)
def test_wrong_shares_are_told(values, message):
    with pytest.raises(ConfigError, match=message):
        resolve({"finetune": values})


def test_the_table_has_a_row_for_each(tmp_path):
    config = resolve({"finetune": {"fractions": [0.5, 1.0]}})
    for share, images in (("0.5", 36), ("1", 72)):
        for start in finetune.STARTS:
            folder = tmp_path / finetune.FOLDER / start / share
            folder.mkdir(parents=True)
            (folder / "config.json").write_text(json.dumps({"labels": {"images": images}}))
            scores = {"metrics": {"segm": {"AP": 0.25, "AP50": 0.5, "AR100": None}}}
            (folder / "scores_val.json").write_text(json.dumps(scores))
    lines = finetune.table(tmp_path, config).splitlines()
    assert len(lines) == 2 + 4
    assert lines[2].split() == ["50", "%", "from", "the", "last", "detector", "36", "25.0", "50.0", "-", "-", "-", "-"]
    assert "without it" in lines[5] and lines[5].startswith("100 %") and " 72 " in lines[5]
