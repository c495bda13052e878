"""Faults, injected while a stage of a small run works or before it; then the run goes on, and its masks are compared.

    python benchmarks/faults.py --n 30

Each injection starts from a finished run of five small images of the sample, takes away what the stage and all after it
made (or leaves the stage's own result), and injects one fault. Then all commands are run again, as the workflow would,
and what a message says is done: a file that it names is deleted, a command that it names is run. In the end the masks
(after train and predict the predictions) must be those of the undisturbed run, byte for byte; after faults of prepare
but for the ids of images, as one that was gone for a while is numbered anew.

Per stage and fault: how often it was injected; how often a command refused it with a message; how often it did not
have to, and the result was made again or was whole; how often the result was equal in the end; how often it was wrong:
another result without a word, a traceback, a run that no message helps on, or a half-written file that stays.

A full disk and a read-only one are a small disk in memory where such may be mounted (by root on Linux); else a limit on
the size of files, and folders without the right to write. What is injected follows from the seed, when a process is
killed also from the clock.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
from fault_run import STAGES, Ended, SmallRun, files_of

from cuts3d_cli.tables import markdown_table

Injection = Callable[[SmallRun, str, random.Random], list[Ended]]
"""Injects a fault into a stage of a run, and gives how the commands ended that it ran."""

COLUMNS = ("injected", "refused with a message", "recomputed or whole", "result equal", "wrong result")


@dataclass
class Row:
    """What became of the injections of a fault into a stage."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def cells(self) -> list[int]:
        """The numbers, in the order of `COLUMNS`."""
        return [self.counts[name] for name in COLUMNS]


def kill(run: SmallRun, stage: str, rng: random.Random) -> list[Ended]:
    """SIGKILL at a random moment."""
    return [run.command(stage, kill_after=rng.uniform(0, 1.2) * run.seconds[stage], force=True)]


def full_disk(run: SmallRun, stage: str, rng: random.Random) -> list[Ended]:
    """Between nothing and somewhat more than what the stage writes is free."""
    with run.full(int(rng.uniform(0, 1.2) * run.sizes[stage])) as limit:
        return [run.command(stage, force=True, setup=limit)]


def read_only(run: SmallRun, stage: str, rng: random.Random) -> list[Ended]:
    """The run's folder cannot be written."""
    with run.read_only():
        return [run.command(stage, force=True)]


def flipped_bit(run: SmallRun, stage: str, rng: random.Random) -> list[Ended]:
    """One bit of a file that the stage reads or wrote."""
    path = _file(run, stage, rng)
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return []


def truncated(run: SmallRun, stage: str, rng: random.Random) -> list[Ended]:
    """A file that the stage reads or wrote ends early."""
    path = _file(run, stage, rng)
    os.truncate(path, rng.randrange(path.stat().st_size))
    return []


def deleted(run: SmallRun, stage: str, rng: random.Random) -> list[Ended]:
    """A file that the stage reads or wrote is gone."""
    _file(run, stage, rng).unlink()
    return []


def image_vanishes(run: SmallRun, stage: str, rng: random.Random) -> list[Ended]:
    """An image is gone while the stage runs, and comes back."""
    path = _image(run, rng)
    aside = run.folder / "aside"
    path.rename(aside)
    ended = run.command(stage, force=True)
    aside.rename(path)
    return [ended]


def image_changes(run: SmallRun, stage: str, rng: random.Random) -> list[Ended]:
    """An image is another one while the stage runs."""
    with _exchanged(run, rng):
        return [run.command(stage, force=True)]


def two_at_once(run: SmallRun, stage: str, rng: random.Random) -> list[Ended]:
    """The command is run twice at the same time, or beside the next one."""
    following = [*run.chain, stage][run.chain.index(stage) + 1]
    return run.commands([stage, rng.choice([stage, following])], force=True)


def clock_back(run: SmallRun, stage: str, rng: random.Random) -> list[Ended]:
    """The times of all files are random, and an image that changes keeps its own."""
    now = time.time()
    for path in files_of(run.run):
        os.utime(path, (now, now + rng.uniform(-1e6, 1e6)))
    with _exchanged(run, rng, keep_times=True):
        return [run.command(name) for name in run.chain[: run.chain.index(stage) + 1]]


FAULTS: dict[str, Injection] = {
    "SIGKILL at a random moment": kill,
    "full disk": full_disk,
    "read-only output": read_only,
    "flipped bit": flipped_bit,
    "truncated file": truncated,
    "deleted file": deleted,
    "image vanishes": image_vanishes,
    "image changes": image_changes,
    "two commands at once": two_at_once,
    "clock jumps back": clock_back,
}
ON_FILES = (flipped_bit, truncated, deleted)


def _file(run: SmallRun, stage: str, rng: random.Random) -> Path:
    """A file of what the stage reads or wrote, one of an array of a store rather than one of metadata."""
    there = [path for path in [*run.inputs(stage), *run.results(stage)] if path.exists()]
    files = [file for file in files_of(rng.choice(there)) if file.stat().st_size]
    return rng.choice(files)


