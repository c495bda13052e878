"""NCut and LocalCut of a shard (paper Sec. 3.1-3.2): the instances of each image on the patch grid."""

from __future__ import annotations

import numpy as np

from cuts3d_cli.core.discover import discover
from cuts3d_cli.stages.common import Counts, Job, Result, run_stage


def run(job: Job) -> Counts:
    """Write ``semantic``, ``instance``, ``terminals`` and ``fiedler`` from features, depth and importance."""
    arrays = {
        name: store.array(name if name in ("features", "depth") else "importance") for name, store in job.stores.items()
    }
    settings = job.section.model_dump()

    def compute(row, record):
        features = arrays["features"][row].astype(np.float32)
        depth = arrays["depth"][row].astype(np.float32) if "depth" in arrays else None
        importance = arrays["spatial-importance"][row] if "spatial-importance" in arrays else None
        found = discover(features, depth, importance, **settings)
        outputs = {name: getattr(found, name) for name in ("semantic", "instance", "terminals", "fiedler")}
        return Result(outputs, no_object=not found.instance.any())

    return run_stage("localcut", job, compute, sizes={"N": job.section.n_instances})
