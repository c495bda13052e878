"""What ``cuts3d run`` says in place of Snakemake."""

import logging
import re
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from cuts3d_cli import log, workflow_run
from cuts3d_cli.workflow import FILES

CHANGED = "Params have changed since last execution: Union of exclusive params before and now across all output: "


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("Missing output files: a.zarr; Input files updated by another job: b.jsonl", ""),
        ("Forced execution", "asked for"),
        ("Updated input files: labels.json; Input files updated by another job: b.jsonl", "newer: labels.json"),
        (
            f"{CHANGED}before: {{'a': 1, 's': {{'k': 2, 'm': [1]}}}} now: {{'a': 1, 's': {{'k': 3, 'm': [1]}}}} ",
            "k 2 -> 3",
        ),
        (f"{CHANGED}before: 'old' now: 'new' ", "other files"),
        (f"{CHANGED}before: 'old',{{'a': 1}} now: 'new',{{'a': 2}} ", "a 1 -> 2"),
        (f"{CHANGED}before: the last job failed now: 'new' ", "failed last time"),
        (f"{CHANGED}before: <nothing exclusive> now: {{'a': 1}} ", "other files"),
        (f"{CHANGED}before: <no Python> now: 1 ", "other settings"),
    ],
)
def test_reasons_in_words(reason, told):
    assert workflow_run._reason(reason) == told


def test_rules_without_a_message_are_those_that_only_name_others():
    """They are no steps; every other rule says what it does."""
    for path in [FILES / "Snakefile", *(FILES / "rules").glob("*.smk")]:
        for rule in re.split(r"^rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            assert ("\n    message:" in rule) != (rule.split(":")[0] in workflow_run.TARGETS), rule.split(":")[0]


def record(event, text="", level=logging.INFO, **more):
    made = logging.LogRecord("snakemake", level, "", 0, text, None, None)
    vars(made).update(event=event, **more)
    return made


def step(number):
    return record(LogEvent.JOB_INFO, rule_name="depth", rule_msg=f"depth of {number}", reason="", jobid=number)


@pytest.fixture
def handler(monkeypatch):
    monkeypatch.setattr(workflow_run.LogHandler, "failed", 0)
    return workflow_run.LogHandler(SimpleNamespace(dryrun=False), None)


def test_long_runs_take_a_line_every_few_seconds(handler, capsys):
    log.setup()
    handler.emit(record(LogEvent.RUN_INFO, stats={"depth": 1300, "all": 1, "total": 1301}))
    for number in range(1300):
        handler.emit(step(number))
    plan, first = capsys.readouterr().err.splitlines()
    assert plan.endswith("run: 1300 steps: depth (1300)") and first.endswith("run: 1/1300 depth of 0")


@pytest.mark.parametrize(
    ("text", "level", "shown"),
    [
        ("Select jobs to execute...", logging.INFO, False),
        ("Nothing to be done (all requested files are present and up to date).", logging.INFO, True),
        ("Something new", logging.INFO, True),
        ("Disk almost full", logging.WARNING, True),
        ("Error: Directory cannot be locked.\nPlease make sure", logging.ERROR, True),
    ],
)
def test_only_what_is_known_to_say_nothing_is_dropped(handler, capsys, text, level, shown):
    log.setup()
    handler.emit(record(None, text, level))
    assert (text.splitlines()[-1] in capsys.readouterr().err) == shown


def test_a_failure_without_an_error_in_its_log_is_told_in_full(handler, capsys):
    """Such as of a job that was killed."""
    log.setup()
    handler.emit(step(3))
    more = {key: [] for key in ("input", "output", "log")} | {"aux": {}, "conda_env": None, "shellcmd": "cuts3d depth"}
    handler.emit(record(LogEvent.JOB_ERROR, "x", logging.ERROR, rule_name="depth", rule_msg=None, jobid=3, **more))
    err = capsys.readouterr().err
    assert "ERROR run: failed: depth of 3" in err and "        cuts3d depth\n" in err and handler.failed == 1
