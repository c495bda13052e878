"""Patch features of a shard (paper Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cuts3d_cli.backends.base import Surface, feature_backend
from cuts3d_cli.config.backends import needs_depth
from cuts3d_cli.core.geometry import to_distance
from cuts3d_cli.errors import Cuts3dError, ImageError
from cuts3d_cli.pipeline.runner import Counts, Job, Result, ahead, run_stage, usable_rows
from cuts3d_cli.store.images import working_image
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.store.rows import Rows


def run(job: Job) -> Counts:
    """Write ``features`` (n, C, G, G) of the working images."""
    config, records = job.config.features, job.source.records
    backend = feature_backend(config, device=job.config.device)

    surface_of = _surfaces(job) if needs_depth(config.backend) else None

    def read(row: int) -> np.ndarray | Cuts3dError:
        try:
            return working_image(job.image(records[row]), config.image_size)
        except Cuts3dError as error:  # costs this image, not those of its batch
            return error

    def extract(rows: list[int]) -> list[np.ndarray | Cuts3dError]:
        images = [read(row) for row in rows]
        whole = [(row, image) for row, image in zip(rows, images, strict=True) if not isinstance(image, Cuts3dError)]
        if not whole:
            return images
        surfaces = () if surface_of is None else ([surface_of(row, records[row]) for row, _ in whole],)
        found = iter(backend.extract_batch(np.stack([image for _, image in whole]), *surfaces))
        return [image if isinstance(image, Cuts3dError) else next(found) for image in images]

    features_of = ahead(usable_rows(job), backend.batch_size, extract)

    def compute(row, record):
        features = features_of(row)
        if isinstance(features, Cuts3dError):
            raise features
        return Result({"features": _stored(features)})

    return run_stage("features", job, compute, sizes={"G": config.grid}, attrs={"backend": backend.description})


def _surfaces(job: Job) -> Callable[[int, ImageRecord], Surface]:
    """The depth of an image by its row, as distances again."""
    store, config = job.stores["depth"], job.config.features
    depth, near_far, reading = (Rows(store.array(name)) for name in ("depth", "range", "reading"))

    def of(row: int, record: ImageRecord) -> Surface:
        distance = to_distance(depth[row].astype(np.float32), near_far[row], relative_range=config.relative_range)
        return Surface(distance, reading[row] & (distance > 0), record.width / record.height)

    return of


def _stored(features: np.ndarray) -> np.ndarray:
    """Features in the store's half precision, which some networks' values overflow.

    Raises:
        ImageError: a value is not finite.
    """
    with np.errstate(over="ignore"):
        features = features.astype(np.float16)
    wrong = np.count_nonzero(~np.isfinite(features))
    if wrong:
        raise ImageError(
            f"{wrong} of {features.size} features are not finite", expected="numbers within half precision, 65504"
        )
    return features
