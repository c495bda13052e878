"""TensorBoard and Weights & Biases beside the loss curve: what a training sends to them as it goes.

They take the points of the curve and change nothing in a training, which may go on with others than it began with.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from cuts3d_cli.errors import ConfigError

FOLDERS = {"tensorboard": "tensorboard", "wandb": "wandb"}
"""Folder of each logger beside the checkpoint."""


class Logger(Protocol):
    """What takes the points of a training."""

    def write(self, point: Mapping[str, float]) -> None:
        """Take a point of the loss curve: ``iteration`` (from 1), ``lr`` and every loss."""

    def close(self) -> None:
        """Hand over what is still held back."""


def check_loggers(names: Sequence[str]) -> None:
    """Check that the packages of loggers are installed, without importing them.

    Raises:
        ConfigError: one is not.
    """
    for name in names:
        if find_spec(name) is None:
            raise ConfigError(
                "config key train.loggers", expected=f"loggers whose package is installed, for {name}: {name}",
                found="no such package", hint=f"`pip install {name}`, or remove {name} from the list",
            )  # fmt: skip


def open_loggers(names: Sequence[str], folder: Path, *, start: int, record: Mapping[str, Any]) -> list[Logger]:
    """Open the loggers of a training.

    Args:
        names: ``tensorboard``, ``wandb``.
        folder: of the detector; each has a folder of its own in it.
        start: iterations already done; what was logged of later ones counts no more.
        record: how the detector is made, as the checkpoint carries it.
    """
    kinds = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}
    return [kinds[name](folder / FOLDERS[name], start, record) for name in names]


class TensorBoard:
    """Event files; those of an earlier attempt are kept, and their points after ``start`` marked as purged."""

    def __init__(self, folder: Path, start: int, record: Mapping[str, Any]):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=start + 1)

    def write(self, point: Mapping[str, float]) -> None:
        """Write every value as a scalar ``train/NAME``."""
        for name, value in _values(point).items():
            self._writer.add_scalar(name, value, int(point["iteration"]))

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class WeightsAndBiases:
    """A run of project ``cuts3d`` (or $WANDB_PROJECT); a resumed training goes on with its own."""

    def __init__(self, folder: Path, start: int, record: Mapping[str, Any]):
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "run_id.txt"
        known = kept.read_text().strip() if start and kept.is_file() else None
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "cuts3d"),
            dir=str(folder),
            id=known,
            resume="allow" if known else None,
            config={"train": record.get("train"), "seed": record.get("seed")},
        )
        kept.write_text(self._run.id)

    def write(self, point: Mapping[str, float]) -> None:
        """Log every value as ``train/NAME`` at its iteration."""
        self._run.log(_values(point), step=int(point["iteration"]))

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def _values(point: Mapping[str, float]) -> dict[str, float]:
    return {f"train/{name}": value for name, value in point.items() if name != "iteration"}
