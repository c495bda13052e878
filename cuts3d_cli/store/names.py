"""Names of results that follow from the names of images: safe on every file system, and different for each image."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from cuts3d_cli.errors import Cuts3dError, printable

LONGEST_PART = 180
"""Bytes of a file's name that are kept: file systems hold 255, and endings and temporary names are added."""

LONGEST_NAME = 1000
"""Bytes of a relative path that are kept: systems take 4096, and the path of the output folder comes before it."""

RESERVED = ("cuts3d-output", "objects.csv")
"""Names, without ``.json``, of what results have beside those of the images."""


def distinct_names(file_names: Sequence[str]) -> list[PurePosixPath]:
    """What the results of each image are called, below any folder: its name without suffix, subfolders kept.

    Names keep the suffix where they would be one without it, or one of `RESERVED`; ``..`` and a leading ``/`` are
    dropped. What is too long or holds control characters is cut or replaced, see `safe_part`.

    Raises:
        Cuts3dError: two images have one name, or one has none.
    """
    inside = [PurePosixPath(*(p for p in PurePosixPath(name).parts if p not in ("/", ".."))) for name in file_names]
    if "" in (bare := [path.name for path in inside]):
        raise Cuts3dError("image", expected="the name of a file", found=repr(file_names[bare.index("")]))
    repeated = [str(name) for name, n in Counter(inside).items() if n > 1]
    if repeated:
        raise Cuts3dError(f"two images are called {repeated[0]}", expected="a name of its own for each image")
    names = [name.with_suffix("") for name in inside]
    while True:
        taken = Counter([*(str(name).lower() for name in names), *RESERVED])
        clear = [full if taken[str(name).lower()] > 1 else name for name, full in zip(names, inside, strict=True)]
        if clear == names:  # names that differ in capitals alone have nothing more to tell them apart
            return [_safe(name) for name in names]
        names = clear


def safe_part(name: str) -> str:
    """A file's name, or a folder's, as it can be written everywhere.

    A name that is short and printable stays as it is. Of any other, control characters and what is no UTF-8 become
    ``_``, what is too long is cut, and a hash of the whole name keeps it apart from others that look the same then.
    """
    clean = "".join(char if printable(char) == char else "_" for char in name)
    if clean == name and len(name.encode()) <= LONGEST_PART:
        return name
    kept = clean.encode()[: LONGEST_PART - 9].decode(errors="ignore")
    return f"{kept}-{_hash(name)}"


def _safe(path: PurePosixPath) -> PurePosixPath:
    safe = PurePosixPath(*map(safe_part, path.parts))
    if len(str(safe).encode()) <= LONGEST_NAME:
        return safe
    return PurePosixPath(_hash(str(path.parent)), safe.name)


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=4).hexdigest()
