"""The package's own exception: one line that says what, where, expected, found and what to do."""

from __future__ import annotations

import errno
import shutil
import unicodedata
from pathlib import Path
from typing import Any

CONFIG_KEY = "config key "
"""What messages write before a key of the configuration; a command writes its option instead (`cli.typed`)."""

INTERRUPTED = "cuts3d: interrupted; finished stages are kept, run the same command to continue"
"""What a command says last on Ctrl-C."""

_UNSHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of characters that move the cursor, turn the direction of writing, end a line or are none at all."""

_JOINERS = "\u200c\u200d"
"""Of these, the two that words of some scripts, and emoji, are written with."""


def printable(text: str) -> str:
    """A text in one line that a terminal shows as it is: control characters and bytes that are no UTF-8 as escapes.

    Names of files may hold anything but ``/``; whatever prints one goes through here.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(char) for char in text)


def _escaped(char: str) -> str:
    if unicodedata.category(char) not in _UNSHOWN or char in _JOINERS:
        return char
    if "\udc80" <= char <= "\udcff":  # how Python holds a byte that is no UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


class Cuts3dError(Exception):
    """An error that a user can act on.

    The command line turns it into one line on stderr and exit code 1; nothing else does.

    Args:
        what: what is wrong, with the file or key it concerns.
        expected: what would have been right.
        found: what was there instead.
        hint: what to do next.
    """

    def __init__(self, what: str, *, expected: str | None = None, found: object = None, hint: str | None = None):
        self.what, self.expected, self.found, self.hint = what, expected, found, hint
        parts = [what]
        if expected is not None:
            parts.append(f"expected {expected}")
        if found is not None:
            parts.append(f"found {found}")
        line = "; ".join(parts)
        if hint:
            line += f" -> {hint}"
        super().__init__(printable(" ".join(line.split())))


def first_line(error: BaseException) -> str:
    """What another library's error says first, at most 200 characters; its type where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def missing_package(error: ModuleNotFoundError) -> Cuts3dError:
    """The line that names the package that is not installed and the extra of cuts3d that brings it.

    Raises:
        ModuleNotFoundError: the module is one of our own, which is a bug.
    """
    name = (error.name or "").split(".")[0]
    if name == "cuts3d_cli":
        raise error
    if name == "cv2":
        return Cuts3dError(
            "Python package cv2 is missing", hint="pip install opencv-python-headless (or opencv-python)"
        )
    if name == "OpenEXR":
        return Cuts3dError(
            "EXR files are read by the Python package OpenEXR, which is missing",
            hint="pip install 'cuts3d[exr]', or convert the depth maps to 32-bit TIFF or NPY",
        )
    extra = f"[{_EXTRAS[name]}]" if name in _EXTRAS else ""
    return Cuts3dError(f"Python package {name} is missing", hint=f"pip install 'cuts3d{extra}'")


_EXTRAS = {
    "torch": "models,detector",
    **dict.fromkeys(("torchvision", "mmdet", "mmengine", "mmcv"), "detector"),
    **dict.fromkeys(
        ("timm", "transformers", "onnx", "safetensors", "huggingface_hub", "filelock", "platformdirs"), "models"
    ),
    "snakemake": "workflow",
}
"""The extra of cuts3d that brings a package."""


_SPACE = "free some space there, or write elsewhere, and run the same command again"
_RIGHTS = "write to another folder, or make this one writable"
_UNWRITABLE = {
    errno.ENOSPC: ("the disk is full", _SPACE),
    errno.EDQUOT: ("the quota on this disk is used up", _SPACE),
    errno.EFBIG: ("larger than files may be here", "raise the limit (`ulimit -f`), or write elsewhere"),
    errno.EROFS: ("the disk is read-only", _RIGHTS),
    errno.EACCES: ("permission denied", _RIGHTS),
    errno.EPERM: ("permission denied", _RIGHTS),
}
"""Reasons why a file cannot be written, and what to do, by the system's error number."""

FULL_BYTES = 2**16
"""Free space below which a disk counts as full where a library hides the reason of its error."""


def unwritable(error: OSError, path: Path) -> OutputError | None:
    """The line for a file that cannot be written; None where an error of the system is of another kind."""
    number = error.errno
    if number is None:  # as Pillow and numpy.save tell it
        folder = next((each for each in path.parents if each.is_dir()), Path())
        number = errno.ENOSPC if shutil.disk_usage(folder).free < FULL_BYTES else None
    if number not in _UNWRITABLE:
        return None
    reason, hint = _UNWRITABLE[number]
    return OutputError(f"cannot write {path}: {reason}", hint=hint)


class ConfigError(Cuts3dError):
    """A wrong key or value in the configuration."""


class ImageError(Cuts3dError):
    """An image (or its depth map) that cannot be used; costs that image, not the run."""


class StoreError(Cuts3dError):
    """A store that is missing, of another version or made from other inputs."""


class CocoError(StoreError):
    """COCO JSON or another form of annotations or predictions that is missing, malformed or does not fit another."""


class DamagedError(StoreError):
    """A file or store of ours that does not hold what was written to it; it costs no image, as no image is to blame.

    Args:
        what, keywords: as for `Cuts3dError`.
        path: the file or store.
    """

    def __init__(self, what: str, *, path: Path | None = None, **keywords: Any):
        super().__init__(what, **keywords)
        self.path = path


class OutputError(Cuts3dError):
    """A file that cannot be written, such as on a full disk; it costs no image, as every other would fail too."""


class TooManyFailedError(Cuts3dError):
    """More images failed than allowed; what was to be written is not, and an earlier result stays.

    Args:
        what, keywords: as for `Cuts3dError`.
        reason: why the first of them failed.
    """

    def __init__(self, what: str, *, reason: str, **keywords: Any):
        super().__init__(what, **keywords)
        self.reason = reason


class ModelError(Cuts3dError):
    """Model weights that are missing, of another architecture, or cannot be fetched."""