def _image(run: SmallRun, rng: random.Random) -> Path:
    return rng.choice(sorted(run.images.iterdir()))


@contextmanager
def _exchanged(run: SmallRun, rng: random.Random, *, keep_times: bool = False) -> Iterator[None]:
    """An image with the content of another one, and then its own again."""
    path, other = rng.sample(sorted(run.images.iterdir()), 2)
    own, stat = path.read_bytes(), path.stat()

    def write(content: bytes) -> None:
        path.write_bytes(content)
        if keep_times:
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    write(other.read_bytes())
    yield
    write(own)


def inject(run: SmallRun, stage: str, name: str, rng: random.Random, row: Row) -> None:
    """One injection, and going on from it."""
    fault = FAULTS[name]
    run.restore()
    own = stage == "prepare" or rng.random() < (0.5 if fault in ON_FILES else 0.25)
    run.remove_after(stage, own)
    during = fault(run, stage, rng)
    after = run.go_on(stage)
    ended = [*during, *after]
    problems = [f"traceback of {each.name}: {each.message}" for each in ended if each.crashed]
    if after[-1].code:
        problems.append(f"blocked: {after[-1].message}")
    elif not run.is_right(stage):
        problems.append("another result")
    problems += [f"left over: {path}" for path in run.left_over()]
    refused = any(each.refused for each in ended)
    row.counts["injected"] += 1
    row.counts["refused with a message" if refused else "recomputed or whole"] += 1
    row.counts["result equal"] += run.is_right(stage)
    row.counts["wrong result"] += bool(problems)
    row.problems += problems


def tables(rows: dict[tuple[str, str], Row]) -> str:
    """A table by stage and fault, and its sums by fault."""
    sums: dict[str, Row] = {}
    for (_, fault), row in rows.items():
        sums.setdefault(fault, Row()).counts.update(row.counts)
    return "\n\n".join(
        [
            markdown_table(["stage", "fault", *COLUMNS], [[*names, *row.cells()] for names, row in rows.items()]),
            markdown_table(["fault, all stages", *COLUMNS], [[fault, *row.cells()] for fault, row in sums.items()]),
        ]
    )


@click.command(help=__doc__)
@click.option("--n", default=30, show_default=True, help="Injections per stage, shared out among the faults.")
@click.option("--stage", "stages", multiple=True, type=click.Choice(STAGES), help="Stage; repeatable. Default: all.")
@click.option(
    "--fault", "faults", multiple=True, type=click.Choice(list(FAULTS)), help="Fault; repeatable. Default: all."
)
@click.option("--seed", default=0, show_default=True, help="What is injected follows from it.")
def main(n: int, stages: Sequence[str], faults: Sequence[str], seed: int) -> None:
    start, stages, faults = time.perf_counter(), stages or STAGES, faults or list(FAULTS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the disk is given back
    _load(stages)
    rows: dict[tuple[str, str], Row] = {}
    scratch = Path(tempfile.mkdtemp(prefix="cuts3d-faults-"))
    run = SmallRun(scratch, stages)
    try:
        for stage in stages:
            for number in range(n):
                name = faults[number % len(faults)]
                rng = random.Random(f"{seed} {stage} {name} {number}")
                row = rows.setdefault((stage, name), Row())
                before = len(row.problems)
                inject(run, stage, name, rng, row)
                for problem in row.problems[before:]:
                    click.echo(f"{stage}, {name}, injection {number}: {problem}", err=True)
            click.echo(f"{stage}: {n} injected, {time.perf_counter() - start:.0f} s", err=True)
    finally:
        run.close()
        shutil.rmtree(scratch)
    click.echo(f"{n} injections per stage, seed {seed}, {'a' if run.own_disk else 'no'} disk of its own")
    click.echo(tables(rows))
    wrong = sum(row.counts["wrong result"] for row in rows.values())
    injected = sum(row.counts["injected"] for row in rows.values())
    click.echo(f"{injected} injected, {wrong} wrong results; took {time.perf_counter() - start:.0f} s")
    sys.exit(bool(wrong))


def _load(stages: Sequence[str]) -> None:
    """Import what the commands need, once for all processes; nothing may start a thread, which a fork would lose."""
    import importlib

    from cuts3d_cli.cli.main import COMMANDS

    for name in (*COMMANDS, *(f"stages.{stage}" for stage in STAGES)):
        module = name.replace("-", "_")
        path = f"cuts3d_cli.{module}" if "." in module else f"cuts3d_cli.cli.{module}"
        if importlib.util.find_spec(path):
            importlib.import_module(path)
    import zarr  # noqa: F401

    from cuts3d_cli.backends import depth_files, features_kernel  # noqa: F401
    from cuts3d_cli.core import permutohedral  # noqa: F401

    if {"train", "predict"} & set(stages):
        from cuts3d_cli.detector import inference, training  # noqa: F401


if __name__ == "__main__":
    main()
