"""Spatial Confidence of a shard (paper Sec. 3.4, Eq. 4)."""

from __future__ import annotations

import numpy as np

from cuts3d_cli.config import check_thresholds
from cuts3d_cli.core.confidence import average_cuts, clamp_confidence, mean_confidence
from cuts3d_cli.core.geometry import grid_points
from cuts3d_cli.core.localcut import semantic_graph
from cuts3d_cli.errors import StoreError
from cuts3d_cli.stages.common import Counts, Job, Result, run_stage


def run(job: Job) -> Counts:
    """Write ``confidence`` and ``score`` by repeating localcut's 3D cuts with smaller thresholds.

    Raises:
        StoreError: the localcut store was made without 3D cuts.
        ConfigError: tau_knn_min exceeds the tau_knn that localcut ran with.
    """
    localcut, depth, config = job.stores["localcut"], job.stores["depth"].array("depth"), job.section
    cut = localcut.config
    if not cut["local_cut"]:
        raise StoreError(f"store {localcut.path} has no 3D cuts", expected="localcut.local_cut on", hint="leave the confidence stage out")
    check_thresholds(config.tau_knn_min, cut["tau_knn"])
    arrays = {name: localcut.array(name) for name in ("semantic", "instance", "terminals")}

    def compute(row, record):
        semantic, instance, terminals = (arrays[name][row] for name in ("semantic", "instance", "terminals"))
        points = grid_points(depth[row], instance.shape[1:], xy_extent=cut["xy_extent"])
        confidence = np.zeros(instance.shape, np.float32)
        for slot in np.flatnonzero(instance.any(axis=(1, 2))):
            graph = semantic_graph(
                points, semantic[slot], k=cut["k"], background_z=cut["background_z"], longest=cut["tau_knn"]
            )
            share = average_cuts(
                graph,
                semantic[slot],
                *terminals[slot].tolist(),
                tau_knn=cut["tau_knn"],
                tau_knn_min=config.tau_knn_min,
                n_thresholds=config.n_thresholds,
                capacity=cut["capacity"],
                maxflow=cut["maxflow"],
            )
            confidence[slot] = clamp_confidence(share, instance[slot], sc_min=config.sc_min)
        score = mean_confidence(confidence, instance)
        return Result({"confidence": confidence, "score": score}, no_object=not instance.any())

    return run_stage("confidence", job, compute)
