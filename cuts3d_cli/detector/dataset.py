"""Pseudo-masks as training data: the COCO JSON with scores and confidence, and an endless, exact stream of samples."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from torch.utils.data import Dataset, Sampler

from cuts3d_cli.detector.labels import dataset_entry
from cuts3d_cli.errors import Cuts3dError, ImageError, StoreError
from cuts3d_cli.log import logger
from cuts3d_cli.store.coco import confidence_of, score_of
from cuts3d_cli.store.masks import check_image_root, read_masks, to_learn


@DATASETS.register_module()
class PseudoMaskDataset(BaseDetDataset):
    """COCO JSON of pseudo-masks with their score and confidence.

    Every annotation to learn from (`to_learn`) is an instance of the one class ``object``; images without one are
    omitted. Beside MMDetection's keys an instance has ``id``,
    ``score`` and ``confidence`` of its annotation; the last is decoded with the image (`store.coco.confidence_of`).

    Args:
        ann_file: the COCO JSON; its ``info.image_root`` says where the images lie.
        with_confidence: check the confidence maps, and say so where there is none.
        image_root: folder of the images, if the JSON does not say it.

    Raises:
        StoreError: the JSON is missing, damaged or of an older cuts3d, or a confidence map is damaged.
        Cuts3dError: a record is wrong or has no mask, there is nothing to learn from, or the images are elsewhere.
    """

    METAINFO = {"classes": ("object",), "palette": [(220, 20, 60)]}  # noqa: RUF012 (MMDetection's convention)

    def __init__(
        self,
        ann_file: str | Path,
        *,
        with_confidence: bool = False,
        image_root: str | Path | None = None,
        **kwargs,
    ):
        self.with_confidence = with_confidence
        self.image_root = None if image_root is None else Path(image_root)
        super().__init__(ann_file=str(ann_file), **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """One entry per image that has annotations."""
        path = Path(self.ann_file)
        masks = read_masks(path)
        if self.image_root is not None:
            masks = replace(masks, image_root=self.image_root)
        annotations, n_left_out = to_learn(masks, path)
        if n_left_out:
            logger.info("train: %s: %d crowd regions, ignored or empty objects left out", path, n_left_out)
        instances = {key: list(map(_instance, of_image)) for key, of_image in annotations.items()}
        images = [image for image in masks.images if image["id"] in instances]
        entries = [dataset_entry(image, masks.image_root, instances[image["id"]]) for image in images]
        if not entries:
            raise Cuts3dError(
                f"file {path} has no annotation to train on",
                expected="at least one mask",
                found=f"{len(masks.images)} images without masks",
                hint="check the pseudo-masks first: lower localcut.tau_ncut or crf.min_iou (in-domain self-training: "
                "selftrain.target_threshold), or use other images",
            )
        check_image_root(replace(masks, images=images), path)
        if self.with_confidence:
            _check_confidence(path, (instance for of_image in instances.values() for instance in of_image))
        return entries


def _check_confidence(path: Path, instances: Iterable[Mapping[str, Any]]) -> None:
    """Warn where no instance has a confidence; a damaged one stops the training before it starts."""
    if not sum(_has_confidence(path, entry) for entry in instances):
        logger.warning("train: %s has no Spatial Confidence, which is taken as 1 everywhere in blending and loss", path)


def _has_confidence(path: Path, instance: Mapping[str, Any]) -> bool:
    try:
        return confidence_of(instance) is not None
    except StoreError as error:
        raise StoreError(f"masks {path}: {error}", hint="rerun `cuts3d crf` and `cuts3d merge`") from None


def _instance(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "bbox": [0, 0, 1, 1],  # the training takes boxes from the masks
        "bbox_label": 0,
        "mask": entry["segmentation"],
        "ignore_flag": 0,
        "id": entry.get("id", ""),
        "score": score_of(entry),
        "confidence": entry.get("confidence"),
    }


class TrainingStream(Dataset):
    """Samples by position in an endless training, the same for any number of workers and after a resume.

    Position p is sample p of the training: epoch p // n of a shuffled dataset. All random choices of
    a sample come from (seed, position) alone.

    Args:
        dataset: dataset config; its entries are images with instances.
        load: transforms of each image, up to its own augmentation.
        mix: transforms that may use a second image, given under ``partner``.
        pack: transforms that make the model's input.
        seed: seed of order and augmentation.
    """

    def __init__(self, dataset: dict, load: list[dict], mix: list[dict], pack: list[dict], seed: int):
        self.entries = DATASETS.build(dataset)
        self.load, self.mix, self.pack = compose(load), compose(mix).transforms, compose(pack)
        self.seed = seed
        self.metainfo = self.entries.metainfo
        self._epoch: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, position: int) -> dict[str, Any]:
        """Packed sample ``{"inputs", "data_samples"}`` of a position in the training.

        Raises:
            ImageError: neither this image nor its successors can be read.
        """
        with seeded(self.seed, position):
            results = self._loaded(self.image_at(position))
            for transform in self.mix:
                results["partner"] = self._loaded(int(np.random.randint(len(self))))
                results = transform(results)
                del results["partner"]
            return self.pack(results)

    def image_paths(self) -> list[Path]:
        """The images, each once, in the order of the dataset."""
        return [Path(self.entries.get_data_info(index)["img_path"]) for index in range(len(self))]

    def image_at(self, position: int) -> int:
        """Number of the image at a position: each epoch is a new permutation of all."""
        epoch, place = divmod(position, len(self))
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, np.random.default_rng((self.seed, epoch)).permutation(len(self))
        return int(self._epoch[1][place])

    def _loaded(self, index: int, attempts: int = 20) -> dict[str, Any]:
        """The augmented image; one that cannot be read is replaced by the next."""
        for attempt in range(attempts):
            try:
                return self.load(self.entries.get_data_info((index + attempt) % len(self)))
            except ImageError as error:
                logger.warning("training continues without it: %s", error)
                reason = error
        raise ImageError(f"{attempts} consecutive images cannot be read, last: {reason}")


class PositionSampler(Sampler[int]):
    """Positions ``start`` to ``stop`` of a :class:`TrainingStream` in order, or one process's part of them.

    The processes divide each step, so that together they see what one process would.

    Args:
        start: first position.
        stop: one past the last.
        step: positions in a step; only read where there are several processes, which must divide it.
        process: number of this process.
        processes: how many there are.
    """

    def __init__(self, start: int, stop: int, *, step: int = 1, process: int = 0, processes: int = 1):
        self.start, self.stop, self.step = start, stop, step
        self.process, self.processes = process, processes

    def __iter__(self) -> Iterator[int]:
        if self.processes == 1:
            return iter(range(self.start, self.stop))
        share = self.step // self.processes
        firsts = range(self.start + self.process * share, self.stop, self.step)
        return (first + number for first in firsts for number in range(share))

    def __len__(self) -> int:
        return (self.stop - self.start) // self.processes


def compose(transforms: list[dict]) -> Compose:
    """Transforms in a row, found in MMDetection's registry wherever this is called from."""
    with DefaultScope.overwrite_default_scope("mmdet"):
        return Compose([_tuples(transform) for transform in transforms])


def _tuples(value: Any) -> Any:
    """Pairs of numbers, lists in JSON, as the tuples that MMDetection's transforms insist on."""
    if isinstance(value, dict):
        return {key: _tuples(entry) for key, entry in value.items()}
    if isinstance(value, list):
        inside = [_tuples(entry) for entry in value]
        return tuple(inside) if all(isinstance(entry, int | float) for entry in inside) else inside
    return value


def derived_seed(*key: int) -> int:
    """A 32-bit seed that depends on all numbers of ``key``."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Seed NumPy's and Python's global generators, which MMDetection's transforms use, and restore them after."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    seed = derived_seed(*key)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
