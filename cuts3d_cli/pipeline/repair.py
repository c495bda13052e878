"""Running a stage whose inputs may turn out to be damaged while they are read: they are then computed again first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cuts3d_cli.config import Config
from cuts3d_cli.errors import DamagedError, StoreError
from cuts3d_cli.log import logger
from cuts3d_cli.pipeline.declarations import inputs_of
from cuts3d_cli.pipeline.graph import execute, fingerprints_of, stage_fingerprint
from cuts3d_cli.pipeline.runner import Source
from cuts3d_cli.store.files import sweep
from cuts3d_cli.store.masks import Counts
from cuts3d_cli.store.zarr_store import open_store

ATTEMPTS = 3
"""How often a stage is begun: a disk that damages what was just written must not keep it busy for good."""


def execute_or_repair(
    stage: str, source: Source, config: Config, path_of: Callable[[str], Path], *, force: bool = False
) -> tuple[Counts, bool]:
    """`graph.execute`, begun again after an input that was damaged, or replaced meanwhile, is there whole.

    A damaged input is recomputed only where that gives the very same result.

    Raises:
        DamagedError: an input is damaged and cannot be recomputed so, or is damaged again and again.
        StoreError: as of `graph.execute`.
    """
    sweep(path_of(stage))  # also where the result turns out to be up to date
    for _ in range(ATTEMPTS - 1):
        try:
            return execute(stage, source, config, path_of, force=force)
        except DamagedError as error:
            if error.path == path_of(stage):  # of which only what failed was to be tried again
                logger.warning("%s: recomputed, as %s", stage, error.what)
                force = True
                continue
            damaged = next((name for name in inputs_of(stage, config) if path_of(name) == error.path), None)
            if damaged is None or not _is_made_from(damaged, source, config, path_of):
                raise
            if not _is_whole(path_of(damaged)):
                logger.warning("%s: recomputed for %s, as %s", damaged, stage, error.what)
                execute_or_repair(damaged, source, config, path_of, force=True)
    return execute(stage, source, config, path_of, force=force)


def _is_made_from(stage: str, source: Source, config: Config, path_of: Callable[[str], Path]) -> bool:
    """Whether the result of a stage, its values apart, is the one that this configuration gives."""
    try:
        made = open_store(path_of(stage), stage)
        inputs = fingerprints_of({name: open_store(path_of(name), name) for name in inputs_of(stage, config)})
    except StoreError:
        return False
    return made.fingerprint == stage_fingerprint(stage, config, inputs, source)


def _is_whole(path: Path) -> bool:
    try:
        open_store(path).check_values()
    except StoreError:
        return False
    return True
