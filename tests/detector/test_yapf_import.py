"""Processes that import the detector at the same moment do not share yapf's cache file."""

import os
import subprocess
import sys

import pytest

FORMAT = """
import cuts3d_cli.detector, platformdirs
from yapf.yapflib.yapf_api import FormatCode
print(FormatCode("a=1")[0].strip(), platformdirs.user_cache_dir("x"))
"""


@pytest.fixture
def home(tmp_path):
    """Environment of a user whose caches lie in ``tmp_path``, and where yapf would keep its own."""
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", "import yapf"], env=environment, check=True, capture_output=True)
    pickles = sorted((tmp_path / "cache").rglob("*.pickle"))
    assert pickles, "yapf keeps no cache any more: this module can go"
    return environment, pickles


def formatted(environment) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", FORMAT], env=environment, capture_output=True, text=True)


def test_a_half_written_cache_is_not_read(home):
    environment, pickles = home
    for path in pickles:
        path.write_bytes(b"")
    broken = subprocess.run([sys.executable, "-c", "import yapf"], env=environment, capture_output=True, text=True)
    assert "EOFError" in broken.stderr, "yapf mends its cache itself now: this module can go"
    assert formatted(environment).stdout.startswith("a = 1 ")


def test_no_cache_is_written_and_others_keep_theirs(home):
    environment, pickles = home
    for path in pickles:
        path.unlink()
    assert formatted(environment).stdout.split()[-1] == str(pickles[0].parents[2] / "x")
    assert not any(path.exists() for path in pickles)
