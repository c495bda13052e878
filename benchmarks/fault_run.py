"""A small run to inject faults into: its commands as processes, and going on as a user would who reads the messages."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cuts3d_cli.config import resolve
from cuts3d_cli.pipeline.declarations import inputs_of
from cuts3d_cli.pipeline.graph import result_path
from cuts3d_cli.store.layout import manifest_path, predictions_path, pseudo_masks_path, round_path, shard_name
from cuts3d_cli.store.masks import read_masks

SAMPLE = Path(__file__).parents[1] / "sample/val"
SIZE_WH = (128, 96)
N_IMAGES = 5
SPACE_MB = 64

MASK_STAGES = ("prepare", "depth", "features", "spatial-importance", "localcut", "confidence", "crf", "merge")
STAGES = (*MASK_STAGES, "train", "predict")

ROUNDS = 8
"""How often a run is gone on with after a message, before it counts as blocked."""

SETTINGS = {
    "preset": "embedded",
    "depth": {"size": 96},
    "features": {"image_size": 96},
    "crf": {"image_size": 96, "iterations": 2},
    "localcut": {"tau_knn": 0.115},  # a grid of 12 x 12 has longer edges
    "confidence": {"tau_knn_min": 0.05},
    "train": {
        "iterations": 8, "batch_size": 2, "image_size": 64, "lr_steps": [6], "warmup_iterations": 2,
        "checkpoint_every": 2, "workers": 0,
    },
}  # fmt: skip

DETECTOR = """
from cuts3d_cli.detector.configs import embedded_cascade


def build(train):
    return embedded_cascade.build(train, width=8, channels=16, hidden=16, mask_convs=1)
"""

_NAMED = re.compile(r"(?:store|file|image list|masks|settings|training state|checkpoint) (\S+?)(?::|;| is | are )")
_RERUN = re.compile(r"rerun `cuts3d ([\w-]+)")


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its name, exit code (negative: killed by that signal), output, and seconds."""

    name: str
    code: int
    text: str
    seconds: float

    @property
    def refused(self) -> bool:
        """Whether it ended with a message of its own."""
        return self.code == 1 and self.message.startswith("cuts3d: error: ") and not self.crashed

    @property
    def crashed(self) -> bool:
        """Whether it ended otherwise than by its own will or a kill."""
        return self.code not in (0, 1, -signal.SIGKILL) or "Traceback" in self.text

    @property
    def message(self) -> str:
        """Its last line."""
        return self.text.strip().rpartition("\n")[2]


