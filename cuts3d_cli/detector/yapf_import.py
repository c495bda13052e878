"""Import yapf, which MMEngine needs, so that processes that start together do not harm each other.

On import, yapf reads its grammar from a pickle in the user's cache directory, or writes it. It renames
the file into place before its last bytes are written (yapf 0.43, ``Grammar.dump``), so a second process
that starts at the same moment, as under ``torchrun`` or in a Slurm array, reads half a pickle and dies
with ``EOFError``. A file left so by a killed process would fail every later start. Building the grammar
takes 40 ms; we do without the file.
"""

from __future__ import annotations

import os
import sys

import platformdirs


def without_cache() -> None:
    """Import yapf with neither reading nor writing its cache; nothing where it is imported already."""
    if "yapf" in sys.modules:
        return
    user_cache_dir = platformdirs.user_cache_dir
    # No file can be below the null device; yapf takes both failures for a cache that is not there yet.
    platformdirs.user_cache_dir = lambda *_args, **_kwargs: os.devnull
    try:
        import yapf  # noqa: F401
    finally:
        platformdirs.user_cache_dir = user_cache_dir
