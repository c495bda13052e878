"""What a run holds of one image: the arrays of its stages, its masks, detections and ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.evaluation.coco_files import masks_by_name, normal_name
from cuts3d_cli.evaluation.readers.formats import read_truth
from cuts3d_cli.pipeline.declarations import LAST
from cuts3d_cli.pipeline.graph import result_path
from cuts3d_cli.pipeline.methods import OWN
from cuts3d_cli.report.overlay import overlay, resized, resized_masks
from cuts3d_cli.store.images import read_image
from cuts3d_cli.store.layout import FAILED, shard_name
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.store.masks import MaskFile, read_masks
from cuts3d_cli.store.zarr_store import Store, open_store


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
        return open_store(path, stage)

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
        return masks_by_name(read.document, self.names, name=f"ground truth {self.truth_file.path}")

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
    photo: np.ndarray
    error: str | None

    @classmethod
    def load(cls, reader: Reader, root: Path, shard: int, row: int, record: ImageRecord, side: int) -> RunImage:
        height, width = record.height or 1, record.width or 1
        scale = side / max(height, width)
        size_hw = max(1, round(scale * height)), max(1, round(scale * width))
        try:
            photo, error = resized(read_image(root / record.file_name), *size_hw), None
        except Cuts3dError as problem:
            photo, error = np.full((*size_hw, 3), 200, np.uint8), str(problem)
        return cls(reader, shard, row, record, photo, error)

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

    def drawn(self, masks: np.ndarray, scores: Sequence[float] | None = None) -> np.ndarray:
        """Masks (N, h, w) of any size over the photograph."""
        return overlay(self.photo, resized_masks(masks, *self.size_hw), scores)


def _by_name(masks: MaskFile) -> dict[str, list]:
    by_id = masks.by_image()
    return {normal_name(image["file_name"]): by_id[image["id"]] for image in masks.images}
