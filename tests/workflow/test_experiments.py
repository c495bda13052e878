"""The ablations as targets: what they would run, what they share, and that nobody pays who does not ask."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Dry run of a target in an empty run of the sample; returns the finished process."""
    folder = tmp_path_factory.mktemp("experiments")

    def snakemake(*args):
        words = [sys.executable, "-m", "snakemake", "-n", "--cores", "2", *args]
        words += ["--config", f"run={folder / 'run'}"] if "--config" not in args else [f"run={folder / 'run'}"]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)

    return snakemake


def jobs(ended) -> dict[str, int]:
    assert ended.returncode == 0, ended.stdout + ended.stderr
    table = ended.stdout.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", table, re.MULTILINE)}


def trained(found: dict[str, int]) -> int:
    """First trainings of a plan; those that rounds follow have a rule of their own."""
    return found.get("train_experiment", 0) + found.get("train_experiment_full", 0)


def test_all_tables_train_six_variants_and_three_rounds_with_three_seeds(plan):
    found = jobs(plan("results"))
    assert trained(found) == 6 * 3 and found["selftrain_experiment"] == 3 * 3
    assert found["predict_experiment"] == found["evaluate_experiment"] == (6 + 3) * 3
    assert found["localcut"] == 9 and found["confidence"] == 6, "three methods, one without confidence"
    assert found["compare"] == 1 and not {"train", "selftrain", "predict", "report"} & set(found)


@pytest.mark.parametrize(
    ("target", "first", "rounds"), [("table4", 4 * 3, 3 * 3), ("table5", 3, 3 * 3), ("table6", 4 * 3, 0)]
)
def test_a_table_trains_its_own_rows(plan, target, first, rounds):
    found = jobs(plan(target))
    assert trained(found) == first and found.get("selftrain_experiment", 0) == rounds
    assert found["localcut"] == (9 if target == "table4" else 2)


def test_seeds_and_rounds_come_from_the_configuration(plan):
    found = jobs(plan("table5", "--config", "experiments={seeds: [4, 5], rounds: 1}"))
    assert trained(found) == found["selftrain_experiment"] == 2


def test_the_default_target_has_none_of_it(plan):
    found = jobs(plan())
    assert not [name for name in found if "_experiment" in name or name == "compare"]
    assert found["report"] == 1


def test_a_configuration_without_the_parts_is_told_in_words(plan):
    ended = plan("results", "--config", "localcut={sharpen: false}")
    text = ended.stdout + ended.stderr
    assert ended.returncode == 1 and "the experiments need localcut.sharpen: true" in text
    assert plan("--config", "localcut={sharpen: false}").returncode == 0
