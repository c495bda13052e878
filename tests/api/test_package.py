"""What ``import cuts3d`` costs and gives."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cuts3d
from cuts3d_cli import api

ROOT = Path(__file__).parents[2]
BUDGET_S = 0.3

MEASURE = "import time; t = time.perf_counter(); import cuts3d; print(time.perf_counter() - t)"


def test_importing_it_is_cheap():
    """The best of three: another process may take the core."""
    runs = [subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, cwd=ROOT) for _ in range(3)]
    assert min(float(run.stdout) for run in runs) < BUDGET_S, runs[0].stderr


def test_importing_it_loads_no_arrays_and_no_network():
    code = "import sys, cuts3d; print({'numpy', 'torch', 'pydantic', 'cuts3d_cli.api'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout == "set()\n"


@pytest.mark.parametrize("name", sorted(set(cuts3d.__all__) - {"__version__"}))
def test_every_name_is_there_and_documented(name):
    item = getattr(cuts3d, name)
    assert item.__doc__ and name in dir(cuts3d)


def test_names_of_the_library_are_all_given():
    assert set(api.__all__) - {"mask_settings"} <= set(cuts3d.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        _ = cuts3d.nosuch


def test_both_packages_are_typed_and_packed():
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for package in ("cuts3d", "cuts3d_cli"):
        assert (ROOT / package / "py.typed").is_file() and "py.typed" in table["package-data"][package]


def test_presets():
    assert {"embedded", "photo", "paper"} <= set(cuts3d.presets())
