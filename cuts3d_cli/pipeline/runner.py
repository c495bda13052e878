"""What every stage of a shard shares: the loop over images, the counts, fingerprints and provenance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from cuts3d_cli.config import Config
from cuts3d_cli.errors import (
    ConfigError,
    Cuts3dError,
    DamagedError,
    ModelError,
    OutputError,
    StoreError,
    TooManyFailedError,
)
from cuts3d_cli.log import logger, progress
from cuts3d_cli.pipeline.retries import files_of
from cuts3d_cli.store.files import fingerprint
from cuts3d_cli.store.image_stamps import check_content
from cuts3d_cli.store.images import read_image
from cuts3d_cli.store.layout import ARRAYS, DONE, FAILED, NO_OBJECT
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.store.masks import Counts
from cuts3d_cli.store.rows import Rows
from cuts3d_cli.store.store_writer import StoreWriter, create_store
from cuts3d_cli.store.zarr_store import Store, open_store
from cuts3d_cli.threads import for_masks

T = TypeVar("T")

NOT_OF_AN_IMAGE = (ConfigError, DamagedError, ModelError, OutputError)
"""Errors that every image would meet: they end a stage instead of costing an image."""

LOST = "failed in "
"""Starts the reason of an image that an earlier stage lost."""

NETWORKS = ("depth", "features")
"""Stages that may run a network, which gains from every thread."""


@dataclass(frozen=True)
class Result:
    """What one image gave: arrays by name, and whether it holds any object."""

    arrays: Mapping[str, np.ndarray]
    no_object: bool = False


def images_fingerprint(records: Sequence[ImageRecord]) -> str:
    """Hash of which images these are, recorded with every result and compared by its readers."""
    return fingerprint(contents(records))


def contents(records: Sequence[ImageRecord]) -> list[tuple[int, str]]:
    return [(record.id, record.digest) for record in records]


@dataclass(frozen=True)
class Source:
    """The images a stage works on.

    Attributes:
        records: the images.
        image_root: folder their file names are relative to.
        depth_maps: folder with their depth maps, the map of a single image, or None.
        any_name: whether masks may have been made when the images had other names: those of the cache are of a content.
    """

    records: Sequence[ImageRecord]
    image_root: Path
    depth_maps: Path | None = None
    any_name: bool = False


@dataclass(frozen=True)
class Earlier:
    """What an earlier result has of the images, so that only the others are computed.

    Attributes:
        fingerprint: of that result.
        rows: rows of that result by row now.
        counts: how those images ended.
        failures: why images failed in it, by file name, where it is the wanted result but for these; else None.
    """

    fingerprint: str
    rows: Mapping[int, int]
    counts: Counts
    failures: Mapping[str, str] | None = None

    def check(self, path: Path, fingerprint: str) -> None:
        """Check that what lies at a path now is that result, as its rows are known by their numbers.

        Raises:
            DamagedError: another process replaced it.
        """
        if fingerprint != self.fingerprint:
            raise DamagedError(f"{path} was replaced by another process", hint="run the same command again", path=path)


@dataclass(frozen=True)
class Job:
    """One stage on one shard.

    Attributes:
        source: the images.
        stores: the open input stores by stage.
        out: where the result goes.
        fingerprint: hash of everything the result depends on, recorded with it.
        row_fingerprints: hash of everything the result of each image depends on, recorded with it.
        config: the whole configuration; a stage reads what it declares.
        settings: what it declares to read, by section.
        algorithm: the number of its algorithm, recorded with the result.
        earlier: what the result at ``out`` has of the images; None: nothing.
        tried: filled by the stage: the files that a failed image was read from, see `retries.files_of`, by its name.
    """

    source: Source
    stores: Mapping[str, Store]
    out: Path
    fingerprint: str
    config: Config
    settings: Mapping[str, Mapping[str, Any]]
    algorithm: int
    row_fingerprints: Sequence[str] = ()
    earlier: Earlier | None = None
    tried: dict[str, dict[str, str]] = field(default_factory=dict)

    @cached_property
    def rows(self) -> list[int]:
        """Rows of the images to compute."""
        kept = self.earlier.rows if self.earlier else {}
        return [row for row in range(len(self.source.records)) if row not in kept]

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """The settings that lead to the result, by config section: those of this stage and of all before it."""
        merged: dict[str, dict[str, Any]] = {}
        for sections in [*(store.sections for store in self.stores.values()), self.settings]:
            for name, values in sections.items():
                merged.setdefault(name, {}).update(values)
        return merged

    def earlier_store(self) -> Store:
        """The store that holds the earlier result.

        Raises:
            DamagedError: it is damaged, or another one by now.
        """
        assert self.earlier is not None
        store = open_store(self.out)
        self.earlier.check(self.out, store.fingerprint)
        return store

    def recorded_by_row(self, name: str) -> dict[str, Any]:
        """What the earlier result has recorded under a name, by row, of the rows that are taken from it."""
        if self.earlier is None:
            return {}
        before = self.earlier_store().attrs.get(name, {})
        return {str(row): before[str(old)] for row, old in self.earlier.rows.items() if str(old) in before}

    def recorded_rows(self, name: str) -> dict[str, list[int]]:
        """The rows of which the earlier result has recorded something, of those that are taken from it."""
        if self.earlier is None:
            return {}
        before = self.earlier_store().attrs.get(name, {})
        found = {key: [row for row, old in self.earlier.rows.items() if old in rows] for key, rows in before.items()}
        return {key: rows for key, rows in found.items() if rows}

    def image(self, record: ImageRecord) -> np.ndarray:
        """Pixels (H, W, 3) uint8 of an image.

        Raises:
            ImageError: it cannot be read, or is another one than when the image list was made.
        """
        path = self.source.image_root / record.file_name
        rgb = read_image(path)
        check_content(path, record)
        return rgb


def run_stage(
    stage: str,
    job: Job,
    compute: Callable[[int, ImageRecord], Result],
    *,
    sizes: Mapping[str, int] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> Counts:
    """Compute a stage for the images of a shard and write its store; an earlier one with the same failures stays.

    Args:
        stage: name of the stage.
        job: images, inputs, output and configuration.
        compute: gives an image's arrays from its row and record; a :class:`Cuts3dError` costs that image.
        sizes: lengths of axes known beforehand.
        attrs: more to record in the store.

    Raises:
        TooManyFailedError: more images failed than ``max_failed`` allows; nothing is written.
    """
    records = job.source.records
    try:
        with create_store(
            job.out,
            stage,
            [record.id for record in records],
            sections=job.sections,
            inputs={name: store.fingerprint for name, store in job.stores.items()},
            fingerprint=job.fingerprint,
            sizes=sizes,
            attrs={
                "images": images_fingerprint(job.source.records),
                "rows": list(job.row_fingerprints),
                "algorithm": job.algorithm,
                **(attrs or {}),
            },
        ) as writer:

            def take(row: int, result: Result | None, failure: str | None) -> None:
                if result is None:
                    writer.fail(row, failure or "no reason recorded")
                else:
                    writer.write(row, no_object=result.no_object, **result.arrays)

            counts = for_each_image(stage, job, compute, take)
            if job.earlier is not None:
                if counts.failures == job.earlier.failures:
                    raise _Unchanged
                _copy(job.earlier_store(), job.earlier.rows, writer)
    except _Unchanged:
        pass
    return counts


class _Unchanged(Exception):
    """The earlier result is as good as the new one."""


def _copy(earlier: Store, rows: Mapping[int, int], writer: StoreWriter) -> None:
    """Write rows of an earlier store, given by row now."""
    arrays = {name: Rows(earlier.array(name)) for name in ARRAYS[earlier.stage]}
    for row, old in rows.items():
        values = {name: array[old] for name, array in arrays.items()}
        writer.write(row, no_object=earlier.status[old] == NO_OBJECT, **values)


def for_each_image(
    stage: str,
    job: Job,
    compute: Callable[[int, ImageRecord], Result],
    take: Callable[[int, Result | None, str | None], None],
) -> Counts:
    """Run ``compute`` on the images of ``job.rows`` and hand each result, or why there is none, to ``take``.

    Returns:
        How all images ended, those taken from the earlier result included.

    Raises:
        TooManyFailedError: more images failed than ``max_failed`` allows.
    """
    records, inputs = job.source.records, list(job.stores.values())
    counts = replace(job.earlier.counts, failures={}) if job.earlier else Counts()
    with nullcontext() if stage in NETWORKS else for_masks():
        for row in progress(job.rows, stage, len(job.rows)):
            record = records[row]
            if (failure := lost_before(row, record, inputs)) is None:
                try:
                    result = compute(row, record)
                except NOT_OF_AN_IMAGE:
                    raise
                except Cuts3dError as error:
                    failure = str(error)
                    job.tried[record.file_name] = files_of(
                        stage, record.file_name, job.source.image_root, job.source.depth_maps
                    )
            if failure is not None:
                take(row, None, failure)
                counts.failures[record.file_name] = failure
                logger.warning("%s: %s failed: %s", stage, record.file_name, failure)
                continue
            take(row, result, None)
            counts.no_object += result.no_object
            counts.done += not result.no_object
    check_failed(counts, job.config.max_failed, stage)
    return counts


def lost_before(row: int, record: ImageRecord, inputs: Iterable[Store]) -> str | None:
    """Why an image needs not be tried: it could not be read when it was listed, or failed in an earlier stage."""
    if record.error:
        return record.error
    for store in inputs:
        if store.status[row] == FAILED:
            return f"{LOST}{store.stage}: {store.failures.get(row, 'no reason recorded')}"
    return None


def usable_rows(job: Job) -> list[int]:
    """Rows of the images to compute that no stage before has lost."""
    return [row for row in job.rows if lost_before(row, job.source.records[row], job.stores.values()) is None]


def solver_and_device(config: Config, solver: str) -> tuple[str, str]:
    """The solver that runs and where: a GPU named as the device turns lanczos and lattice to torch.

    Raises:
        ConfigError: torch is to run on a device that is not here.
    """
    if solver in ("lanczos", "lattice") and config.device.startswith("cuda"):
        solver = "torch"
    if solver != "torch":
        return solver, "cpu"
    from cuts3d_cli.backends.torch_tools import resolve_device

    return solver, str(resolve_device(config.device))


def ahead(rows: list[int], size: int, find: Callable[[list[int]], list[T]]) -> Callable[[int], T]:
    """Results by row, found ``size`` rows at a time; asked for in the order of ``rows``, each once."""
    found: dict[int, T] = {}

    def of(row: int) -> T:
        if row not in found:
            at = rows.index(row)
            batch = rows[at : at + size]
            found.update(zip(batch, find(batch), strict=True))
        return found.pop(row)

    return of


def check_aligned(inputs: Sequence[Store], records: Sequence[ImageRecord]) -> None:
    """Check that the stores hold exactly these images, in this order."""
    images = images_fingerprint(records)
    for store in inputs:
        if store.attrs["images"] != images:
            raise StoreError(
                f"store {store.path} was made from images other than those in the image list",
                expected=f"the {len(records)} images of this shard",
                found=f"{len(store.image_ids)} images, some of them different",
                hint=f"rerun `cuts3d {store.stage}` and the stages before it",
            )


def check_grid(store: Store, array: str, grid_hw: tuple[int, ...], hint: str) -> None:
    """Check that a store's maps lie on this patch grid; where every image failed it has none."""
    found = store.array(array).shape[-2:]
    if found != tuple(grid_hw) and np.any(store.status != FAILED):
        raise StoreError(
            f"store {store.path}: different patch grid",
            expected=" x ".join(map(str, grid_hw)),
            found=" x ".join(map(str, found)),
            hint=hint,
        )


def check_failed(counts: Counts, max_failed: float, stage: str) -> None:
    """Check that at most the fraction ``max_failed`` of the images failed.

    Raises:
        TooManyFailedError: more did.
    """
    if not counts.failures or len(counts.failures) <= max_failed * counts.total:
        return
    name, text = next(iter(counts.failures.items()))
    raise TooManyFailedError(
        f"{stage}: {len(counts.failures)} of {counts.total} images failed, first {name}: {text}",
        expected=f"at most {max_failed:g} of them (max_failed)",
        hint="fix or remove these images, or raise --max-failed",
        reason=text,
    )


def count_statuses(statuses: ArrayLike, failures: Mapping[str, str] | None = None) -> Counts:
    """How images ended, from their statuses (`layout.STATUS_NAMES`) and why some failed."""
    found = np.asarray(statuses)
    return Counts(int(np.sum(found == DONE)), int(np.sum(found == NO_OBJECT)), dict(failures or {}))
