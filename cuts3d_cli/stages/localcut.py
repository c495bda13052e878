"""NCut and LocalCut of a shard (paper Sec. 3.1-3.2): the instances of each image on the patch grid."""

from __future__ import annotations

import numpy as np

from cuts3d_cli.core.find_instances import find_instances_batch
from cuts3d_cli.core.geometry import depth_to_grid
from cuts3d_cli.core.types import Cuts
from cuts3d_cli.pipeline.runner import Job, Result, ahead, check_grid, run_stage, solver_and_device, usable_rows
from cuts3d_cli.store.layout import OUTCOME_NAMES, SOLVER_NAMES, TOO_SMALL
from cuts3d_cli.store.masks import Counts
from cuts3d_cli.store.rows import Rows


def run(job: Job) -> Counts:
    """Write the arrays of `layout.ARRAYS` for localcut from features, depth and importance.

    Recorded too is the area of each candidate that was too small, by row and attempt.

    Raises:
        StoreError: features and importance lie on different grids.
    """
    arrays = {
        name: store.array(name if name in ("features", "depth") else "importance") for name, store in job.stores.items()
    }
    grid_hw = arrays["features"].shape[2:]
    if "spatial-importance" in job.stores:
        hint = "rerun `cuts3d spatial-importance` with the features.image_size and patch_size of the features"
        check_grid(job.stores["spatial-importance"], "importance", grid_hw, hint)
    rows = {name: Rows(array) for name, array in arrays.items()}
    too_small: dict[str, dict[str, float]] = job.recorded_by_row(TOO_SMALL)
    eigensolver, device = solver_and_device(job.config, job.config.localcut.eigensolver)
    settings = {**job.config.localcut.model_dump(), "eigensolver": eigensolver, "device": device}

    def read(row: int) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        features = rows["features"][row].astype(np.float32)
        depth = depth_to_grid(rows["depth"][row].astype(np.float32), grid_hw) if "depth" in rows else None
        importance = rows["spatial-importance"][row] if "spatial-importance" in rows else None
        return features, depth, importance

    def find(rows: list[int]) -> list[tuple[Cuts, np.ndarray | None]]:
        images = [read(row) for row in rows]
        return list(zip(find_instances_batch(images, **settings), (depth for _, depth, _ in images), strict=True))

    found_in = ahead(usable_rows(job), images_at_once(int(np.prod(grid_hw)), eigensolver), find)

    def compute(row, record):
        found, depth = found_in(row)
        outputs = {name: getattr(found, name) for name in ("semantic", "instance", "terminals", "fiedler", "contrast")}
        if areas := {str(n): round(tried.area, 6) for n, tried in enumerate(found.info) if tried.outcome == "small"}:
            too_small[str(row)] = areas
        outputs["depth"] = np.zeros(grid_hw) if depth is None else depth
        return Result({**outputs, **_codes(found)}, no_object=not found.instance.any())

    sizes = {"N": job.config.localcut.n_instances}
    return run_stage("localcut", job, compute, sizes=sizes, attrs={TOO_SMALL: too_small})


def images_at_once(n_patches: int, eigensolver: str) -> int:
    """Images whose eigenvectors are sought together; only torch gains from more than one."""
    if eigensolver != "torch":
        return 1
    from cuts3d_cli.core.ncut_torch import batch_size

    return batch_size(n_patches)


def _codes(found: Cuts) -> dict[str, np.ndarray]:
    """Outcome and solver of each attempt as the numbers that the store holds."""
    return {
        "outcome": np.array([OUTCOME_NAMES.index(t.outcome) for t in found.info], np.uint8),
        "solver": np.array([SOLVER_NAMES.index(t.solver or "none") for t in found.info], np.uint8),
    }
