import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cuts3d_cli import jit

PROGRAM = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
import numpy as np
import compiled_here
print("sum", compiled_here.total(np.arange(5.0)))
"""

MODULE = """
from cuts3d_cli.jit import compiled

@compiled("f8(f8[::1])")
def total(values):
    result = 0.0
    for i in range(len(values)):
        result += values[i]
    return result
"""


@pytest.fixture
def module(tmp_path):
    """A module with a compiled function, and how to run it in a process of its own."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source/compiled_here.py").write_text(MODULE)

    def run(**environment):
        path = os.pathsep.join([str(tmp_path / "source"), str(Path(jit.__file__).parents[1]), *sys.path])
        env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(tmp_path / "home")}
        env.pop("NUMBA_CACHE_DIR", None)
        env.pop("XDG_CACHE_HOME", None)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=env | environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def kept(folder):
    return sorted(path.relative_to(folder).parts[-1].split("-")[0] for path in folder.rglob("*.nbc"))


def test_compiled_code_is_kept_where_the_environment_says(module, tmp_path):
    assert "sum 10.0" in module(NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert kept(tmp_path / "cache") == ["compiled_here.total"] and not kept(tmp_path / "source")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nb?")}
    assert "sum 10.0" in module(NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nb?")} == before


def test_compiled_code_is_kept_beside_the_source_or_else_in_the_user_s_cache(module, tmp_path):
    assert "sum 10.0" in module() and kept(tmp_path / "source") == ["compiled_here.total"]
    (tmp_path / "home").mkdir()
    (tmp_path / "source/compiled_here.py").write_text(MODULE + "\n")
    for path in sorted((tmp_path / "source/__pycache__").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (tmp_path / "source/__pycache__").rmdir()
    (tmp_path / "source/__pycache__").write_text("no folder")
    assert "sum 10.0" in module() and kept(tmp_path / "home") == ["compiled_here.total"]


def test_nothing_can_be_written_anywhere(module, tmp_path):
    for name in ("source/__pycache__", "home", "cache"):
        (tmp_path / name).write_text("no folder")
    assert "sum 10.0" in module() and "sum 10.0" in module(NUMBA_CACHE_DIR=str(tmp_path / "cache"))


def test_several_processes_at_once_and_a_damaged_file(module, tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    with ThreadPoolExecutor(3) as pool:
        assert all("sum 10.0" in out for out in pool.map(lambda _: module(**cache), range(3)))
    for path in (tmp_path / "cache").rglob("*.nbc"):
        path.write_bytes(b"\x80")
    assert "sum 10.0" in module(**cache)


def test_another_source_has_another_folder(tmp_path):
    (tmp_path / "a.py").write_text("one")
    first = jit.cache_folder(tmp_path / "a.py")
    (tmp_path / "a.py").write_text("two")
    assert first != jit.cache_folder(tmp_path / "a.py") and jit.cache_folder(tmp_path / "none.py") is None


def test_slow_compiling_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr(jit, "SAY_AFTER_S", 0.05)
    monkeypatch.setattr(jit, "_spent_s", [0.0])
    jit._say.cache_clear()
    with caplog.at_level(logging.INFO, logger="cuts3d"):
        for _ in range(3):
            with jit._saying_if_slow():
                import time

                time.sleep(0.04)
    assert [record.message for record in caplog.records] == [
        "compiling for this processor, once; this takes a few seconds and is cached"
    ]
