"""Snakemake as ``cuts3d run`` shows it: short lines in place of its own, and one line on Ctrl-C."""

from __future__ import annotations

import ast
import logging
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent, logger_plugin_module_prefix

from cuts3d_cli import log
from cuts3d_cli.errors import INTERRUPTED
from cuts3d_cli.log import logger
from cuts3d_cli.store.image_files import counted
from cuts3d_cli.workflow import last_error

NAME = "cuts3d"

FULL = "-v"
"""Our option for Snakemake's own lines; to Snakemake, which also has it in full, it means its version."""

SNAKEMAKES = (
    "--verbose", "--quiet", "-q", "--logger", "--printshellcmds", "-p", "--debug-dag", "--show-failed-logs",
)  # fmt: skip
"""Options of Snakemake about its own lines, which ask for them."""

TARGETS = {
    "all", "pseudo_masks", "trained", "evaluated", "in_domain", "table4", "table5", "table6", "results", "finetuned",
}  # fmt: skip
"""Rules that only name others, and do nothing."""

MOST_STEPS, EVERY_S = 60, 10.0
"""Of a run with more steps a line is written at most every so many seconds."""

_CHATTER = re.compile(
    r"Assuming unrestricted shared|Building DAG|Using shell|Provided (cores|nodes|resources|remote)|Rules claiming|"
    r"Job stats|Conda environments|Singularity|Select jobs|Execute \d|Complete log|Elapsed time|Reasons:|"
    r"Some jobs were triggered by prov|Rules with prov|Shutting down|Terminating processes|Removing output files|"
    r"Submitted (job|group)|(Job|Group) \S+ has been submitted|Waiting at most|The order of jobs|SLURM run ID|"
    r"Cannot restore \S+: no backup"
)
"""What Snakemake says of itself, which is in its log all the same."""

_ONLY_SAYS_THAT = re.compile(r"Exiting because a job execution failed|.*At least one job did not complete", re.DOTALL)
"""What Snakemake says after a step failed, which has been said."""

_CHANGED = re.compile(r"across all output: before: (.*?) now: (.*)$", re.DOTALL)

_interrupted = threading.Event()


def main(words: Sequence[str]) -> NoReturn:
    """Run Snakemake in this process and end with its exit code, or with 130 on Ctrl-C.

    Args:
        words: Snakemake's command line; `FULL` or one of `SNAKEMAKES` among them leaves its lines as they are.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else whoever started this ignores it
        signal.signal(signal.SIGINT, _note_interrupt)
    log.setup()
    before, after = _split(words)
    is_full = any(word.split("=")[0] in (FULL, *SNAKEMAKES) for word in before)
    before = [word for word in before if word != FULL]
    if not is_full:
        before += ["--logger", NAME]
    try:
        _snakemake([*before, *after], short=not is_full)
    except KeyboardInterrupt:
        code: Any = 130
    except SystemExit as ended:
        code = ended.code
    if _interrupted.is_set():
        print(INTERRUPTED, file=sys.stderr)
        code = 130
    elif code == 1 and LogHandler.failed:
        what = "a step" if LogHandler.failed == 1 else f"{LogHandler.failed} steps"
        print(
            f"cuts3d: error: {what} failed, as said above -> mend the cause, then run the same command", file=sys.stderr
        )
    sys.exit(code)


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words before and from the ``--`` that ends the options."""
    end = list(words).index("--") if "--" in words else len(words)
    return list(words[:end]), list(words[end:])


def _snakemake(words: list[str], *, short: bool) -> None:
    from snakemake.cli import main as snakemake
    from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

    if short:
        LoggerPluginRegistry().register_plugin(f"{logger_plugin_module_prefix}{NAME}", sys.modules[__name__])
    sys.argv = ["snakemake", *words]  # of which it keeps a record
    snakemake(words)


def _note_interrupt(number: int, frame: FrameType | None) -> NoReturn:
    _interrupted.set()
    raise KeyboardInterrupt


