"""Mask files with their masks decoded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from cuts3d_cli.api.inputs import described
from cuts3d_cli.errors import StoreError
from cuts3d_cli.store import coco, masks
from cuts3d_cli.store.coco_document import check_masks
from cuts3d_cli.store.masks import MaskFile


@dataclass(frozen=True, repr=False, eq=False)
class ImageMasks:
    """The masks of an image in a mask file, in their order there.

    Attributes:
        id: of the image.
        file_name: relative to ``MaskSet.image_root``.
        size_hw: height and width of the image in px.
        masks: (M, H, W) bool.
        scores: (M,) float64; 1 where the file has none.
        quality: (M,) float64, see `core.quality`; NaN where the file has none.
        confidence: M maps (h, w) float32 on the patch grid, or None where a mask has no confidence.
    """

    id: int | str
    file_name: str
    size_hw: tuple[int, int]
    masks: np.ndarray
    scores: np.ndarray
    quality: np.ndarray
    confidence: tuple[np.ndarray | None, ...]

    def __len__(self) -> int:
        return len(self.masks)

    def __repr__(self) -> str:
        return f"<ImageMasks {self.file_name}: {described(self.masks, self.scores)}>"


class MaskSet(Sequence[ImageMasks]):
    """A file of masks, read by `read_masks`: a sequence of its images, whose masks are decoded when asked for.

    Attributes:
        path: the file.
        image_root: folder that file names are relative to.
        file_names: of its images, in order.
        kind: ``pseudo-masks`` or ``predictions``; what files of others say.
        provenance: how the masks were made; empty for files of others.
        counts: how the images ended, with the reason of each that failed; empty for files of others.
    """

    def __init__(self, path: Path, content: MaskFile):
        self.path, self.image_root = path, content.image_root
        self.kind, self.provenance, self.counts = content.kind, content.provenance, content.counts
        self._images, self._annotations = content.images, content.by_image()
        self.file_names = tuple(image["file_name"] for image in self._images)

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, index: int | str) -> ImageMasks: ...

    @overload
    def __getitem__(self, index: slice) -> list[ImageMasks]: ...

    def __getitem__(self, index: int | str | slice) -> ImageMasks | list[ImageMasks]:
        """The masks of an image, by its place or its file name.

        Raises:
            IndexError, KeyError: no such image.
            StoreError: a confidence map is damaged.
        """
        if isinstance(index, slice):
            return [self._decoded(image) for image in self._images[index]]
        if isinstance(index, str):
            if index not in self.file_names:
                raise KeyError(index)
            index = self.file_names.index(index)
        return self._decoded(self._images[index])

    def __iter__(self) -> Iterator[ImageMasks]:
        return map(self._decoded, self._images)

    def __repr__(self) -> str:
        n = sum(map(len, self._annotations.values()))
        return f"<MaskSet {self.path}: {n} masks of {len(self)} images>"

    def _decoded(self, image: Mapping[str, Any]) -> ImageMasks:
        size_hw = (image["height"], image["width"])
        entries = self._annotations.get(image["id"], [])
        masks = np.zeros((len(entries), *size_hw), bool)
        for mask, entry in zip(masks, entries, strict=True):
            mask[:] = coco.mask_of(entry, image)
        scores = np.array([coco.score_of(entry) for entry in entries], float)
        quality = np.array([coco.quality_of(entry) for entry in entries], float)  # None is NaN
        try:
            maps = tuple(None if (found := coco.confidence_of(entry)) is None else found.grid for entry in entries)
        except StoreError as error:
            raise StoreError(f"file {self.path}: {error}") from None
        return ImageMasks(image["id"], image["file_name"], size_hw, masks, scores, quality, maps)


def read_masks(path: str | os.PathLike[str]) -> MaskSet:
    """Read masks: pseudo-masks, the labels of a round of self-training, predictions, or any COCO JSON of instances.

    Args:
        path: COCO JSON.

    Raises:
        StoreError: the file is missing or no COCO JSON, or a record in it is wrong or has no mask.
    """
    path = Path(path)
    content = masks.read_masks(path)
    check_masks(content.annotations, f"file {path}")
    return MaskSet(path, content)
