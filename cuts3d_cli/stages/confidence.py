"""Spatial Confidence of a shard (paper Sec. 3.4, Eq. 4)."""

from __future__ import annotations

from cuts3d_cli.config import check_thresholds
from cuts3d_cli.core.segment import cut_confidence
from cuts3d_cli.errors import StoreError
from cuts3d_cli.pipeline.runner import Job, Result, run_stage
from cuts3d_cli.store.masks import Counts
from cuts3d_cli.store.rows import Rows


def run(job: Job) -> Counts:
    """Write ``confidence`` and ``score`` by repeating localcut's 3D cuts with smaller thresholds.

    Raises:
        StoreError: the localcut store was made without 3D cuts.
        ConfigError: tau_knn_min exceeds the tau_knn that localcut ran with.
    """
    localcut, config = job.stores["localcut"], job.config.confidence
    cut = localcut.config
    if not cut["local_cut"]:
        raise StoreError(
            f"store {localcut.path} has no 3D cuts",
            expected="localcut.local_cut on",
            hint="skip the confidence stage",
        )
    check_thresholds(config.tau_knn_min, cut["tau_knn"])
    arrays = {name: Rows(localcut.array(name)) for name in ("semantic", "instance", "terminals", "depth")}
    settings = {"localcut": cut, "confidence": config.model_dump()}

    def compute(row, record):
        found = {name: array[row] for name, array in arrays.items()}
        confidence, score = cut_confidence(**found, **settings)
        return Result({"confidence": confidence, "score": score}, no_object=not found["instance"].any())

    return run_stage("confidence", job, compute)
