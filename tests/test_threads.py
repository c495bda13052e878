"""Threads of a process: set before the libraries load, never more than the cores."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from cuts3d_cli import threads
from cuts3d_cli.pipeline import runner as common

NAMES = ("OMP_NUM_THREADS", *threads.BLAS, threads.OPENCV)

CALL = """
import contextlib
from cuts3d_cli.cli import main
with contextlib.suppress(SystemExit):
    main.main({words})  # wrong usage, found out after the options are read
"""
REPORT = """
import ctypes, json
from cuts3d_cli.stages import localcut, crf
import cv2

found = {"opencv": cv2.getNumThreads()}
with open("/proc/self/maps") as maps:
    paths = {line.split()[-1] for line in maps if "openblas" in line}
for path in paths:
    library = ctypes.CDLL(path)
    for name in ("scipy_openblas_get_num_threads64_", "scipy_openblas_get_num_threads", "openblas_get_num_threads"):
        if hasattr(library, name):
            found[path] = getattr(library, name)()
            break
print(json.dumps(found))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="reads /proc")
@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        (["localcut"], {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}, 1),  # a rule with `threads: 1`
        (["localcut", "--threads", "2"], {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}, 2),
        (["features", "--threads", "2"], {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}, 2),
        (["depth", "--threads", "2"], {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}, 2),
        (["localcut"], {}, 1),
    ],
)
def test_libraries_get_the_threads(words, environment, expected):
    clean = {key: value for key, value in os.environ.items() if key not in NAMES}
    ended = subprocess.run(
        [sys.executable, "-c", CALL.format(words=words) + REPORT],
        env=clean | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(ended.stdout.splitlines()[-1])
    assert len(found) >= 2 and set(found.values()) == {min(expected, threads.n_cores())}, found


@pytest.fixture
def environment(monkeypatch):
    values = {}
    monkeypatch.setattr(threads, "_asked", None)
    monkeypatch.setattr(threads, "os", SimpleNamespace(environ=values))
    monkeypatch.setattr(threads, "n_cores", lambda: 4)
    return values


@pytest.mark.parametrize("asked", [1, 3, 4, 5, 100])
def test_never_more_than_the_cores(environment, asked):
    environment["OPENBLAS_NUM_THREADS"] = "1"
    threads.limit(asked)
    assert environment == {name: str(min(asked, 4)) for name in NAMES}
    environment.clear()
    environment |= {"OMP_NUM_THREADS": str(asked), "MKL_NUM_THREADS": "100"}
    threads.limit()
    said = str(min(asked, 4))
    assert environment == {"OMP_NUM_THREADS": said, "MKL_NUM_THREADS": "4", threads.OPENCV: said}


def test_a_direct_call_leaves_the_cores_to_networks(environment):
    threads.limit()
    assert environment == {"OPENBLAS_NUM_THREADS": "1", threads.OPENCV: "1"}


@pytest.mark.parametrize(("text", "blas"), [("3,2", None), ("many", "1"), ("0", "1"), ("", "1")])
def test_a_list_and_nonsense_in_the_environment(environment, text, blas):
    environment["OMP_NUM_THREADS"] = text
    threads.limit()
    assert environment.get("OPENBLAS_NUM_THREADS") == blas
    assert environment[threads.OPENCV] == (blas or "3")


@pytest.mark.parametrize(
    ("stage", "asked", "expected"), [("localcut", None, 1), ("crf", None, 1), ("localcut", 2, 2), ("features", None, 2)]
)
def test_mask_stages_hold_blas_whatever_the_environment_says(monkeypatch, stage, asked, expected):
    monkeypatch.setattr(threads, "_asked", asked)
    monkeypatch.setattr(threads, "n_cores", lambda: 2)

    def blas_threads():
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    found = []

    def compute(row, record):
        found.append(blas_threads())
        return common.Result({})

    source = SimpleNamespace(records=[SimpleNamespace(error=None)])
    job = SimpleNamespace(source=source, stores={}, rows=[0], earlier=None, config=SimpleNamespace(max_failed=0.0))
    with threadpool_limits(2, user_api="blas"):  # as OMP_NUM_THREADS=2
        if blas_threads() != {2}:
            pytest.skip("a BLAS that takes no second thread")
        common.for_each_image(stage, job, compute, lambda row, result, failure: None)
        assert blas_threads() == {2}
    assert found == [{expected}]
