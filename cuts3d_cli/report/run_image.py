"""What a run holds of one image: the arrays of its stages, its masks, detections and ground truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.evaluation.readers.common import masks_by_name
from cuts3d_cli.evaluation.readers.formats import read_truth
from cuts3d_cli.pipeline.declarations import LAST
from cuts3d_cli.pipeline.graph import result_path
from cuts3d_cli.pipeline.methods import OWN
from cuts3d_cli.pipeline.results import open_listed
from cuts3d_cli.report.annotations import score_name
from cuts3d_cli.report.overlay import resized
from cuts3d_cli.store.coco import normal_name
from cuts3d_cli.store.images import read_image
from cuts3d_cli.store.layout import FAILED, manifest_path, shard_name
from cuts3d_cli.store.manifest import ImageRecord, Manifest, read_manifest
from cuts3d_cli.store.masks import MaskFile, read_masks
from cuts3d_cli.store.zarr_store import Store


@dataclass(frozen=True)
class Detections:
    """A file of predictions to show, what it is called, and the least score that is drawn."""

    path: Path
    title: str
    min_score: float


@dataclass(frozen=True)
class Truth:
    """Ground truth to show, the folder of its images, and the values of label maps that are no object."""

    path: Path
    images: Path
    ignore_labels: list[int] | None


class Missing(Exception):
    """Why there is no picture of something."""


def spread(n_total: int, n: int) -> list[int]:
    """At most ``n`` evenly spaced positions: the centres of equal parts of ``n_total``."""
    n = min(n, n_total)
    return [(2 * i + 1) * n_total // (2 * n) for i in range(n)]


def bases_of(run_dir: Path) -> dict[str, Path]:
    """Folder of each set of images that the run has, by its name: ``train``, ``val``."""
    bases = {"train": run_dir, "val": run_dir / "val"}
    return {split: base for split, base in bases.items() if manifest_path(base).is_file()}


Place = tuple[int, int, ImageRecord]
"""Shard of an image, row in it, and record."""


def places(manifest: Manifest, indices: Iterable[int]) -> list[Place]:
    """Where the images at these positions of the list (ascending) are; each shard's records are read once."""
    found: list[Place] = []
    shard, records = -1, []
    for index in indices:
        while shard < 0 or index >= manifest.spans[shard][1]:
            shard, records = shard + 1, []
        records = records or manifest.records(shard)
        row = index - manifest.spans[shard][0]
        found.append((shard, row, records[row]))
    return found


class Reader:
    """Opens what the examples need, each file once for images that follow each other."""

    def __init__(self, base: Path, detections: Detections | None, truth: Truth | None, names: set[str]):
        self.base, self.detections = base, detections
        self.truth_file, self.names = truth, {normal_name(name) for name in names}
        self.store = lru_cache(maxsize=8)(self._store)
        self.masks = lru_cache(maxsize=2)(self._masks)
        self.predicted = cache(self._predicted)
        self.truth = cache(self._truth)

    def _store(self, stage: str, shard: int) -> Store:
        path = result_path(self.base, stage, shard_name(shard))
        if not path.exists():
            raise Missing(f"no {stage} of this shard")
        return open_listed(stage, path, read_manifest(manifest_path(self.base)).records(shard))

    def _masks(self, shard: int, method: str) -> tuple[MaskFile, dict[str, list]]:
        path = result_path(self.base, LAST, shard_name(shard), method)
        if not path.exists():
            raise Missing("no masks of this shard")
        masks = read_masks(path, own=True)
        return masks, _by_name(masks)

    def _predicted(self) -> tuple[MaskFile, dict[str, list]]:
        masks = read_masks(self.detections.path, own=True)
        return masks, _by_name(masks)

    def _truth(self) -> dict[str, list]:
        read = read_truth(self.truth_file.path, images=self.truth_file.images,
                          ignore_labels=self.truth_file.ignore_labels)  # fmt: skip
        return masks_by_name(read.document, self.names)

    def has(self, stage: str, method: str = OWN) -> bool:
        """Whether the run has any result of a stage."""
        return result_path(self.base, stage, "", method).parent.is_dir()


@dataclass(frozen=True)
class RunImage:
    """An image of the run: where its results lie and its photograph at thumbnail size."""

    reader: Reader
    shard: int
    row: int
    record: ImageRecord
    path: Path
    photo: np.ndarray
    error: str | None

    @classmethod
    def load(cls, reader: Reader, root: Path, place: Place, side: int) -> RunImage:
        """An image with its photograph; one that cannot be read has a grey one, and the reason in ``error``."""
        shard, row, record = place
        height, width = record.height or 1, record.width or 1
        scale = side / max(height, width)
        size_hw = max(1, round(scale * height)), max(1, round(scale * width))
        path = root / record.file_name
        try:
            photo, error = resized(read_image(path), *size_hw), None
        except Cuts3dError as problem:
            photo, error = np.full((*size_hw, 3), 200, np.uint8), str(problem)
        return cls(reader, shard, row, record, path, photo, error)

    @classmethod
    def without_photo(cls, reader: Reader, root: Path, place: Place) -> RunImage:
        """An image without its photograph, for numbers only."""
        shard, row, record = place
        return cls(reader, shard, row, record, root / record.file_name, np.zeros((0, 0, 3), np.uint8), record.error)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Of the thumbnails."""
        return self.photo.shape[:2]

    def store(self, stage: str) -> Store:
        """The shard's store of a stage, if this image did not fail there."""
        store = self.reader.store(stage, self.shard)
        if store.status[self.row] == FAILED:
            raise Missing(f"failed: {store.failures.get(self.row, 'no reason recorded')}")
        return store

    def array(self, stage: str, name: str) -> np.ndarray:
        """This image's part of an array."""
        return self.store(stage).array(name)[self.row]

    def enlarged(self, values: np.ndarray) -> np.ndarray:
        """A map on the grid at thumbnail size, its patches visible."""
        return resized(np.asarray(values, np.float32), *self.size_hw, smooth=False)

    @property
    def name(self) -> str:
        """File name as masks, detections and ground truth are looked up."""
        return normal_name(self.record.file_name)

    def pseudo_masks(self, method: str = OWN) -> list:
        """Final pseudo-masks of a method, COCO annotations."""
        masks, by_name = self.reader.masks(self.shard, method)
        return self._found(masks, by_name, "")

    def score_name(self, method: str = OWN) -> str | None:
        """What the score of a method's pseudo-masks is (`annotations.score_name`)."""
        return score_name(self.reader.masks(self.shard, method)[0].provenance.config)

    def detections(self) -> list:
        """Everything the detector found, COCO annotations."""
        masks, by_name = self.reader.predicted()
        return self._found(masks, by_name, "the detector was not run on this image")

    def truth(self) -> list:
        """Run-length masks of the ground truth's objects."""
        masks = self.reader.truth().get(self.name)
        if masks is None:
            raise Missing("the ground truth lacks this image")
        return masks

    def missing_depth(self) -> float:
        """Fraction of the depth map without a reading."""
        return 1 - float(self.array("depth", "reading").mean())

    def _found(self, masks: MaskFile, by_name: dict[str, list], absent: str) -> list:
        if self.record.file_name in masks.counts.failures:
            raise Missing(f"failed: {masks.counts.failures[self.record.file_name]}")
        if absent and self.name not in by_name:
            raise Missing(absent)
        return by_name.get(self.name, [])


def _by_name(masks: MaskFile) -> dict[str, list]:
    by_id = masks.by_image()
    return {normal_name(image["file_name"]): by_id[image["id"]] for image in masks.images}
