"""Reading what a stage left on a shard: the one place that says whether a result is there and sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuts3d_cli.errors import StoreError
from cuts3d_cli.pipeline.runner import check_aligned, count_statuses
from cuts3d_cli.store.layout import DONE, FAILED, NO_OBJECT
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.store.masks import Counts, read_masks
from cuts3d_cli.store.zarr_store import Store, open_store


@dataclass(frozen=True)
class Found:
    """A stage's result on a shard: fingerprint, counts, what it was made with.

    Attributes:
        sections: the settings that led to it, by config section.
        inputs: fingerprints of the results it was made from, by stage.
        algorithm: number of the stage's algorithm.
        images: hash of the images that it is of, see `runner.images_fingerprint`.
        names: of masks, the names of these images, which the hash leaves out.
        statuses: how each image ended, see `layout.STATUS_NAMES`.
        row_fingerprints: hash of everything that the result of each image depends on; empty where none are recorded.
    """

    fingerprint: str
    counts: Counts
    sections: Mapping[str, Mapping[str, Any]]
    inputs: Mapping[str, str]
    algorithm: int
    images: str = ""
    names: Sequence[str] = ()
    statuses: Sequence[int] = ()
    row_fingerprints: Sequence[str] = ()


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


def open_listed(stage: str | None, path: Path, records: Sequence[ImageRecord]) -> Store:
    """The store at a stage's path, to be read by the rows of its shard in the image list.

    Raises:
        StoreError: it is missing, damaged or of other images: the list was made again since.
    """
    store = open_store(path, stage)
    check_aligned([store], records)
    return store


def _read_store(stage: str, path: Path) -> Found:
    store = open_store(path, stage)
    return Found(
        store.fingerprint,
        count_statuses(store.status, {str(row): text for row, text in store.failures.items()}),
        store.sections,
        store.inputs,
        store.attrs["algorithm"],
        images=store.attrs["images"],
        statuses=store.status.tolist(),
        row_fingerprints=store.attrs.get("rows", ()),
    )


def _read_masks(path: Path) -> Found:
    masks = read_masks(path, own=True)
    made = masks.provenance
    with_objects = {entry["image_id"] for entry in masks.annotations}
    statuses = [
        FAILED if image["file_name"] in masks.counts.failures else DONE if image["id"] in with_objects else NO_OBJECT
        for image in masks.images
    ]
    return Found(
        made.fingerprint,
        masks.counts,
        made.config,
        made.inputs,
        made.algorithm,
        images=made.images,
        names=[image["file_name"] for image in masks.images],
        statuses=statuses,
        row_fingerprints=made.rows,
    )
