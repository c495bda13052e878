"""Depth of a shard, from files or a model, normalised so that 0 is nearest (paper Sec. 3.1)."""

from __future__ import annotations

from functools import cache

import numpy as np

from cuts3d_cli.backends.base import DepthBackend, depth_backend
from cuts3d_cli.config.backends import AUTO, FILES, READS_FILES
from cuts3d_cli.pipeline.runner import Job, Result, run_stage
from cuts3d_cli.store.layout import DEPTH_SOURCES
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.store.masks import Counts


def run(job: Job) -> Counts:
    """Write ``depth`` (n, S, S), what its 0 and 1 stand for, where there was a reading, and where the map is from.

    With backend ``auto`` a file wins over the model. What is odd about maps is recorded by row, for the command to say.
    """
    from cuts3d_cli.backends.depth_files import depth_of_image, has_depth_map
    from cuts3d_cli.backends.depth_values import predicted_depth

    config, source = job.config.depth, job.source
    notes: dict[str, list[int]] = job.recorded_rows("notes")

    @cache
    def model() -> DepthBackend:  # loaded only where an image needs it
        return depth_backend(config, device=job.config.device)

    def from_file(record: ImageRecord) -> bool:
        return config.backend == FILES or (
            config.backend == AUTO and has_depth_map(record.file_name, source.image_root, source.depth_maps)
        )

    def compute(row: int, record: ImageRecord) -> Result:
        if from_file(record):
            depth, origin = depth_of_image(record.file_name, source.image_root, source.depth_maps, config), "file"
        else:
            depth, origin = predicted_depth(model(), job.image(record), config), "model"
        for note in depth.notes:
            notes[note] = sorted([*notes.get(note, []), row])
        arrays = {"depth": depth.depth, "range": depth.near_far, "reading": depth.reading}
        return Result({**arrays, "source": np.uint8(DEPTH_SOURCES.index(origin))})

    attrs = {"backend": config.backend, "turned_by": config.inverse_to, "files_hold": config.kind, "notes": notes}
    if config.backend not in READS_FILES:
        attrs |= {"backend": model().description, "raw_convention": model().convention}
    return run_stage("depth", job, compute, sizes={"S": config.size}, attrs=attrs)
