"""Patch features of a shard (paper Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cuts3d_cli.backends.base import Surface, feature_backend, surface_of
from cuts3d_cli.config.backends import needs_depth
from cuts3d_cli.core.image_sizes import working_image
from cuts3d_cli.core.segment import half
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.pipeline.runner import Job, Result, ahead, run_stage, usable_rows
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.store.masks import Counts
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
        return Result({"features": half(features)})

    return run_stage("features", job, compute, sizes={"G": config.grid}, attrs={"backend": backend.description})


def _surfaces(job: Job) -> Callable[[int, ImageRecord], Surface]:
    """The depth of an image by its row, as distances again."""
    store, config = job.stores["depth"], job.config.features
    depth, near_far, reading = (Rows(store.array(name)) for name in ("depth", "range", "reading"))

    def of(row: int, record: ImageRecord) -> Surface:
        aspect = record.width / record.height
        return surface_of(depth[row], near_far[row], reading[row], relative_range=config.relative_range, aspect=aspect)

    return of
