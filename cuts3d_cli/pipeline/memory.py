"""Whether the affinities of an image fit into memory: they are one value for every pair of patches."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

from cuts3d_cli.config import Config
from cuts3d_cli.errors import CONFIG_KEY, ConfigError

BYTES_PER_PAIR = {"lanczos": 1.1, "torch": 5.0, "dense": 42.0}
"""Memory that localcut takes for each pair of patches, by solver; measured on 60 to 240 patches a side
(docs/performance.md)."""

NEED_AFFINITY = ("features", "localcut")
"""Stages before which it is checked: localcut takes the memory, and features would be computed in vain."""


def check_memory(config: Config) -> None:
    """Check that this machine can hold the affinities of an image.

    Raises:
        ConfigError: it cannot.
    """
    grid, solver = config.features.grid, config.localcut.eigensolver
    per_pair, memory = BYTES_PER_PAIR[solver], memory_of_machine()
    needed = per_pair * grid**4
    if memory is None or needed <= memory:
        return
    most = math.isqrt(math.isqrt(int(memory / per_pair)))
    raise ConfigError(
        f"{CONFIG_KEY}features.image_size {config.features.image_size} with features.patch_size "
        f"{config.features.patch_size}: {grid} x {grid} patches, whose affinities take {needed / 2**30:.0f} GB",
        expected=f"at most {most} x {most} patches, as this process may use {memory / 2**30:.1f} GB",
        hint="choose a smaller features.image_size or a larger features.patch_size"
        + (", or localcut.eigensolver = lanczos" if solver == "dense" else ""),
    )


def memory_of_machine() -> int | None:
    """Bytes of memory that this process may use: the machine's, or the limit of its control group; None if unknown."""
    found = list(_limits())
    with suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min((size for size in found if size > 0), default=None)


def _limits(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """Limits of the control groups that this process is in, as containers and Slurm set them."""
    found = []
    with suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            name = "memory.limit_in_bytes" if controllers else "memory.max"
            place = root / controllers / group.strip("/")
            for folder in (place, *place.parents):
                with suppress(OSError, ValueError):  # no such file; "max"
                    found.append(int((folder / name).read_text()))
                if folder == root / controllers:
                    break
    return found
