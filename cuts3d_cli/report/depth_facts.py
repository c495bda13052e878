"""What the depth stores of a run say: how much of the depth is missing, and how long a length of the scene cube is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cuts3d_cli.config.backends import AUTO
from cuts3d_cli.errors import StoreError
from cuts3d_cli.evaluation.table import SPLIT_NAMES
from cuts3d_cli.pipeline.depth_notes import PREDICTED, large_holes
from cuts3d_cli.pipeline.graph import result_path
from cuts3d_cli.pipeline.results import open_listed
from cuts3d_cli.report.run_image import bases_of, places, spread
from cuts3d_cli.store.layout import DEPTH_SOURCES, FAILED, manifest_path, shard_name
from cuts3d_cli.store.manifest import Manifest, read_manifest
from cuts3d_cli.store.map_kinds import MILLIMETRES_FROM
from cuts3d_cli.store.zarr_store import Store

MOST_IMAGES = 500
"""Images that are looked at, evenly spread, so that a large run costs no more than a small one."""


@dataclass(frozen=True)
class DepthFacts:
    """Depth of the images of a set.

    Attributes:
        n_images: images looked at.
        holes: fraction without a reading by file name.
        near_far: median over the images of the nearest and farthest depth in the unit of the files; None where depth
            is not metric.
        notes: what is odd about depth maps: the images by key of `depth_notes.WORDS`; that depth was predicted where
            other images have maps.
    """

    n_images: int
    holes: dict[str, float]
    near_far: tuple[float, float] | None
    notes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Median fraction without a reading."""
        return float(np.median(list(self.holes.values())))

    @property
    def highest(self) -> float:
        """Highest fraction without a reading."""
        return max(self.holes.values())

    @property
    def large_holes(self) -> dict[str, float]:
        """Images with large holes and their fractions, the largest first."""
        return large_holes(self.holes)

    @property
    def in_millimetres(self) -> bool:
        """Whether metric depth is read as millimetres."""
        return self.near_far is not None and self.near_far[1] > MILLIMETRES_FROM

    @property
    def metres(self) -> float | None:
        """Length in metres of the cube's depth; None where depth is not metric."""
        if self.near_far is None:
            return None
        near, far = self.near_far
        return (far - near) / (1000 if self.in_millimetres else 1)


def depth_facts(base: Path) -> DepthFacts | None:
    """Look at the depth of the images below ``base``; None where there is none.

    Stores that cannot be read are left out: the summary of the run names them.
    """
    try:
        manifest = read_manifest(manifest_path(base))
    except StoreError:
        return None
    holes, ranges, notes, stores = {}, [], {}, {}
    predicted = []
    for shard, row, record in places(manifest, spread(manifest.n_images, MOST_IMAGES)):
        if shard not in stores:
            stores = {shard: _store(base, manifest, shard)}  # one at a time
        store = stores[shard]
        if store is None or store.status[row] == FAILED:
            continue
        for note, rows in store.attrs.get("notes", {}).items():
            if row in rows:
                notes.setdefault(note, []).append(record.file_name)
        holes[record.file_name] = 1 - float(store.array("reading")[row].mean())
        if store.attrs.get("backend") == AUTO and _source(store, row) == "model":
            predicted.append(record.file_name)
        near_far = store.array("range")[row]
        if _is_metric(store, row) and np.isfinite(near_far).all():
            ranges.append(near_far)
    if not holes:
        return None
    if 0 < len(predicted) < len(holes):
        notes[PREDICTED] = predicted
    near, far = np.median(ranges, axis=0).tolist() if ranges else (0.0, 0.0)
    return DepthFacts(len(holes), holes, (near, far) if far > near else None, notes)


def depth_of_sets(run_dir: Path) -> dict[str, DepthFacts]:
    """Depth of the sets of images of a run that have any, by the name of the set in words."""
    found = {SPLIT_NAMES[split]: depth_facts(base) for split, base in bases_of(run_dir).items()}
    return {name: facts for name, facts in found.items() if facts is not None}


def _is_metric(store: Store, row: int) -> bool:
    """Whether an image's depth is a distance: its file holds one, or its model predicts one."""
    from_file = _source(store, row) == "file"
    return (store.config.get("kind") if from_file else store.attrs.get("raw_convention")) == "metric"


def _source(store: Store, row: int) -> str:
    return DEPTH_SOURCES[int(store.array("source")[row])]


def _store(base: Path, manifest: Manifest, shard: int) -> Store | None:
    path = result_path(base, "depth", shard_name(shard))
    try:
        return open_listed("depth", path, manifest.records(shard)) if path.exists() else None
    except StoreError:
        return None
