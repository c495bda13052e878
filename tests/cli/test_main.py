"""The command line itself: how it starts, and packages that are missing."""

import errno
import subprocess
import sys

import pytest

from cuts3d_cli import __version__
from cuts3d_cli.cli import main


def test_it_starts_as_a_module():
    ended = subprocess.run([sys.executable, "-m", "cuts3d_cli", "--version"], capture_output=True, text=True)
    assert ended.stdout.split() == ["cuts3d,", "version", __version__]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModuleNotFoundError("No module named 'cv2'", name="cv2"), "pip install opencv-python-headless (or"),
        (ImportError("libGL.so.1: cannot open shared object file", name="cv2"), "opencv-python-headless"),
        (ModuleNotFoundError("No module named 'timm'", name="timm"), "pip install 'cuts3d[models]'"),
        (ModuleNotFoundError("No module named 'mmdet'", name="mmdet.apis"), "pip install 'cuts3d[detector]'"),
        (ModuleNotFoundError("No module named 'numba'", name="numba"), "pip install 'cuts3d'"),
    ],
)
def test_a_package_that_is_missing_is_one_line(cuts3d, monkeypatch, error, told):
    def fail(**_kwargs):
        raise error

    monkeypatch.setattr(main.cli, "main", fail)
    code, _, err = cuts3d("localcut")
    assert code == 1 and err.count("\n") == 1 and err.startswith("cuts3d: error: ") and told in err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "cannot write a file: the disk is full -> free some space"),
        (OSError(errno.EROFS, "Read-only", "out/a.json"), "cannot write out/a.json: the disk is read-only -> write to"),
        (OSError(errno.EIO, "Input/output error", "a.json"), "a.json: Input/output error"),
    ],
)
def test_an_error_of_the_system_is_one_line(cuts3d, monkeypatch, error, line):
    def fail(**_kwargs):
        raise error

    monkeypatch.setattr(main.cli, "main", fail)
    code, _, err = cuts3d("depth")
    assert code == 1 and err.count("\n") == 1 and err.startswith(f"cuts3d: error: {line}")


def test_other_import_errors_are_bugs(cuts3d, monkeypatch):
    def fail(**_kwargs):
        raise ImportError("cannot import name 'cut'", name="cuts3d_cli.core")

    monkeypatch.setattr(main.cli, "main", fail)
    with pytest.raises(ImportError):
        cuts3d("localcut")
