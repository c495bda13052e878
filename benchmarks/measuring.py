"""What the benchmark commands share: fresh processes, peak memory, time by function, a table, and images."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cuts3d_cli import threads as thread_limits
from cuts3d_cli.config import Config, merge_values, read_values, resolve

ROOT = Path(__file__).parents[1]


def in_child(function: Callable, *args: Any, threads: int = 1) -> Any:
    """Result of ``function(*args)`` in a fresh process whose BLAS, OpenMP and OpenCV have ``threads`` threads."""
    before = dict(os.environ)
    os.environ.update(thread_environment(threads))
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(function, *args).result()
    finally:
        os.environ.clear()
        os.environ.update(before)


def thread_environment(threads: int) -> dict[str, str]:
    """What a process reads its number of threads from; threads that wait sleep, as under ``cuts3d``."""
    names = ("OMP_NUM_THREADS", *thread_limits.BLAS, thread_limits.OPENCV)
    return dict.fromkeys(names, str(threads)) | {"OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(frozen=True)
class Ended:
    """A finished command: seconds, its peak memory in GB, and seconds of the processor."""

    seconds: float
    peak_gb: float
    cpu_seconds: float


def cuts3d(*words: object, threads: int = 1) -> Ended:
    """Run a ``cuts3d`` command as a process of its own.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", "cuts3d_cli.cli.main", "-q", *map(str, words)]
    start = time.perf_counter()
    process = subprocess.Popen(command, env=os.environ | thread_environment(threads))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    return Ended(time.perf_counter() - start, peak, usage.ru_utime + usage.ru_stime)


def reset_peak() -> None:
    """Let `peak_gb` count from here, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_gb() -> float:
    """Largest resident memory of this process since `reset_peak`, in GB.

    Not ``ru_maxrss``: Linux hands it on from the parent to a child.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9


_ASIDE = threading.Lock()


class Stopwatch:
    """Time spent in functions, each without the watched ones it calls, by label.

    Attributes:
        seconds: label to seconds.
        calls: label to the seconds of every single call, callees included.
        peaks: label to the largest memory of the process meanwhile, watched callees left out, in GB; with ``memory``.
        aside: label to seconds that are among those of ``seconds`` too, in any thread; see `watching_aside`.

    With ``cpu`` all seconds are of the processor, those of other threads included.
    """

    def __init__(self, memory: bool = False, cpu: bool = False) -> None:
        self.memory = memory
        self._clock = time.process_time if cpu else time.perf_counter
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, list[float]] = {}
        self.peaks: dict[str, float] = {}
        self.aside: dict[str, float] = {}
        self._aside_clock = time.thread_time if cpu else time.perf_counter
        self._inner = [0.0]
        self._open: list[str] = []

    @contextlib.contextmanager
    def part(self, label: str) -> Iterator[None]:
        """Count the block under a label."""
        self._note_peak()
        self._open.append(label)
        self._inner.append(0.0)
        start = self._clock()
        try:
            yield
        finally:
            whole = self._clock() - start
            self._note_peak()
            self._open.pop()
            self.seconds[label] = self.seconds.get(label, 0.0) + whole - self._inner.pop()
            self.calls.setdefault(label, []).append(whole)
            self._inner[-1] += whole

    @contextlib.contextmanager
    def watching(self, *watched: tuple[Any, str, str]) -> Iterator[None]:
        """Count calls of functions: (module or class that looks the name up, name, label)."""
        with _replaced(self.timed, watched):
            yield

    @contextlib.contextmanager
    def watching_aside(self, *watched: tuple[Any, str, str]) -> Iterator[None]:
        """Count calls of functions that call none of each other, in any thread, without taking them from the parts."""
        with _replaced(self._timed_aside, watched):
            yield

    def timed(self, function: Callable, label: str) -> Callable:
        """The function with a clock on it; a class stands for its constructor."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.part(label):
                return function(*args, **kwargs)

        return call

    def _timed_aside(self, function: Callable, label: str) -> Callable:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            start = self._aside_clock()
            try:
                return function(*args, **kwargs)
            finally:
                with _ASIDE:
                    self.aside[label] = self.aside.get(label, 0.0) + self._aside_clock() - start

        return call

    def _note_peak(self) -> None:
        if self.memory and self._open:
            label = self._open[-1]
            self.peaks[label] = max(self.peaks.get(label, 0.0), peak_gb())
        if self.memory:
            reset_peak()


@contextlib.contextmanager
def _replaced(
    with_clock: Callable[[Callable, str], Callable], watched: Sequence[tuple[Any, str, str]]
) -> Iterator[None]:
    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in watched]
    for (owner, name, label), (_, _, original) in zip(watched, kept, strict=True):
        setattr(owner, name, with_clock(original, label))
    try:
        yield
    finally:
        for owner, name, original in kept:
            setattr(owner, name, original)


def seconds_of(function: Callable, *args: Any, **kwargs: Any) -> tuple[float, Any]:
    """Seconds of a call, and its result."""
    start = time.perf_counter()
    result = function(*args, **kwargs)
    return time.perf_counter() - start, result


def median(values: Sequence[float]) -> float:
    """Median; NaN of nothing."""
    return statistics.median(values) if values else float("nan")


@dataclass(frozen=True)
class Picture:
    """An image to measure on: its name, (H, W, 3) uint8 and (H, W) float32 depth in [0, 1]."""

    name: str
    rgb: np.ndarray
    depth: np.ndarray


def configuration(path: Path | None) -> Config:
    """The defaults with the paper's three attempts per image, overridden by a YAML file, whose images are used."""
    return resolve(merge_values({"localcut": {"n_instances": 3}}, read_values(path) if path else {}))


