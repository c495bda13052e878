"""Reading JSON that anybody may have written, and showing in an error what was found in it."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any, TypeGuard

from cuts3d_cli.errors import CocoError
from cuts3d_cli.store.checksums import parsed

_COCO_KEY = re.compile(rb'"(images|annotations|categories|info)"\s*:')

_SHOWN = 60
"""Most characters of a value in an error."""


def read_json(path: str | Path, *, expected: str = "COCO JSON", name: str | None = None) -> Any:
    """Content of a JSON file in UTF-8, with or without a byte order mark.

    Args:
        path: the file.
        expected: what it should be, for errors.
        name: what errors call it; ``file PATH`` when omitted.

    Raises:
        CocoError: there is none, it cannot be read, or it is not JSON.
        DamagedError: it is of ours, and does not fit its checksum.
    """
    name = name or f"file {path}"
    try:
        content = Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise CocoError(
            name, expected=expected, found="no such file", hint="correct the path, or first run what writes the file"
        ) from None
    except IsADirectoryError:
        raise CocoError(name, expected=expected, found="a folder", hint="name the file in it") from None
    except (OSError, ValueError) as error:  # a path may hold what no file system takes
        raise CocoError(f"{name} cannot be read", found=str(error)) from None
    if not content.strip():
        raise CocoError(name, expected=expected, found="an empty file", hint="write it again")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or content[:4] == b"\0\0\xfe\xff":
        raise CocoError(name, expected=f"{expected} in UTF-8", found="text in UTF-16 or UTF-32",
                        hint="save it as UTF-8")  # fmt: skip
    try:
        document = parsed(path, content)
        if isinstance(document, dict) and (key := _repeated_key(content)):
            raise CocoError(name, expected="each key once", found=f"the key {key} more than once")
        return document
    except UnicodeDecodeError as error:
        raise CocoError(name, expected=f"{expected} in UTF-8", found=f"other bytes ({error})") from None
    except RecursionError:
        raise CocoError(name, expected=expected, found="lists or objects nested too deeply") from None
    except ValueError as error:  # JSONDecodeError, and integers of more digits than Python reads
        raise CocoError(name, expected=expected, found=f"something else ({error})") from None


def _repeated_key(content: bytes) -> str:
    """A key that a JSON object holds twice at its top, of which only the last counts when it is read; or nothing.

    The text is parsed once more only where one of COCO's keys is in it twice, at whatever depth.
    """
    if max(Counter(_COCO_KEY.findall(content)).values(), default=0) < 2:
        return ""
    keys: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        keys[:] = [key for key, _ in pairs]  # the outermost object comes last

    json.loads(content.decode("utf-8-sig"), object_pairs_hook=note)
    return next((key for key, n in Counter(keys).items() if n > 1), "")


def shown(value: Any) -> str:
    """What a value of a JSON is, for an error: ``null``, ``the string "96"``, ``a list of 3``, ``NaN``, ``4.5``."""
    if isinstance(value, dict):
        return f"an object with {_cut('keys ' + json.dumps(list(value))[1:-1])}" if value else "an empty object"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, str):
        return f"the string {_cut(json.dumps(value))}"
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    if isinstance(value, int | float) or value is None:
        return _cut(json.dumps(value))
    return type(value).__name__


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number; ``true`` and ``false`` are none."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def whole(value: Any) -> int | None:
    """A whole number within 64 bits as an integer, 96.0 included; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -(2**63) <= value < 2**63:
        return None
    return int(value) if value == int(value) else None


def is_text(value: Any, *, path: bool = False) -> bool:
    """Whether a value is a text, not empty, that can be written: no null character and no half of a character.

    Args:
        value: the value.
        path: it names a file; bytes that are not UTF-8, as Python reads them from a disk, are then fine.
    """
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    try:
        value.encode("utf-8", "surrogateescape" if path else "strict")
    except UnicodeEncodeError:
        return False
    return True


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
