"""What happens around the iterations of a training: seeds, the loss curve, progress, resuming."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from torch import nn

from cuts3d_cli.detector import checkpoints, distributed
from cuts3d_cli.detector.dataset import derived_seed
from cuts3d_cli.detector.loggers import Logger
from cuts3d_cli.detector.runner import unwrapped
from cuts3d_cli.errors import Cuts3dError, ModelError
from cuts3d_cli.log import logger
from cuts3d_cli.store.curve import read_curve
from cuts3d_cli.store.files import atomic_path, writing

STATE = frozenset({"fingerprint", "iteration", "model", "optimizer", "schedulers"})
"""What the state of a training holds."""

CURVE_POINTS = 5000
"""Most lines of a loss curve; a longer training records every k-th iteration."""


@HOOKS.register_module()
class SeedHook(Hook):
    """Reseeds torch for each iteration, so that a resumed training draws the same numbers as an uninterrupted one."""

    def __init__(self, seed: int):
        self.seed = seed

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed from seed, iteration and, past the first, the number of the process."""
        process = [distributed.get_rank()] if distributed.get_rank() else []
        torch.manual_seed(derived_seed(self.seed, batch_idx, 1, *process))


@HOOKS.register_module()
class CurveHook(Hook):
    """Appends the losses to a JSON-lines file, shows progress, and stops a training that diverges.

    A line holds ``iteration`` (from 1), ``lr`` and every loss. Lines past the iteration a training
    resumes from, and what a kill left half-written, are cut off first, so the curve is that of an
    undisturbed training.

    Args:
        path: the file.
        total: iterations of the whole training.
        every_s: seconds between progress lines.
        loggers: what takes the points too.
    """

    priority = "NORMAL"  # before the scheduler sets the next learning rate

    def __init__(self, path: str, total: int, every_s: float = 10.0, loggers: Sequence[Logger] = ()):
        self.path, self.total, self.every_s, self.loggers = Path(path), total, every_s, loggers
        self.step = max(1, math.ceil(total / CURVE_POINTS))

    def before_train_epoch(self, runner) -> None:
        """Cut the curve to the iteration the training starts from; the first process writes it."""
        if not distributed.is_main_process():
            return
        lines = [point for point in read_curve(self.path) if point["iteration"] <= runner.iter]
        with atomic_path(self.path) as temporary:
            temporary.write_text("".join(json.dumps(point) + "\n" for point in lines))
        self._file = self.path.open("a")
        self._first, self._began = runner.iter, time.monotonic()
        self._shown = self._began
        self._bar = _bar(self.total, runner.iter)

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None) -> None:
        """Record the losses of an iteration.

        Raises:
            Cuts3dError: the loss is not finite.
        """
        losses = {key: value.item() for key, value in outputs.items()}
        bad = [key for key, value in losses.items() if not math.isfinite(value)]
        done = batch_idx + 1
        if bad:
            raise Cuts3dError(
                f"training diverged at iteration {done}: {bad[0]} is {losses[bad[0]]}",
                hint="lower train.lr or increase train.warmup_iterations",
            )
        if not distributed.is_main_process():
            return
        if done % self.step == 0 or done == self.total:
            lr = runner.optim_wrapper.get_lr()["lr"][0]
            point = {"iteration": done, "lr": lr, **{key: round(value, 6) for key, value in losses.items()}}
            with writing(self.path):
                self._file.write(json.dumps(point) + "\n")
                self._file.flush()
            for each in self.loggers:
                each.write(point)
        self._show(done, losses["loss"])

    def after_train_epoch(self, runner, metrics: Any = None) -> None:
        """Close the file."""
        if not distributed.is_main_process():
            return
        self._file.close()
        if self._bar is not None:
            self._bar.close()

    def _show(self, done: int, loss: float) -> None:
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            self._bar.update()
            return
        now = time.monotonic()
        if now - self._shown >= self.every_s or done == self.total:
            self._shown = now
            each = (now - self._began) / (done - self._first)
            logger.info("train: %d/%d, loss %.3f, %.2f s each", done, self.total, loss, each)


@HOOKS.register_module()
class StateHook(Hook):
    """Saves the state of a training and puts it back: weights, momentum, schedule, iteration.

    Random numbers need no state: they follow from seed and iteration (:class:`SeedHook`,
    ``TrainingStream``). The file loads under ``weights_only``.

    Args:
        path: the file.
        every: iterations between two saves.
        fingerprint: of everything the training depends on.
        state: a state read by :func:`read_state` to go on from.
        init: weights to start from when there is no state.
        start: puts them into the model and says which part they filled.
    """

    priority = "VERY_LOW"  # after the scheduler

    def __init__(
        self,
        path: str,
        every: int,
        fingerprint: str,
        state: dict[str, Any] | None = None,
        init: str | None = None,
        start: Callable[[nn.Module, str], str] = checkpoints.start_from,
    ):
        self.path, self.every, self.fingerprint, self.state, self.init = Path(path), every, fingerprint, state, init
        self.start = start

    def before_train(self, runner) -> None:
        """Go on from the state, or load the weights to start from."""
        if self.state is None:
            if self.init:
                part = self.start(unwrapped(runner.model), self.init)
                logger.info("train: %s from %s", part, self.init)
            return
        unwrapped(runner.model).load_state_dict(self.state["model"])
        runner.optim_wrapper.load_state_dict(self.state["optimizer"])
        for scheduler, values in zip(runner.param_schedulers, self.state["schedulers"], strict=True):
            scheduler.load_state_dict(values)
        runner.train_loop._iter = self.state["iteration"]
        logger.info("train: resuming after iteration %d", self.state["iteration"])
        self.state = None

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None) -> None:
        """Save now and then; the first process does."""
        done = batch_idx + 1
        if done % self.every == 0 and distributed.is_main_process():
            state = {
                "fingerprint": self.fingerprint,
                "iteration": done,
                "model": unwrapped(runner.model).state_dict(),
                "optimizer": runner.optim_wrapper.state_dict(),
                "schedulers": [scheduler.state_dict() for scheduler in runner.param_schedulers],
            }
            checkpoints.save(self.path, state)


def read_state(path: str | Path, fingerprint: str) -> dict[str, Any] | None:
    """State of an interrupted training, or None where there is none of the same inputs and settings.

    Raises:
        ModelError: the file is damaged.
    """
    if not Path(path).is_file():
        return None
    try:
        state = checkpoints.load(path)
        if lost := STATE - state.keys():
            raise ModelError(f"no {min(lost)} in it")
    except (Cuts3dError, AttributeError) as error:
        raise ModelError(
            f"training state {path} is damaged, so the training cannot be resumed",
            found=str(error).split(" -> ")[0],
            hint="start over with --fresh, or delete the file",
        ) from None
    if state["fingerprint"] != fingerprint:
        logger.info("train: starting over, as %s is of a training with different inputs or settings", path)
        return None
    return state


def _bar(total: int, done: int):
    if not sys.stderr.isatty() or not logger.isEnabledFor(20):
        return None
    from tqdm import tqdm

    return tqdm(desc="train", total=total, initial=done, leave=False)
