"""The number of threads of a process, set before the libraries are imported, and for BLAS in mask stages.

Workers times threads must not exceed the cores: several workers whose BLAS each takes all cores spin against one
another and are many times slower than one thread each. Snakemake gives each job its rule's ``threads`` as
``OMP_NUM_THREADS`` and ``OPENBLAS_NUM_THREADS``; what is missing here is what it does not know, and direct calls.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

BLAS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""Each replaces OMP_NUM_THREADS for its library."""

OPENCV = "OPENCV_FOR_THREADS_NUM"
"""OpenCV has threads of its own and does not read OMP_NUM_THREADS."""


BEFORE = dict(os.environ)
"""The environment before any limit, for a program that gives its own processes their threads."""

_asked: int | None = None
"""The threads that --threads gave."""


def n_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit(threads: int | None = None) -> None:
    """Set the threads of BLAS, OpenMP and OpenCV by environment; libraries that are loaded already keep theirs.

    Given a number, here or as OMP_NUM_THREADS, it holds for all of them, up to the number of cores. Without one,
    BLAS and OpenCV get one thread (the mask steps gain little from more, and shards are what runs in parallel),
    while networks keep the cores.

    Args:
        threads: threads of this process; None leaves it to the environment.
    """
    global _asked
    _asked = threads or _asked
    given = threads or _number("OMP_NUM_THREADS")
    if given is not None:
        os.environ["OMP_NUM_THREADS"] = str(min(given, n_cores()))
    for name in BLAS:
        if threads is not None:
            os.environ[name] = str(min(threads, n_cores()))
        elif (own := _number(name)) is not None:
            os.environ[name] = str(min(own, n_cores()))
    if given is None:
        # Not MKL's: torch would take it as the number for networks.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if threads is not None or OPENCV not in os.environ:
        os.environ[OPENCV] = str(min(given or 1, n_cores()))


@contextmanager
def environment(threads: int, **more: str) -> Iterator[None]:
    """The environment for processes of this many threads each, or of as many as were asked for by :func:`limit`.

    Args:
        threads: of each process.
        more: other variables.
    """
    values = dict.fromkeys(("OMP_NUM_THREADS", OPENCV, *BLAS), str(min(_asked or threads, n_cores()))) | more
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def for_masks() -> AbstractContextManager:
    """Hold BLAS to one thread, or to those asked for by :func:`limit`, whatever the environment says.

    The products of the mask stages are small: a second thread gains little, and where other work takes the cores
    the waiting threads of BLAS spin and make a stage many times slower. Libraries that are loaded later keep
    what the environment says.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(min(_asked or 1, n_cores()), user_api="blas")


def _number(name: str) -> int | None:
    """The positive number in an environment variable; OpenMP allows a list, whose first entry counts."""
    text = os.environ.get(name, "").split(",")[0].strip()
    return int(text) if text.isdigit() and int(text) > 0 else None
