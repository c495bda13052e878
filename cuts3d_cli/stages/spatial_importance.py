"""Spatial Importance of a shard (paper Sec. 3.3, Eq. 1-2)."""

from __future__ import annotations

from cuts3d_cli.core.spatial_importance import spatial_importance
from cuts3d_cli.pipeline.runner import Job, Result, run_stage
from cuts3d_cli.store.masks import Counts
from cuts3d_cli.store.rows import Rows


def run(job: Job) -> Counts:
    """Write ``importance`` (n, G, G) from the depth store."""
    depth = Rows(job.stores["depth"].array("depth"))
    grid = job.config.features.grid

    def compute(row, record):
        importance = spatial_importance(depth[row], grid_hw=(grid, grid), **job.config.spatial_importance.model_dump())
        return Result({"importance": importance})

    return run_stage("spatial-importance", job, compute, sizes={"G": grid})
