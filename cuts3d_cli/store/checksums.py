"""Checksums that tell whether a file of ours still holds what was written: CRC-32, as flipped bits are no adversary.

A JSON object has its own as its first key, ``"crc32"``: that of all bytes after it. Files of others have none.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

from cuts3d_cli.errors import DamagedError, first_line
from cuts3d_cli.store.layout import how_to_remake

_HEAD = re.compile(rb'\{\s*"crc32":\s*"([^"]*)",\s*')


def checksum(content: bytes | memoryview) -> str:
    """CRC-32 in eight hex digits."""
    return f"{zlib.crc32(content):08x}"


def sealed(text: str) -> tuple[bytes, memoryview]:
    """JSON text of an object that is not empty, with its checksum as first key: its head, and all after it."""
    content = text.encode()
    first = content.index(b'"')
    rest = memoryview(content)[first:]
    space = content[1:first]
    return b"{" + space + f'"crc32": "{checksum(rest)}",'.encode() + (space or b" "), rest


def is_sound(content: bytes) -> bool:
    """Whether JSON text fits its checksum; one without any, of others or edited on purpose, does."""
    head = _HEAD.match(content)
    return head is None or head[1].decode(errors="replace") == checksum(memoryview(content)[head.end() :])


def parsed(path: str | Path, content: bytes) -> Any:
    """Content of a JSON file that may be of ours, without its checksum.

    Raises:
        DamagedError: it is of ours, and was changed since.
        ValueError: it is no JSON.
    """
    if not is_sound(content):
        raise DamagedError(
            f"file {path} is damaged, or was edited",
            expected="content that fits its checksum",
            hint=f"{how_to_remake(path)}; if it was edited on purpose, delete its first key, crc32",
            path=Path(path),
        )
    document = json.loads(content.decode("utf-8-sig"))
    if isinstance(document, dict):
        document.pop("crc32", None)
    return document


def read_own(path: str | Path) -> dict[str, Any]:
    """Content of a JSON file that only we write.

    Raises:
        DamagedError: it is missing, cannot be read, or does not fit its checksum.
    """
    try:
        document, found = parsed(path, Path(path).read_bytes()), "other JSON"
    except (OSError, ValueError) as error:
        document, found = None, "none" if isinstance(error, FileNotFoundError) else first_line(error)
    if isinstance(document, dict):
        return document
    raise DamagedError(
        f"file {path}", expected="what cuts3d wrote", found=found, hint=how_to_remake(path), path=Path(path)
    )


def check_zip(path: str | Path) -> None:
    """Check that a zip file, such as a checkpoint, is whole, and the CRC-32 that it has of each part.

    torch writes these but does not compare them on reading. Other files pass, such as the pickles of older versions of
    torch, and one that is missing; an empty one does not.

    Raises:
        DamagedError: the file is cut off, or a part does not fit.
    """
    try:
        if not Path(path).is_file():
            return
        if not zipfile.is_zipfile(path):
            with open(path, "rb") as other:
                if (start := other.read(2)) in (b"", b"P", b"PK"):
                    raise zipfile.BadZipFile("no end of the file" if start else "an empty file")
            return
        with zipfile.ZipFile(path) as file:
            for part in file.infolist():
                if part.CRC:  # torch leaves it 0 where it is told to save without
                    with file.open(part) as opened:
                        while opened.read(2**20):
                            pass
    except Exception as error:  # damage shows in many ways
        raise DamagedError(
            f"file {path} is damaged",
            found=f"{type(error).__name__}: {error}",
            hint=how_to_remake(path),
            path=Path(path),
        ) from None
