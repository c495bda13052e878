"""Reading what a stage left on a shard: the one place that says whether a result is there and sound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuts3d_cli.errors import StoreError
from cuts3d_cli.pipeline.runner import count_statuses
from cuts3d_cli.store.masks import Counts, read_masks
from cuts3d_cli.store.zarr_store import open_store


@dataclass(frozen=True)
class Found:
    """A stage's result on a shard: fingerprint, counts, what it was made with.

    Attributes:
        sections: the settings that led to it, by config section.
        inputs: fingerprints of the results it was made from, by stage.
        algorithm: number of the stage's algorithm.
    """

    fingerprint: str
    counts: Counts
    sections: Mapping[str, Mapping[str, Any]]
    inputs: Mapping[str, str]
    algorithm: int


@dataclass(frozen=True)
class Damaged:
    """An incomplete result, or one of another version; it counts as missing and is recomputed."""

    reason: str


def read_result(stage: str, path: Path) -> Found | Damaged | None:
    """What lies at a stage's path; None if nothing."""
    if not path.exists():
        return None
    try:
        return _read_masks(path) if stage == "crf" else _read_store(stage, path)
    except StoreError as error:
        return Damaged(str(error))
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:  # parts are missing or cannot be read
        return Damaged(f"{path} is damaged ({type(error).__name__}: {error})")


def _read_store(stage: str, path: Path) -> Found:
    store = open_store(path, stage)
    return Found(store.fingerprint, count_statuses(store), store.sections, store.inputs, store.attrs["algorithm"])


def _read_masks(path: Path) -> Found:
    masks = read_masks(path, own=True)
    made = masks.provenance
    return Found(made.fingerprint, masks.counts, made.config, made.inputs, made.algorithm)
