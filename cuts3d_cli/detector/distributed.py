"""Training in several processes: rank, world size and address of each, and what they do together.

``torchrun`` and Slurm tell each process its rank through the environment. Every process holds the whole model and
computes its part of each step's images; gradients are averaged. What speaks to the group is MMEngine's, which works
in a single process too.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from mmengine.dist import all_gather_object, all_reduce, barrier, get_rank, get_world_size, is_main_process

from cuts3d_cli.errors import ConfigError
from cuts3d_cli.log import logger

__all__ = [
    "LAUNCHERS", "Process", "all_gather_object", "all_reduce_mean", "barrier", "first_host", "get_rank",
    "get_world_size", "is_main_process", "main_process_first", "process_group", "process_of",
]  # fmt: skip

LAUNCHERS = ("none", "pytorch", "slurm")
TIMEOUT = timedelta(hours=12)
"""How long processes wait for each other; labelling a large training set takes some longer than others."""


@dataclass(frozen=True)
class Process:
    """A process among those of a training.

    Attributes:
        rank: its number among all, from 0.
        world_size: how many there are.
        local_rank: its number on its machine, which is that of its GPU.
        address: host at which they meet.
        port: port there.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    address: str = "127.0.0.1"
    port: int = 29500


def process_of(launcher: str, environment: Mapping[str, str]) -> Process:
    """Read which process this is from what its launcher left in the environment.

    Args:
        launcher: ``none``, ``pytorch`` (torchrun) or ``slurm`` (srun).
        environment: such as ``os.environ``.

    Raises:
        ConfigError: no such launcher, or the process was not started by it.
    """
    if launcher == "none":
        return Process()
    if launcher == "pytorch":
        rank, world_size, local_rank = _numbers(launcher, environment, "RANK", "WORLD_SIZE", "LOCAL_RANK")
        address, port = environment.get("MASTER_ADDR", "127.0.0.1"), environment.get("MASTER_PORT", "29500")
        return Process(rank, world_size, local_rank, address, int(port))
    if launcher == "slurm":
        rank, world_size, local_rank = _numbers(launcher, environment, "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
        nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_NODELIST", "127.0.0.1")
        address = environment.get("MASTER_ADDR") or first_host(nodes)
        job = int(re.sub(r"\D", "", environment.get("SLURM_JOB_ID", "")) or 0)
        # Jobs that share a machine must not meet at the same port.
        return Process(
            rank, world_size, local_rank, address, int(environment.get("MASTER_PORT") or 20000 + job % 20000)
        )
    raise ConfigError("option --launcher", expected=f"one of {', '.join(LAUNCHERS)}", found=repr(launcher))


def first_host(nodes: str) -> str:
    """First host of a Slurm list of nodes: ``gpu[03-05,09],cpu1`` gives ``gpu03``."""
    found = re.match(r"([^\[,]*)(?:\[(\w+)[^\]]*\])?([^,\[]*)", nodes)
    return "".join(part or "" for part in found.groups())


@contextmanager
def process_group(launcher: str, device: torch.device) -> Iterator[torch.device]:
    """Join the other processes of a training for a while; those of another rank than 0 log warnings only.

    Args:
        launcher: ``none``, ``pytorch`` or ``slurm``.
        device: ``cpu``, or a GPU, of which each process of a machine takes its own.

    Yields:
        The device of this process.

    Raises:
        ConfigError: as :func:`process_of`, or more processes on a machine than GPUs.
    """
    process = process_of(launcher, os.environ)
    if process.world_size == 1:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", _gpu(process, launcher, torch.cuda.device_count()))
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"tcp://{process.address}:{process.port}" if launcher == "slurm" else "env://",
        rank=process.rank,
        world_size=process.world_size,
        timeout=TIMEOUT,
    )
    level = logger.level
    if process.rank > 0:
        logger.setLevel(max(logging.WARNING, level))
    try:
        yield device
    finally:
        logger.setLevel(level)
        torch.distributed.destroy_process_group()


@contextmanager
def main_process_first() -> Iterator[None]:
    """Let the process of rank 0 through the block before all others."""
    if not is_main_process():
        barrier()
    yield
    if is_main_process():
        barrier()


def all_reduce_mean(tensor: torch.Tensor) -> torch.Tensor:
    """Mean of a tensor over all processes; the tensor itself is not changed."""
    mean = tensor.detach().clone()
    all_reduce(mean, "mean")
    return mean


def _gpu(process: Process, launcher: str, visible: int) -> int:
    if launcher == "slurm" and visible == 1:  # as --gpus-per-task=1 has it: each process sees its own GPU alone
        return 0
    if process.local_rank >= visible:
        raise ConfigError(
            f"option --launcher {launcher}", expected="a GPU per process", found=f"{visible} visible GPUs",
            hint="start one process per GPU on each machine, or use --device cpu",
        )  # fmt: skip
    return process.local_rank


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