class SmallRun:
    """A run of a few small images, all its results at hand to start each injection from.

    Attributes:
        folder: where the run is while faults are injected; a disk of its own where that is allowed.
        own_disk: whether it is one.
        seconds: what each stage took, undisturbed.
        sizes: bytes that each stage wrote.
    """

    def __init__(self, scratch: Path, stages: Sequence[str]):
        self.folder, self._base, self._log = scratch / "work", scratch / "base", scratch / "log"
        self.folder.mkdir(parents=True)
        self.own_disk = _mounted(self.folder)
        self.run, self.images = self.folder / "run", self.folder / "images"
        self._config_file = self.folder / "mine.yaml"
        self.chain = [stage for stage in STAGES if stage in MASK_STAGES or {"train", "predict"} & set(stages)]
        self._write_material()
        self.config = resolve(yaml.safe_load(self._config_file.read_text()))
        self.seconds, self.sizes = {}, {}
        for stage in self.chain:
            ended = self.command(stage)
            if ended.code:
                raise RuntimeError(f"{stage} without any fault: {ended.text}")
            self.seconds[stage] = ended.seconds
            self.sizes[stage] = sum(file.stat().st_size for path in self.results(stage) for file in files_of(path))
        shutil.copytree(self.folder, self._base, symlinks=True)

    def close(self) -> None:
        """Give the disk back."""
        if self.own_disk:
            subprocess.run(["umount", self.folder], check=True)

    def restore(self) -> None:
        """Make the undisturbed run of it again."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self._base, self.folder, dirs_exist_ok=True)

    def results(self, stage: str) -> list[Path]:
        """What a stage writes."""
        if stage == "prepare":
            return [manifest_path(self.run)]
        if stage == "merge":
            return [pseudo_masks_path(self.run, "cuts3d")]
        if stage == "train":
            return [round_path(self.run, 0)]
        return [predictions_path(self.run, 0) if stage == "predict" else result_path(self.run, stage, shard_name(0))]

    def inputs(self, stage: str) -> list[Path]:
        """What a stage reads of the results of others."""
        if stage == "prepare":
            return []
        if stage == "train":
            return self.results("merge")
        before = {"merge": ["crf"], "predict": ["train"]}
        names = before.get(stage) or inputs_of(stage, self.config)
        return [path for name in ("prepare", *names) for path in self.results(name)]

    def remove_after(self, stage: str, own: bool) -> None:
        """Remove the results of all stages after one, and its own."""
        for name in self.chain[self.chain.index(stage) + own :]:
            for path in self.results(name):
                remove(path)

    def is_right(self, stage: str) -> bool:
        """Whether the masks (of a detector: its predictions) are what they are without faults, byte for byte.

        Where the image list is made again, but for the ids: an image that was gone has a new one when it is back.
        """
        (path,) = self.results(last_of(stage))
        base = self._base / path.relative_to(self.folder)
        if not path.is_file():
            return False
        return path.read_bytes() == base.read_bytes() or (stage == "prepare" and _by_name(path) == _by_name(base))

    def left_over(self) -> list[Path]:
        """Temporary files and folders that nobody writes to any more."""
        return [path for path in self.run.rglob(".*") if path.suffix in (".tmp", ".old")]

    def words(self, stage: str, *, force: bool = False) -> list[str]:
        """The command line of a stage."""
        masks, (detector,) = self.results("merge")[0], self.results("train")
        options: dict[str, list[object]] = {
            "prepare": [self.images, "--run", self.run],
            "merge": ["--run", self.run],
            "train": ["--config", self._config_file, "--annotations", masks, "--out", detector],
            "predict": ["--config", self._config_file, "--run", self.run, "--checkpoint", detector / "checkpoint.pth",
                        "--out", *self.results("predict")],
        }  # fmt: skip
        found = options.get(stage, ["--config", self._config_file, "--run", self.run])
        again = {"prepare": [], "merge": [], "predict": [], "train": ["--fresh"]}.get(stage, ["--force"])
        return [stage, *map(str, found), *(again if force else [])]

    def command(self, stage: str, *, kill_after: float | None = None, force: bool = False, setup=None) -> Ended:
        """Run a stage's command to its end, or kill it after some seconds."""
        return self.commands([stage], kill_after=kill_after, force=force, setup=setup)[0]

    def commands(
        self,
        stages: Sequence[str],
        *,
        kill_after: float | None = None,
        force: bool = False,
        setup: Callable[[], None] | None = None,
    ) -> list[Ended]:
        """Run commands at once, each in a process that is forked from this one, which has all libraries loaded."""
        start = time.monotonic()
        logs = [self._log.with_suffix(f".{number}") for number in range(len(stages))]
        pids = [
            self._forked(self.words(stage, force=force), log, setup) for stage, log in zip(stages, logs, strict=True)
        ]
        if kill_after is not None:
            time.sleep(kill_after)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)  # one that has ended is still there, as nobody has waited for it
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        seconds = time.monotonic() - start
        return [
            Ended(stage, code, log.read_text(errors="replace"), seconds)
            for stage, code, log in zip(stages, codes, logs, strict=True)
        ]

    def _forked(self, words: Sequence[str], log: Path, setup: Callable[[], None] | None) -> int:
        from cuts3d_cli.cli.main import main

        if pid := os.fork():
            return pid
        code = 99
        try:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.chdir(self.folder)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the parent's would end its own work
            if setup is not None:
                setup()
            try:
                main(words)
                code = 0
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def go_on(self, stage: str) -> list[Ended]:
        """Run the commands that lead to the last result; where one refuses to, do what it says and begin again."""
        ended: list[Ended] = []
        for _ in range(ROUNDS):
            for name in self.chain[: self.chain.index(last_of(stage)) + 1]:
                ended.append(self.command(name))
                if ended[-1].code:
                    break
            else:
                break
            if not self._follow(ended[-1]):
                break
        return ended

    def _follow(self, ended: Ended) -> bool:
        """Do what a message says: delete the file that it names, or run the command that it names."""
        what, _, hint = ended.message.partition(" -> ")
        named = _NAMED.search(what)
        if "delete" in hint and named and Path(named[1]).exists():
            remove(Path(named[1]))
            return True
        if (command := _RERUN.search(hint)) and command[1] in self.chain:
            self.command(command[1], force=True)
            return True
        return False

    @contextlib.contextmanager
    def full(self, free: int) -> Iterator[Callable[[], None]]:
        """Leave so many bytes free; without a disk of its own, files may not be larger. Gives what a process calls."""
        if not self.own_disk:
            import resource

            yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (max(free, 1), resource.RLIM_INFINITY))
            return
        filler = self.folder / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(4096, shutil.disk_usage(self.folder).free - free))
        yield lambda: None
        filler.unlink()

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """Nothing below the folder can be written."""
        if self.own_disk:
            subprocess.run(["mount", "-o", "remount,ro", self.folder], check=True)
        else:
            _set_writable(self.run, False)
        try:
            yield
        finally:
            if self.own_disk:
                subprocess.run(["mount", "-o", "remount,rw", self.folder], check=True)
            else:
                _set_writable(self.run, True)

    def _write_material(self) -> None:
        """Some images of the sample with their depth, made small, and the configuration."""
        from PIL import Image

        from cuts3d_cli.store.image_files import find_images

        for path in find_images(SAMPLE / "images")[:N_IMAGES]:
            depth = next((SAMPLE / "depth").glob(f"{path.stem}.*"))
            for source, folder, how in (
                (path, self.images, Image.Resampling.BILINEAR),
                (depth, self.folder / "depth", Image.Resampling.NEAREST),
            ):
                folder.mkdir(exist_ok=True)
                Image.open(source).resize(SIZE_WH, how).save(folder / f"{source.stem}.png")
        detector = self.folder / "small_detector.py"
        detector.write_text(DETECTOR)
        values = {**SETTINGS, "run": str(self.run)}
        values["data"] = {"images": str(self.images), "depth_maps": str(self.folder / "depth")}
        values["train"] = {**SETTINGS["train"], "detector": str(detector)}
        self._config_file.write_text(yaml.safe_dump(values))


def _by_name(path: Path) -> tuple[Any, ...]:
    """What a mask file says of its images, without any ids."""
    masks = read_masks(path)
    found = masks.by_image()
    images = [
        ({**image, "id": 0}, [{**entry, "id": 0, "image_id": 0} for entry in found[image["id"]]])
        for image in masks.images
    ]
    return images, masks.counts, masks.provenance.config


def last_of(stage: str) -> str:
    """The stage whose result is compared: that of the masks, or of the detector."""
    return "merge" if stage in MASK_STAGES else "predict"


def files_of(path: Path) -> list[Path]:
    """The files below a path, or the file itself."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def remove(path: Path) -> None:
    """Delete a file or folder, if it is there."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _mounted(folder: Path) -> bool:
    """Mount a small disk in memory, where this is allowed."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={SPACE_MB}m", "tmpfs", folder]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _set_writable(folder: Path, writable: bool) -> None:
    for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        path.chmod(0o755 if writable else 0o555)
