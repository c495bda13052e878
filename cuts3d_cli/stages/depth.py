"""Depth of a shard, from files or a model, normalised so that 0 is nearest (paper Sec. 3.1)."""

from __future__ import annotations

from cuts3d_cli.backends.base import FILES, depth_backend
from cuts3d_cli.stages.common import Counts, Job, Result, run_stage


def run(job: Job) -> Counts:
    """Write ``depth`` (n, S, S), what its 0 and 1 stand for, and where there was a reading."""
    from cuts3d_cli.backends.depth_files import depth_of_image, normalise_depth

    config, source = job.section, job.source
    backend = None if config.backend == FILES else depth_backend(config, device=job.config.device)

    def compute(row, record):
        if backend is None:
            depth = depth_of_image(record.file_name, source.image_root, source.depth_maps, config=config)
        else:
            raw = backend.predict(job.image(record), config.size)
            depth = normalise_depth(
                raw, backend.convention, inverse_to=config.inverse_to, holes="none", clip=config.clip
            )
        return Result({"depth": depth.depth, "range": depth.near_far, "reading": depth.reading})

    attrs = {
        "backend": config.backend if backend is None else backend.description,
        "raw_convention": config.kind if backend is None else backend.convention,
        "turned_by": config.inverse_to,
    }
    return run_stage("depth", job, compute, sizes={"S": config.size}, attrs=attrs)
