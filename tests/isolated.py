"""Calls in a process of their own, which may hang or crash without taking the tests with it."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

MOST_MEMORY = 12 * 2**30
"""Address space of the process; what wants more ends in a MemoryError."""


def isolated(function: str, jobs: Sequence[Any], *, seconds: int = 60) -> list[Any]:
    """What a function returns for each job, or ``{"died": why}`` for a job that ended the process.

    Args:
        function: ``module:name`` of a function of one JSON-able argument that returns something JSON-able.
        jobs: the arguments; they run one after the other, in a new process after one that ended it.
        seconds: a job that takes longer hangs; the first one includes importing what the function needs.
    """
    found: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        given, results = Path(folder, "jobs.json"), Path(folder, "results.jsonl")
        given.write_text(json.dumps(list(jobs)))
        while len(found) < len(jobs):
            results.write_text("")
            process = subprocess.run(
                [sys.executable, "-m", "tests.isolated", function, given, results, str(len(found)), str(seconds)],
                cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True, check=False,
            )  # fmt: skip
            found += map(json.loads, results.read_text().splitlines())
            if len(found) < len(jobs):
                found.append({"died": f"exit code {process.returncode}: {process.stderr[-2000:]}"})
    return found


def command(job: dict[str, Any]) -> dict[str, Any]:
    """Run ``cuts3d`` with ``args`` in the folder ``cwd``: ``code``, ``out`` and ``err``; a traceback is in ``err``."""
    from cuts3d_cli.cli.main import main

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    os.chdir(job["cwd"])
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in job["args"]])
        except SystemExit as end:
            code = end.code
        except BaseException:
            code = "traceback"
            traceback.print_exc(file=err)
    texts = (stream.buffer.getvalue().decode() for stream in (out, err))
    return {"code": code, **dict(zip(("out", "err"), texts, strict=True))}


def _main(function: str, given: str, results: str, first: str, seconds: str) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    faulthandler.enable()
    module, _, name = function.partition(":")
    faulthandler.dump_traceback_later(int(seconds), exit=True)  # needs no lock that an endless loop holds
    call = getattr(import_module(module), name)
    with open(results, "a") as file:
        for job in json.loads(Path(given).read_text())[int(first) :]:
            faulthandler.dump_traceback_later(int(seconds), exit=True)
            file.write(json.dumps(call(job)) + "\n")
            file.flush()


if __name__ == "__main__":
    _main(*sys.argv[1:])