class LogHandler(LogHandlerBase):
    """Writes what happens in a workflow in the form of the package's own progress.

    What is dropped is in Snakemake's log below ``.snakemake/log``; errors and warnings stay.
    """

    failed = 0
    """Steps that failed."""

    def __post_init__(self) -> None:
        self._total, self._begun = 0, 0
        self._said = -EVERY_S
        self._start = time.monotonic()
        self._messages: dict[int, str] = {}
        self._planned: Counter[tuple[str, str]] = Counter()

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def emit(self, record: Any) -> None:
        """Write the line for an event, or none; see `LogHandlerBase.emit`."""
        told = {
            LogEvent.RUN_INFO: self._plan,
            LogEvent.JOB_INFO: self._step,
            LogEvent.JOB_ERROR: self._failure,
            LogEvent.PROGRESS: self._progress,
        }
        event = getattr(record, "event", None)
        try:
            if event in told:
                told[event](record)
            elif event in (None, LogEvent.ERROR, LogEvent.GROUP_ERROR):
                self._message(record)
        except Exception:
            self.handleError(record)

    def _plan(self, record: Any) -> None:
        counts = {rule: n for rule, n in record.stats.items() if rule not in {*TARGETS, "total"}}
        self._total = sum(counts.values())
        if not self.common_settings.dryrun:
            logger.info("run: %s: %s", counted(self._total, "step"), ", ".join(map(_numbered, counts, counts.values())))
        elif self._planned or not self._total:  # told once before and once after the jobs
            logger.info("run: %s would run", counted(self._total, "step"))
            for (rule, reason), number in self._planned.items():
                logger.info("run:   %s%s", _numbered(rule, number), f": {reason}" if reason else "")
            self._planned.clear()

    def _step(self, record: Any) -> None:
        if record.rule_name in TARGETS:
            return
        reason = _reason(record.reason)
        if self.common_settings.dryrun:
            self._planned[record.rule_name, reason] += 1
            return
        self._begun += 1
        self._messages[record.jobid] = record.rule_msg or record.rule_name
        now = time.monotonic()
        if self._total <= MOST_STEPS or now - self._said >= EVERY_S:
            self._said = now
            told = f" ({reason})" if reason else ""
            logger.info("run: %d/%d %s%s", self._begun, self._total, self._messages[record.jobid], told)

    def _progress(self, record: Any) -> None:
        if record.done == record.total:
            seconds = time.monotonic() - self._start
            logger.info("run: all %s done in %s", counted(self._total, "step"), log.duration(seconds))

    def _failure(self, record: Any) -> None:
        texts = {path: _text(path) for path in map(_plain, record.log)}
        told = any(map(last_error, texts.values()))
        if not told and _interrupted.wait(1):
            return  # Ctrl-C ends the jobs too, which may be faster than this process hears of it
        LogHandler.failed += 1
        what = self._messages.get(record.jobid, record.rule_name)
        if told:  # which is told when all have ended
            logger.error("run: failed: %s; log: %s", what, ", ".join(texts))
        else:
            from snakemake.logging import DefaultFormatter

            logger.error("run: failed: %s", what)
            print(DefaultFormatter().format(record), file=sys.stderr, flush=True)

    def _message(self, record: Any) -> None:
        text = str(record.getMessage() if record.msg else "").strip()
        if not text or _interrupted.is_set() or (record.levelno <= logging.WARNING and _CHATTER.match(text)):
            return
        if "\nCalledProcessError in " in text or (self.failed and _ONLY_SAYS_THAT.match(text)):
            return  # of a failed step, see `_failure`
        if record.levelname == "INFO" and text.startswith("This was a dry-run"):
            text = "nothing was run, for -n"
        if "\n" in text:
            print(text, file=sys.stderr, flush=True)
        else:
            logger.log(record.levelno, "run: %s", text)


def _numbered(rule: str, number: int) -> str:
    """A step by the name of its command, and how many there are."""
    return rule.replace("_", "-") + ("" if number == 1 else f" ({number})")


def _plain(path: str) -> str:
    """A log as Snakemake names it, without its notes."""
    return path.split(" (")[0]


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _reason(text: str) -> str:
    """Snakemake's reason to run a step, in words; none where it is that results are missing or those before are new."""
    told = []
    if "Forced execution" in text:
        told.append("asked for")
    if "Incomplete output files" in text:
        told.append("stopped last time")
    if found := re.search(r"Updated input files: ([^;]*)", text):
        told.append(f"newer: {found[1]}")
    if "Set of input files has changed" in text:
        told.append("other inputs")
    if "Params have changed" in text:
        told.append(_change(text))
    return "; ".join(told)


def _change(text: str) -> str:
    """What is other about the parameters of a step, of which Snakemake tells the whole."""
    if "the last job failed" in text:
        return "failed last time"
    found = _CHANGED.search(text)
    try:
        before, now = (_values(part) for part in found.groups()) if found else ([], [])
    except (SyntaxError, ValueError):
        before, now = [], []
    settings = [[each for each in part if isinstance(each, dict)] for part in (before, now)]
    if len(settings[0]) != 1 or len(settings[1]) != 1:
        return "other files" if before or now else "other settings"
    from cuts3d_cli.report.run_status import setting_changes

    old, new = (_flat(part[0]) for part in settings)
    return setting_changes(old, new) or "other settings"


def _values(text: str) -> Collection[Any]:
    """Parameters as Snakemake joins them."""
    text = text.strip()
    return [] if text.startswith("<nothing") else list(ast.literal_eval(f"[{text}]"))


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Settings without their section, as `status` tells them of a step."""
    return {
        key: value
        for name, given in values.items()
        for key, value in (given.items() if isinstance(given, dict) else [(name, given)])
    }


if __name__ == "__main__":
    sys.modules["cuts3d_cli.workflow_run"] = sys.modules[__name__]  # one module, whatever it was started as
    main(sys.argv[1:])
