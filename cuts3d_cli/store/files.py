"""Atomic writing of files and folders."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cuts3d_cli.errors import Cuts3dError, unwritable
from cuts3d_cli.store.checksums import sealed

HOST = socket.gethostname().replace(".", "-")
"""Process ids tell writers apart on one host only, and results may lie on a disk that many hosts share."""


def fingerprint(value: Any) -> str:
    """Short stable hash of a JSON-able value; equal content gives an equal fingerprint."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def digest_file(path: str | Path) -> str:
    """Hash of a file's content (blake2b, 20 hex digits)."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=10)).hexdigest()


def digest_weights(path: str | Path | None) -> str | None:
    """Hash of a weights file, or of the files of a model's folder; None where there is nothing or none is named.

    Of a large file some blocks spread over it count, as other weights differ everywhere: the hash is taken by
    every command that may use the weights.
    """
    if path is None:
        return None
    path = Path(path)
    if path.is_file():
        return _digest_blocks(path)
    if not path.is_dir():
        return None
    digests = [f"{file.name} {_digest_blocks(file)}" for file in sorted(path.iterdir()) if file.is_file()]
    return hashlib.blake2b("\n".join(digests).encode(errors="surrogatepass"), digest_size=10).hexdigest()


def _digest_blocks(path: Path, count: int = 64, block: int = 2**16) -> str:
    size = path.stat().st_size
    if size <= count * block:
        return digest_file(path)
    found = hashlib.blake2b(str(size).encode(), digest_size=10)
    with open(path, "rb") as file:
        for index in range(count):
            file.seek(index * (size - block) // (count - 1))
            found.update(file.read(block))
    return found.hexdigest()


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """A block that writes a file or folder: what the system says against it is told in one line that names the path.

    Raises:
        OutputError: the disk is full, it or the folder is read-only, or the like.
    """
    path = Path(path)
    try:
        yield
    except OSError as error:
        told = unwritable(error, path) if error.filename is None or _is_near(Path(error.filename), path) else None
        if told is None:
            raise
        raise told from None


def _is_near(other: Path, path: Path) -> bool:
    """Whether ``other`` is, or lies in, ``path`` or its temporary sibling, or is a folder above."""
    return other in path.parents or path.parent in other.parents


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary sibling of ``path`` to write to; move it into place when the block ends well.

    Works for files and folders, replaces what was there, and leaves nothing behind on an error. What a
    killed process left is swept away by the next writer of the same path on the same host.

    Raises:
        OutputError: it cannot be written, see `writing`.
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path)
        temporary = path.with_name(f"{_mark(path)}{os.getpid()}.tmp")
        try:
            yield temporary
            if path.is_dir():
                old = temporary.with_suffix(".old")
                os.replace(path, old)
                try:
                    os.replace(temporary, path)
                except BaseException:
                    os.replace(old, path)
                    raise
                remove(old)
            else:
                os.replace(temporary, path)
        finally:
            remove(temporary)


def remove(path: Path) -> None:
    """Delete a file or a folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any, *, indent: int | None = None) -> None:
    """Write a JSON object that is not empty atomically, with its checksum."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.writelines(sealed(json.dumps(value, indent=indent) + "\n"))


def _mark(path: Path) -> str:
    """Start of the names of what is written for ``path`` on this host; of a long name a hash stands in it."""
    name = path.name if len(os.fsencode(path.name)) <= 128 else fingerprint(path.name)
    return f".{name}.{HOST}."


def sweep(path: Path) -> None:
    """Remove what killed writers of ``path`` on this host left; a living writer's is kept."""
    for suffix in (".tmp", ".old"):
        for left in path.parent.glob(glob.escape(_mark(path)) + f"*{suffix}"):
            pid = left.name.split(".")[-2]
            if pid.isdigit() and int(pid) != os.getpid() and not _alive(int(pid)):
                remove(left)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def check_not_input(out: str | Path, option: str, inputs: Iterable[str | Path | None]) -> None:
    """Check that a file or folder to write is none of those read, and that none of them lies in it.

    Args:
        out: what will be replaced.
        option: what names it, for errors.
        inputs: what is read; None stands for nothing.

    Raises:
        Cuts3dError: it is one of them, or a folder around one.
    """
    target = Path(os.path.realpath(out))
    for path in inputs:
        if path is None:
            continue
        real = Path(os.path.realpath(path))
        if real == target or target in real.parents:
            where = "is read by the same command" if real == target else f"holds {path}, which the same command reads"
            raise Cuts3dError(f"{option} {out} {where}", expected="another path")
