"""Patch features of a shard (paper Sec. 3.1)."""

from __future__ import annotations

from cuts3d_cli.backends.base import feature_backend
from cuts3d_cli.stages.common import Counts, Job, Result, run_stage
from cuts3d_cli.store.images import read_image, working_image


def run(job: Job) -> Counts:
    """Write ``features`` (n, C, G, G) of the working images."""
    config = job.section
    backend = feature_backend(config, device=job.config.device)

    def compute(row, record):
        image = read_image(job.source.image_root / record.file_name)
        return Result({"features": backend.extract(working_image(image, config.image_size))})

    return run_stage("features", job, compute, sizes={"G": config.grid}, attrs={"backend": backend.description})
