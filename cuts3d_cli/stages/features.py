"""Patch features of a shard (paper Sec. 3.1)."""

from __future__ import annotations

import numpy as np

from cuts3d_cli.backends.base import feature_backend
from cuts3d_cli.errors import ImageError
from cuts3d_cli.stages.common import Counts, Job, Result, run_stage
from cuts3d_cli.store.images import working_image


def run(job: Job) -> Counts:
    """Write ``features`` (n, C, G, G) of the working images."""
    config = job.section
    backend = feature_backend(config, device=job.config.device)

    def compute(row, record):
        working = working_image(job.image(record), config.image_size)
        return Result({"features": _stored(backend.extract(working))})

    return run_stage("features", job, compute, sizes={"G": config.grid}, attrs={"backend": backend.description})


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
