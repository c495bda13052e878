"""Logging set-up and progress: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from cuts3d_cli.errors import printable

logger = logging.getLogger("cuts3d")

notices = logging.getLogger("cuts3d.notices")
"""For what is said even while a stage runs quietly: where weights and depth come from."""


class _Formatter(logging.Formatter):
    def __init__(self, shown: Callable[[str], str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
        self._shown = shown

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = self._shown(record.message)
        return super().formatMessage(record)


def setup(verbosity: int = 0, shown: Callable[[str], str] = printable) -> None:
    """Send messages to stderr: warnings at -1 (``-q``), progress at 0, details at 1 (``-v``).

    Args:
        verbosity: -1, 0 or 1.
        shown: gives each message as it is written, in one line whatever the names of files in it hold.
    """
    level = {-1: logging.WARNING, 0: logging.INFO}.get(verbosity, logging.DEBUG)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(shown))
    logger.handlers[:] = [handler]
    _said.clear()
    logger.propagate = False
    logger.setLevel(level)
    notices.setLevel(level)


_said: set[str] = set()
"""What this command has said already."""


def say_once(level: int, message: str) -> None:
    """Say something that is found more than once in a command, such as by every look into a folder, the first time."""
    if message not in _said:
        _said.add(message)
        logger.log(level, "%s", message)


def info_once(message: str) -> None:
    """`say_once` what is no warning."""
    say_once(logging.INFO, message)


@contextmanager
def quiet() -> Iterator[None]:
    """Say nothing below an error for a while, unless details are wanted (``-v``)."""
    level = logger.level
    if level > logging.DEBUG:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def progress(items: Iterable, label: str, total: int, every_s: float = 10.0) -> Iterator:
    """Yield ``items`` while showing how far along they are and how long the rest takes.

    On a terminal a tqdm bar; otherwise a line at most every ``every_s`` seconds and one at the end. The time of an item
    is the mean over all but the first, which waits for models to load and processes to start.
    """
    if sys.stderr.isatty() and logger.isEnabledFor(logging.INFO):
        from tqdm import tqdm

        with tqdm(desc=label, total=total, leave=False, smoothing=0) as bar:
            for item in items:
                yield item
                bar.update()
                if bar.n == 1 < total:
                    bar.initial, bar.start_t = 1, time.time()
        return
    start = last = first = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if done == 1:
            first = now
        if now - last >= every_s or done == total:
            last = now
            each = (now - first) / (done - 1) if done > 1 else now - start
            pace = f", {each:.2f} s each" if done > 1 or total == 1 else ""
            left = f", about {duration(each * (total - done))} left" if 1 < done < total else ""
            logger.info("%s: %d/%d%s%s", label, done, total, pace, left)


def duration(seconds: float) -> str:
    """A time in the unit in which it has at most three digits: 50 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
