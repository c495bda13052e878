"""Single images in parallel processes, each of which loads a model once."""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuts3d_cli.config import Config
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.log import logger, notices
from cuts3d_cli.pipeline.cache import CACHE, ImageFile, ImageResult, run_image
from cuts3d_cli.pipeline.declarations import LAST
from cuts3d_cli.pipeline.runner import NOT_OF_AN_IMAGE
from cuts3d_cli.threads import environment, n_cores

NO_LEAKS = "ignore:resource_tracker:UserWarning"
"""Filter of a warning: locks of a process that is killed are cleared away, and that needs no mention."""


@dataclass(frozen=True)
class Outcome:
    """What became of an image.

    Attributes:
        result: its stages; None where it failed.
        made: what was made of the result.
        failure: why it failed, in one line.
        depth: what there is to say of its depth, keys of `depth_notes.WORDS`.
        missing_depth: fraction of its depth without a reading.
    """

    result: ImageResult | None = None
    made: Any = None
    failure: str = ""
    depth: tuple[str, ...] = ()
    missing_depth: float = 0.0


@dataclass(frozen=True)
class Work:
    """What is done with every image.

    Attributes:
        config: the configuration.
        depth_map: folder of depth maps, the map of a single image, or None for maps beside the images.
        cache: the cache's folder.
        then: makes something of an image's result and what is given with the image, where the image was worked on.
    """

    config: Config
    depth_map: Path | None = None
    cache: Path = CACHE
    then: Callable[[ImageResult, Any], Any] = lambda result, given: None

    def on(self, file: ImageFile, given: Any) -> Outcome:
        """Bring an image to its masks.

        Raises:
            ConfigError, ModelError: no image can be worked on.
        """
        try:
            depth_map = file.depth_maps(self.depth_map)
            result = run_image(LAST, file.path, self.config, depth_map=depth_map, cache=self.cache)
            made = self.then(result, given)
            return Outcome(result, made, depth=tuple(result.depth_notes), missing_depth=result.missing_depth)
        except NOT_OF_AN_IMAGE:
            raise
        except Cuts3dError as error:
            return Outcome(failure=str(error))


def run_images(
    files: Sequence[ImageFile], given: Sequence[Any], work: Work, *, cores: int | None = None
) -> Iterator[tuple[int, Outcome]]:
    """Bring images to their masks, each with its place in ``files``, as they are finished.

    A worker process that is not needed any more, on an error or Ctrl-C, is ended at once; what it had finished lies in
    the cache.

    Args:
        files: the images.
        given: handed to ``work.then`` with each image.
        work: what is done; its ``then`` must be a function of a module, or a partial of one, if ``cores`` is not 1.
        cores: cores to use, a process each; None for all.

    Raises:
        Cuts3dError: no image can be worked on, or a process died.
    """
    cores = min(cores or n_cores(), n_cores())
    processes = min(cores, len(files))
    if processes <= 1:
        yield from ((place, work.on(*job)) for place, job in enumerate(zip(files, given, strict=True)))
        return
    context = multiprocessing.get_context("spawn")  # a forked process may not use torch or OpenMP of its parent
    before = set(multiprocessing.active_children())
    with _interrupts_ignored(), environment(max(1, cores // processes), PYTHONWARNINGS=NO_LEAKS):  # all inherited
        messages = context.Queue()
        pool = ProcessPoolExecutor(processes, context, _start, (work, messages, logger.level, notices.level))
        futures = {pool.submit(_run, *job): place for place, job in enumerate(zip(files, given, strict=True))}
    listener = logging.handlers.QueueListener(messages, _Once())
    try:
        listener.start()
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenExecutor:
        raise Cuts3dError(
            "a worker process died", expected="enough memory for each",
            hint="run the same command with fewer --cores; finished images are kept",
        ) from None  # fmt: skip
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.kill()
        messages.cancel_join_thread()
        raise
    else:
        pool.shutdown()
        listener.stop()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


_work: Work
"""Of a worker process: what is done with every image."""


def _start(work: Work, messages: Any, level: int, notices_level: int) -> None:
    """Set up a worker process."""
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logger.handlers[:] = [logging.handlers.QueueHandler(messages)]
    logger.propagate = False
    logger.setLevel(level)
    notices.setLevel(notices_level)


def _run(file: ImageFile, given: Any) -> Outcome:
    return _work.on(file, given)


def _end_with_parent() -> None:
    """End this process when the parent was killed: nobody would take its results."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _Once(logging.Handler):
    """Hands each message on once: every process says where its weights are from."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self._said:
            self._said.add(message)
            logger.handle(record)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Start processes that ignore Ctrl-C from their first moment on."""
    if threading.current_thread() is not threading.main_thread():  # only there may it be changed
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
