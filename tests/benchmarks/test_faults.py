"""The script that injects faults: every kind into one stage, and what it makes of wrong results."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def faults(*words):
    command = [sys.executable, ROOT / "benchmarks/faults.py", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rows(output):
    table = [line.strip("|").split("|") for line in output.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in table if line[2].strip().isdigit()]


@pytest.mark.parametrize("stage", ["confidence", "merge"])
def test_a_fault_of_each_kind_leaves_no_wrong_result(stage):
    kinds = ["SIGKILL at a random moment", "full disk", "flipped bit", "deleted file", "two commands at once"]
    ended = faults("--n", len(kinds), "--stage", stage, *(word for kind in kinds for word in ("--fault", kind)))
    assert ended.returncode == 0, ended.stderr
    assert f"{len(kinds)} injected, 0 wrong results" in ended.stdout
    by_stage = [row for row in rows(ended.stdout) if row[0] == stage]
    assert [row[1] for row in by_stage] == kinds
    for _, _, injected, refused, remade, equal, wrong in by_stage:
        assert (injected, equal, wrong) == ("1", "1", "0") and int(refused) + int(remade) == 1


def test_a_result_that_is_wrong_is_counted_and_ends_in_an_error(benchmarks, monkeypatch, tmp_path):
    """As if what is read were not checked."""
    import fault_run
    import faults as script

    class Run:
        def restore(self): ...
        def remove_after(self, stage, own): ...
        def left_over(self):
            return [tmp_path / ".f.tmp"]

        def is_right(self, stage):
            return False

        def go_on(self, stage):
            return [fault_run.Ended("merge", 99, "Traceback\nValueError: x", 0.1)]

    monkeypatch.setitem(
        script.FAULTS, "none", lambda run, stage, rng: [fault_run.Ended("crf", 1, "cuts3d: error: a", 1)]
    )
    row = script.Row()
    script.inject(Run(), "crf", "none", script.random.Random(0), row)
    assert row.cells() == [1, 1, 0, 0, 1]
    assert row.problems == [
        "traceback of merge: ValueError: x",
        "blocked: ValueError: x",
        f"left over: {tmp_path / '.f.tmp'}",
    ]


def test_what_a_message_says_is_done(benchmarks, tmp_path):
    import fault_run

    run = object.__new__(fault_run.SmallRun)
    run.chain, done = ["features", "crf"], []
    run.command = lambda stage, force=False: done.append(stage)
    path = tmp_path / "00000.json"
    path.write_text("{")

    def follow(message):
        return run._follow(fault_run.Ended("merge", 1, f"12:00 INFO x\ncuts3d: error: {message}\n", 0.1))

    assert follow(f"file {path} is damaged, or was edited; expected x -> delete it and rerun `cuts3d crf`; if it")
    assert not path.exists() and not done
    assert follow("store a.zarr was made from a different depth store than b -> rerun `cuts3d features`")
    assert done == ["features"]
    assert not follow("cannot write a: the disk is full -> free some space there")
