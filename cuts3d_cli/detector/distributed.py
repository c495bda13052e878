"""Training in several processes: who takes part, where they meet, and what only one of them does.

``torchrun`` and Slurm tell each process its number through the environment. Every process holds the
whole model and computes its share of each step's images; gradients are averaged.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from cuts3d_cli.errors import ConfigError
from cuts3d_cli.log import logger

LAUNCHERS = ("none", "pytorch", "slurm")
PATIENCE = timedelta(hours=12)
"""How long processes wait for each other; labelling a large training set takes some longer than others."""


@dataclass(frozen=True)
class Place:
    """A process among those of a training.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        local: its number on its machine, which is that of its GPU.
        address: host at which they meet.
        port: port there.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    address: str = "127.0.0.1"
    port: int = 29500


def place_of(launcher: str, environment: Mapping[str, str]) -> Place:
    """Read a process's place from what its launcher left in the environment.

    Args:
        launcher: ``none``, ``pytorch`` (torchrun) or ``slurm`` (srun).
        environment: such as ``os.environ``.

    Raises:
        ConfigError: no such launcher, or the process was not started by it.
    """
    if launcher == "none":
        return Place()
    if launcher == "pytorch":
        rank, size, local = _numbers(launcher, environment, "RANK", "WORLD_SIZE", "LOCAL_RANK")
        address, port = environment.get("MASTER_ADDR", "127.0.0.1"), environment.get("MASTER_PORT", "29500")
        return Place(rank, size, local, address, int(port))
    if launcher == "slurm":
        rank, size, local = _numbers(launcher, environment, "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
        nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_NODELIST", "127.0.0.1")
        address = environment.get("MASTER_ADDR") or first_host(nodes)
        job = int(re.sub(r"\D", "", environment.get("SLURM_JOB_ID", "")) or 0)
        # Jobs that share a machine must not meet at the same port.
        return Place(rank, size, local, address, int(environment.get("MASTER_PORT") or 20000 + job % 20000))
    raise ConfigError("option --launcher", expected=f"one of {', '.join(LAUNCHERS)}", found=repr(launcher))


def first_host(nodes: str) -> str:
    """First host of a Slurm list of nodes: ``gpu[03-05,09],cpu1`` gives ``gpu03``."""
    found = re.match(r"([^\[,]*)(?:\[(\w+)[^\]]*\])?([^,\[]*)", nodes)
    return "".join(part or "" for part in found.groups())


@contextmanager
def processes(launcher: str, device: torch.device) -> Iterator[torch.device]:
    """Join the other processes of a training for a while; those but the first say warnings only.

    Args:
        launcher: ``none``, ``pytorch`` or ``slurm``.
        device: ``cpu``, or a GPU, of which each process of a machine takes its own.

    Yields:
        The device of this process.

    Raises:
        ConfigError: as :func:`place_of`, or more processes on a machine than GPUs.
    """
    place = place_of(launcher, os.environ)
    if place.size == 1:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", _gpu(place, launcher, torch.cuda.device_count()))
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"tcp://{place.address}:{place.port}" if launcher == "slurm" else "env://",
        rank=place.rank,
        world_size=place.size,
        timeout=PATIENCE,
    )
    level = logger.level
    if place.rank > 0:
        logger.setLevel(max(logging.WARNING, level))
    try:
        yield device
    finally:
        logger.setLevel(level)
        distributed.destroy_process_group()


def rank() -> int:
    """Number of this process, 0 where it is alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


def wait() -> None:
    """Wait until every process is here."""
    if size() > 1:
        distributed.barrier()


@contextmanager
def first_ahead() -> Iterator[None]:
    """Let the first process through the block before all others."""
    if not is_first():
        wait()
    yield
    if is_first():
        wait()


def gathered(value: Any) -> list[Any]:
    """The values of all processes, in their order."""
    if size() == 1:
        return [value]
    values: list[Any] = [None] * size()
    distributed.all_gather_object(values, value)
    return values


def average(tensor: torch.Tensor) -> torch.Tensor:
    """Mean of a tensor over all processes; the tensor itself is not changed."""
    if size() == 1:
        return tensor
    total = tensor.detach().clone()
    distributed.all_reduce(total)
    return total / size()


def _gpu(place: Place, launcher: str, visible: int) -> int:
    if launcher == "slurm" and visible == 1:  # as --gpus-per-task=1 has it: each process sees its own GPU alone
        return 0
    if place.local >= visible:
        raise ConfigError(
            f"option --launcher {launcher}", expected="a GPU per process", found=f"{visible} visible GPUs",
            hint="start as many processes on a machine as it has GPUs, or use --device cpu",
        )  # fmt: skip
    return place.local


def _numbers(launcher: str, environment: Mapping[str, str], *names: str) -> list[int]:
    try:
        return [int(environment[name]) for name in names]
    except (KeyError, ValueError):
        how = "torchrun --nproc_per_node N --no-python cuts3d ..." if launcher == "pytorch" else "srun cuts3d ..."
        missing = ", ".join(name for name in names if not environment.get(name, "").isdigit())
        raise ConfigError(
            f"option --launcher {launcher}", expected=f"{', '.join(names)} in the environment", found=f"no {missing}",
            hint=f"start it with `{how}`",
        ) from None  # fmt: skip