def image_names(config: Config, n: int) -> list[str]:
    """The first n images of ``data.images``."""
    from cuts3d_cli.store.image_files import find_images

    root = Path(config.data.images)
    return [path.relative_to(root).as_posix() for path in find_images(root)][:n]


def picture_of(name: str, config: Config) -> Picture:
    """One of the images, with its depth as the depth stage stores it."""
    from cuts3d_cli.backends.depth_files import depth_of_image
    from cuts3d_cli.store.images import read_image

    root = Path(config.data.images)
    depth = depth_of_image(name, root, config.data.depth_maps, config.depth).depth
    return Picture(name, read_image(root / name), depth)


def prepared_run(folder: Path, names: Sequence[str], config: Config, n_shards: int) -> Path:
    """A run of copies of images, ``name`` after ``name`` (one may be there several times), with its manifest.

    Their depth maps are copied to ``depth-maps`` where the configuration names a folder of them.
    """
    from cuts3d_cli.stages import prepare

    folders = (("images", config.data.images), ("depth-maps", config.data.depth_maps))
    for sub, source in ((sub, source) for sub, source in folders if source is not None):
        (folder / sub).mkdir(parents=True)
        for number, name in enumerate(names):
            path = next(iter(sorted(Path(source).glob(Path(name).with_suffix("").as_posix() + ".*"))))
            shutil.copy(path, folder / sub / f"{number:04d}{path.suffix}")
    prepare.run(folder / "images", folder / "manifest.jsonl", n_shards=n_shards)
    return folder


def drawn_picture(seed: int = 0, size: int = 480) -> Picture:
    """Coloured discs of random place, colour, size and depth before a wall, with noise."""
    rng = np.random.default_rng(seed)
    rgb = np.full((size, size, 3), rng.uniform(90, 200, 3))
    depth = np.full((size, size), 1.0, np.float32)
    y, x = np.mgrid[:size, :size] / size
    for z in np.linspace(0.7, 0, 6):
        (cy, cx), radius = rng.uniform(0.15, 0.85, 2), rng.uniform(0.08, 0.18)
        disc = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        rgb[disc], depth[disc] = rng.uniform(0, 255, 3), z
    rgb += rng.normal(0, 4, rgb.shape)
    return Picture("drawn", np.clip(rgb, 0, 255).astype(np.uint8), depth)
