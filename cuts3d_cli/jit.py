"""Functions that numba compiles when their module is first imported, kept on disk for the next process.

numba's own cache is safe with several processes as long as all of them store the same under one name. They do not
where the source, numba's version or the kind of processor changes (a home shared by the nodes of a cluster): so each
combination has a folder of its own. Where no folder can be written, every process compiles for itself.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import pickle
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numba
from llvmlite import binding as llvm
from numba.core import config
from numba.misc.appdirs import AppDirs

logger = logging.getLogger("cuts3d")

SAY_AFTER_S = 1.0

_spent_s = [0.0]

UNUSABLE = (OSError, RuntimeError, EOFError, pickle.UnpicklingError)
"""What a cache raises that cannot be written or is damaged."""


def compiled(signature: str) -> Callable[[Callable], Callable]:
    """Decorator: compile a function for one signature, or load it from disk.

    It runs without the interpreter's lock and checks neither bounds nor divisions by zero. Sums keep their order and
    products their rounding, so that every processor gives the same numbers.
    """
    options = {"nogil": True, "error_model": "numpy"}

    def decorate(function: Callable) -> Callable:
        with _saying_if_slow():
            folder = cache_folder(Path(function.__code__.co_filename))
            if folder is not None:
                given, config.CACHE_DIR = config.CACHE_DIR, str(folder)
                try:
                    return numba.njit(signature, cache=True, **options)(function)
                except UNUSABLE as error:
                    logger.debug("cache of compiled functions %s: %s", folder, error)
                finally:
                    config.CACHE_DIR = given
            return numba.njit(signature, **options)(function)

    return decorate


def cache_folder(source: Path) -> Path | None:
    """Where the functions of a source file are kept: under NUMBA_CACHE_DIR where it is set, else beside the source or
    in the user's cache, whichever can be written; None: nowhere."""
    system = (numba.__version__, llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())
    try:
        name = hashlib.blake2b(source.read_bytes() + repr(system).encode(), digest_size=8).hexdigest()
    except OSError:
        return None
    own = [source.parent / "__pycache__", Path(AppDirs("cuts3d", appauthor=False).user_cache_dir)]
    for folder in [Path(config.CACHE_DIR)] if config.CACHE_DIR else own:
        try:
            (folder / f"numba-{name}").mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder / f"numba-{name}").close()
        except OSError:
            continue
        return folder / f"numba-{name}"
    return None


@contextmanager
def _saying_if_slow() -> Iterator[None]:
    """Log a line, once, when all such blocks together have taken `SAY_AFTER_S`."""
    timer = threading.Timer(max(0.0, SAY_AFTER_S - _spent_s[0]), _say)
    timer.daemon = True
    start = time.perf_counter()
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        _spent_s[0] += time.perf_counter() - start


@functools.cache
def _say() -> None:
    logger.info("compiling for this processor, once; this takes a few seconds and is cached")
