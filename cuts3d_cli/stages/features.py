"""Patch features of a shard (paper Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cuts3d_cli.backends.base import Surface, feature_backend, needs_depth
from cuts3d_cli.core.geometry import to_distance
from cuts3d_cli.errors import ImageError
from cuts3d_cli.stages.common import Counts, Job, Result, run_stage
from cuts3d_cli.store.images import working_image
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.store.rows import Rows


def run(job: Job) -> Counts:
    """Write ``features`` (n, C, G, G) of the working images."""
    config = job.section
    backend = feature_backend(config, device=job.config.device)

    read_surface = _surfaces(job) if needs_depth(config.backend) else None

    def compute(row, record):
        working = working_image(job.image(record), config.image_size)
        extra = () if read_surface is None else (read_surface(row, record),)
        return Result({"features": _stored(backend.extract(working, *extra))})

    return run_stage("features", job, compute, sizes={"G": config.grid}, attrs={"backend": backend.description})


def _surfaces(job: Job) -> Callable[[int, ImageRecord], Surface]:
    """The depth of an image by its row, as distances again."""
    store, config = job.stores["depth"], job.section
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
