"""What every stage of a shard shares: the loop over images, the counts, fingerprints and provenance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cuts3d_cli.config import Config
from cuts3d_cli.errors import ConfigError, Cuts3dError, DamagedError, ImageError, ModelError, OutputError, StoreError
from cuts3d_cli.log import logger, progress
from cuts3d_cli.store.files import digest_file, fingerprint
from cuts3d_cli.store.images import read_image
from cuts3d_cli.store.layout import DONE, FAILED, NO_OBJECT
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.store.masks import Counts
from cuts3d_cli.store.store_writer import create_store
from cuts3d_cli.store.zarr_store import Store
from cuts3d_cli.threads import for_masks

T = TypeVar("T")

NOT_OF_AN_IMAGE = (ConfigError, DamagedError, ModelError, OutputError)
"""Errors that every image would meet: they end a stage instead of costing an image."""

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
    """

    records: Sequence[ImageRecord]
    image_root: Path
    depth_maps: Path | None = None


@dataclass(frozen=True)
class Job:
    """One stage on one shard.

    Attributes:
        source: the images.
        stores: the open input stores by stage.
        out: where the result goes.
        fingerprint: hash of everything the result depends on, recorded with it.
        config: the whole configuration; a stage reads what it declares.
        settings: what it declares to read, by section.
        algorithm: the number of its algorithm, recorded with the result.
    """

    source: Source
    stores: Mapping[str, Store]
    out: Path
    fingerprint: str
    config: Config
    settings: Mapping[str, Mapping[str, Any]]
    algorithm: int

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """The settings that lead to the result, by config section: those of this stage and of all before it."""
        merged: dict[str, dict[str, Any]] = {}
        for sections in [*(store.sections for store in self.stores.values()), self.settings]:
            for name, values in sections.items():
                merged.setdefault(name, {}).update(values)
        return merged

    def image(self, record: ImageRecord) -> np.ndarray:
        """Pixels (H, W, 3) uint8 of an image.

        Raises:
            ImageError: it cannot be read, or is another one than when the image list was made.
        """
        path = self.source.image_root / record.file_name
        rgb = read_image(path)
        if digest_file(path) != record.digest:
            raise ImageError(
                f"image {path} has changed since the image list was created",
                hint="rerun `cuts3d prepare` and the stages after it",
            )
        return rgb


def run_stage(
    stage: str,
    job: Job,
    compute: Callable[[int, ImageRecord], Result],
    *,
    sizes: Mapping[str, int] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> Counts:
    """Compute a stage for the images of a shard and write its store.

    Args:
        stage: name of the stage.
        job: images, inputs, output and configuration.
        compute: gives an image's arrays from its row and record; a :class:`Cuts3dError` costs that image.
        sizes: lengths of axes known beforehand.
        attrs: more to record in the store.
    """
    records = job.source.records
    with create_store(
        job.out,
        stage,
        [record.id for record in records],
        sections=job.sections,
        inputs={name: store.fingerprint for name, store in job.stores.items()},
        fingerprint=job.fingerprint,
        sizes=sizes,
        attrs={"images": images_fingerprint(job.source.records), "algorithm": job.algorithm, **(attrs or {})},
    ) as writer:

        def take(row: int, result: Result | None, failure: str | None) -> None:
            if result is None:
                writer.fail(row, failure or "no reason recorded")
            else:
                writer.write(row, no_object=result.no_object, **result.arrays)

        return for_each_image(stage, job, compute, take)


def for_each_image(
    stage: str,
    job: Job,
    compute: Callable[[int, ImageRecord], Result],
    take: Callable[[int, Result | None, str | None], None],
) -> Counts:
    """Run ``compute`` on every image and hand its result, or why there is none, to ``take``."""
    records, inputs = job.source.records, list(job.stores.values())
    check_aligned(inputs, records)
    counts = Counts()
    with nullcontext() if stage in NETWORKS else for_masks():
        for row, record in progress(enumerate(records), stage, len(records)):
            try:
                check_upstream(row, record, inputs)
                result = compute(row, record)
            except NOT_OF_AN_IMAGE:
                raise
            except Cuts3dError as error:
                take(row, None, str(error))
                counts.failures[record.file_name] = str(error)
                logger.warning("%s: %s failed: %s", stage, record.file_name, error)
                continue
            take(row, result, None)
            counts.no_object += result.no_object
            counts.done += not result.no_object
    return counts


def check_upstream(row: int, record: ImageRecord, inputs: Sequence[Store]) -> None:
    """Stop an image that could not be read or failed in an earlier stage."""
    if record.error:
        raise ImageError(record.error)
    for store in inputs:
        if store.status[row] == FAILED:
            raise ImageError(f"failed in {store.stage}: {store.failures.get(row, 'no reason recorded')}")


def usable_rows(job: Job) -> list[int]:
    """Rows of the images that no stage before has lost."""
    return [
        row
        for row, record in enumerate(job.source.records)
        if not record.error and all(store.status[row] != FAILED for store in job.stores.values())
    ]


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
    """Raise when a larger fraction than ``max_failed`` of the images failed."""
    if not counts.failures or len(counts.failures) <= max_failed * counts.total:
        return
    name, text = next(iter(counts.failures.items()))
    raise Cuts3dError(
        f"{stage}: {len(counts.failures)} of {counts.total} images failed, first {name}: {text}",
        expected=f"at most {max_failed:g} of them (max_failed)",
        hint="fix or remove these images, or raise --max-failed",
    )


def count_statuses(store: Store) -> Counts:
    """The counts of a finished store, failures by row."""
    return Counts(
        done=int(np.sum(store.status == DONE)),
        no_object=int(np.sum(store.status == NO_OBJECT)),
        failures={str(row): text for row, text in store.failures.items()},
    )
