"""A round of self-training: label the training images with the detector so far, then train on (Sec. 4, Table 17)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools import mask as rle

from cuts3d_cli.config import PredictConfig, SelfTrainConfig, TrainConfig
from cuts3d_cli.core.masks import merge_round
from cuts3d_cli.errors import Cuts3dError, StoreError
from cuts3d_cli.log import logger
from cuts3d_cli.pipeline.runner import check_failed, images_fingerprint
from cuts3d_cli.store.coco import decode_mask, image_entry, run_lengths, without_id
from cuts3d_cli.store.files import digest_file, fingerprint, remove
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.store.masks import (
    PSEUDO_MASKS,
    Counts,
    MaskFile,
    Provenance,
    check_image_root,
    read_masks,
    to_learn,
    write_masks,
)
from cuts3d_cli.training import train as train_stage

if TYPE_CHECKING:
    from cuts3d_cli.detector.inference import Detector


def run(
    checkpoint: Path,
    annotations: Path,
    out: Path,
    *,
    round_number: int,
    config: SelfTrainConfig,
    train: TrainConfig,
    seed: int = 0,
    device: str = "auto",
    resume: bool = True,
    threads: int | None = None,
    launcher: str = "none",
    max_failed: float = 1.0,
    images: Path | None = None,
) -> Counts:
    """Run round t; write ``annotations.json`` (its labels) and what ``cuts3d train`` writes into ``out``.

    Predictions with a score above ``score_threshold - score_step * t`` become labels; earlier masks
    stay where they do not overlap them, and images without a confident prediction keep theirs. Training
    starts from the weights of the round before and uses no confidence.

    Args:
        checkpoint: detector of round t - 1.
        annotations: COCO JSON that round t - 1 trained on.
        out: folder for the results.
        round_number: t, from 1.
        config: the ``selftrain`` section.
        train: the ``train`` section; what ``config`` has too comes from there.
        seed: decides order and augmentation.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        resume: go on from ``out/work`` if it fits.
        threads: CPU threads; by default what the environment says.
        launcher: what started the processes: ``none``, ``pytorch`` (torchrun) or ``slurm``.
        max_failed: fraction of the images that may fail in predicting; checked before the training.
        images: folder of the images, if ``annotations`` does not say it.

    Returns:
        How predicting on the training images ended.

    Raises:
        Cuts3dError: inputs missing or of another kind, too many images failed, or a diverging loss.
    """
    from cuts3d_cli.backends.torch_tools import resolve_device
    from cuts3d_cli.detector import distributed

    checkpoint, annotations, out = Path(checkpoint), Path(annotations), Path(out)
    if round_number < 1:
        raise Cuts3dError("round of self-training", expected="1 or more", found=round_number)
    work = out / "work"
    labels = work / "annotations.json"
    with distributed.process_group(launcher, resolve_device(device)) as own_device:
        if not resume and distributed.is_main_process():
            remove(work)
        distributed.barrier()
        counts = make_labels(
            checkpoint, annotations, labels,
            round_number=round_number, config=config, device=str(own_device), threads=threads, images=images,
            max_failed=max_failed,
        )  # fmt: skip
        train_stage.run(
            labels, out,
            config=round_config(config, train), seed=seed + round_number, device=str(own_device), init=checkpoint,
            resume=resume, threads=threads,
        )  # fmt: skip
        if distributed.is_main_process():
            _copy_labels(labels, out / "annotations.json")
            logger.info("selftrain: images %s -> %s", counts, out)
    return counts


def run_target(
    checkpoint: Path,
    images: Sequence[Path],
    out: Path,
    *,
    config: SelfTrainConfig,
    train: TrainConfig,
    seed: int = 0,
    device: str = "auto",
    resume: bool = True,
    threads: int | None = None,
    launcher: str = "none",
    max_failed: float = 1.0,
) -> Counts:
    """In-domain self-training: label the images of another domain with the detector, and train on them (Sec. 4.3).

    The labels are the predictions above ``target_threshold``. There are no earlier masks, and images
    without such a prediction are omitted. All else is as in a round; depth is not needed.

    Args:
        checkpoint: the detector to start from.
        images: image files and folders.
        out: folder for the results.
        config: the ``selftrain`` section.
        train: the ``train`` section; what ``config`` has too comes from there.
        seed, device, resume, threads, launcher, max_failed: as for :func:`run`.

    Returns:
        How predicting on the images ended.

    Raises:
        Cuts3dError: no images, no confident prediction in any of them, inputs of another kind, or a diverging loss.
    """
    from cuts3d_cli.backends.torch_tools import resolve_device
    from cuts3d_cli.detector import distributed
    from cuts3d_cli.pipeline.cache import expand
    from cuts3d_cli.pipeline.image_set import common_root
    from cuts3d_cli.store.image_files import make_records

    root, unlabelled = common_root(images), Path(out) / "images.json"
    records = make_records([Path(os.path.abspath(path)) for path in expand(list(images))], root)
    broken = {record.file_name: record.error for record in records if record.error}
    for name, error in broken.items():
        logger.warning("selftrain: %s cannot be read: %s", name, error)
    check_failed(Counts(done=len(records) - len(broken), failures=broken), max_failed, "selftrain")
    with distributed.process_group(launcher, resolve_device(device)) as own_device:
        if distributed.is_main_process():
            write_masks(unlabelled, _unlabelled(records, root))
        distributed.barrier()
        counts = run(
            checkpoint, unlabelled, out,
            round_number=1, config=target_config(config), train=train, seed=seed, device=str(own_device),
            resume=resume, threads=threads, max_failed=max_failed,
        )  # fmt: skip
    counts.failures |= broken
    return counts


def _unlabelled(records: Sequence[ImageRecord], root: Path) -> MaskFile:
    """Images that can be read, with their contents' hash and no masks."""
    readable = [record for record in records if not record.error]
    images = images_fingerprint(readable)
    return MaskFile(
        PSEUDO_MASKS,
        Path(root).resolve(),
        images=[image_entry(record) for record in readable],
        annotations=[],
        provenance=Provenance(fingerprint=images, images=images),
        counts=Counts(no_object=len(readable)),
    )


def target_config(config: SelfTrainConfig) -> SelfTrainConfig:
    """The settings of a round that give in-domain self-training."""
    return config.model_copy(
        update={
            "score_threshold": config.target_threshold,
            "score_step": 0.0,
            "iterations": config.target_iterations,
        }
    )


def dependencies(config: SelfTrainConfig, train: TrainConfig, seed: int, round_number: int) -> dict[str, Any]:
    """What of a configuration round t depends on: a rule's parameters; JSON-able."""
    made = train_stage.dependencies(round_config(config, train), seed + round_number)
    return {**made, "labels": label_settings(config, round_number)}


def label_settings(config: SelfTrainConfig, round_number: int) -> dict[str, Any]:
    """The settings that decide the labels of round t; recorded with them."""
    return {
        "score_threshold": round_threshold(config, round_number),
        "merge_iou": config.merge_iou,
        "max_detections": config.max_detections,
    }


def round_threshold(config: SelfTrainConfig, round_number: int) -> float:
    """Score above which predictions become labels in round t = 1, 2, ..."""
    return config.score_threshold - config.score_step * round_number


def round_config(config: SelfTrainConfig, train: TrainConfig) -> TrainConfig:
    """Training settings of a round: those of ``train``, what self-training changes, and no confidence."""
    shared = type(config).model_fields.keys() & type(train).model_fields.keys()
    return TrainConfig(
        **{
            **train.model_dump(),
            **config.model_dump(include=shared),
            "init": None,
            "loss": "none",
            "alpha_blend": "none",
            "copy_paste_select": "random",
            "fraction": 1.0,  # these two are for labels, which a round has none of
            "predictor_lr": 1.0,
        }
    )


def make_labels(
    checkpoint: Path,
    annotations: Path,
    labels: Path,
    *,
    round_number: int,
    config: SelfTrainConfig,
    device: str = "auto",
    threads: int | None = None,
    images: Path | None = None,
    max_failed: float = 1.0,
) -> Counts:
    """Predict on the training images and merge with the earlier masks into ``labels``; of fitting ones try what failed.

    Raises:
        TooManyFailedError: more images failed than ``max_failed`` allows; nothing is written.
    """
    from cuts3d_cli.backends.torch_tools import resolve_device
    from cuts3d_cli.detector import distributed
    from cuts3d_cli.detector.inference import load_model
    from cuts3d_cli.detector.runner import limit_threads

    earlier = read_masks(annotations)
    kept, _ = to_learn(earlier, annotations)
    earlier = replace(
        earlier,
        annotations=[entry for of_image in kept.values() for entry in of_image],
        image_root=earlier.image_root if images is None else images.absolute(),
    )
    check_image_root(earlier, annotations)
    settings = label_settings(config, round_number)
    threshold = settings["score_threshold"]
    inputs = {"checkpoint": digest_file(_existing(checkpoint)), "annotations": digest_file(annotations)}
    made_from = Provenance(
        fingerprint=fingerprint({**inputs, **settings}),
        images=earlier.provenance.images,
        config={"selftrain": {"round": round_number, **settings}},
        inputs=inputs,
    )
    found = _labels_of(labels, made_from)
    if found is not None and not found.counts.failures:
        logger.info("selftrain: labels of round %d exist already", round_number)
        distributed.barrier()
        return found.counts
    limit_threads(threads)
    # What is not above the threshold is never read: on a large set it would fill the memory.
    predict = PredictConfig(score_threshold=max(threshold, 0.0), max_detections=config.max_detections)
    detector = load_model(checkpoint, predict, resolve_device(device))
    records = [
        ImageRecord(entry["id"], entry["file_name"], entry["height"], entry["width"], digest="")
        for entry in earlier.images
        if found is None or entry["file_name"] in found.counts.failures
    ]
    predictions, counts = _predict_together(detector, records, earlier.image_root)
    if found is not None:
        counts += replace(found.counts, failures={})
    check_failed(counts, max_failed, "selftrain")
    if not distributed.is_main_process() or (found is not None and found.counts == counts):
        distributed.barrier()
        return counts
    merged, n_new = merge_labels(earlier, predictions, threshold, config.merge_iou, found and _finished(found))
    logger.info(
        "selftrain round %d: %d predictions above %.2f, %d earlier masks kept",
        round_number,
        n_new,
        threshold,
        len(merged) - n_new,
    )
    root = _relative(earlier.image_root, labels)
    write_masks(labels, MaskFile(PSEUDO_MASKS, root, earlier.images, merged, provenance=made_from, counts=counts))
    distributed.barrier()
    return counts


def _labels_of(labels: Path, made_from: Provenance) -> MaskFile | None:
    """Labels that are there and made so; any others, damaged or old, are replaced."""
    try:
        found = read_masks(labels, own=True)
    except StoreError:
        return None
    return found if found.provenance.fingerprint == made_from.fingerprint else None


def _finished(labels: MaskFile) -> dict[Any, list[dict[str, Any]]]:
    """The labels of the images that did not fail, by their id."""
    failed = {image["id"] for image in labels.images if image["file_name"] in labels.counts.failures}
    return {number: entries for number, entries in labels.by_image().items() if number not in failed}


def _predict_together(
    detector: Detector, records: Sequence[ImageRecord], root: Path
) -> tuple[list[dict[str, Any]], Counts]:
    """Predictions on all images, shared out among the processes, and how the images ended."""
    from cuts3d_cli.detector import distributed
    from cuts3d_cli.detector.inference import predict_images

    own = predict_images(detector, records[distributed.get_rank() :: distributed.get_world_size()], root)
    predictions, counts = [], Counts()
    for found, ended in distributed.all_gather_object(own):
        predictions += found
        counts += ended
    return predictions, counts


def merge_labels(
    masks: MaskFile,
    predictions: Sequence[dict[str, Any]],
    threshold: float,
    merge_iou: float,
    finished: Mapping[Any, list[dict[str, Any]]] | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """Labels of a round, image by image: confident predictions, then the earlier masks that stay.

    Args:
        masks: those of the round before.
        predictions: COCO annotations of the same images.
        threshold: predictions with a higher score are labels.
        merge_iou: largest IoU of an earlier mask with any of them.
        finished: labels that are taken as they are, by the id of their image.

    Returns:
        Annotations without confidence and cut, and how many of them are predictions.
    """
    earlier, found = masks.by_image(), defaultdict(list)
    for entry in predictions:
        found[entry["image_id"]].append(entry)
    merged, n_new = [], 0
    for image in masks.images:
        if finished is not None and image["id"] in finished:
            merged += map(without_id, finished[image["id"]])
            continue
        old, new = [_plain(entry) for entry in earlier[image["id"]]], found[image["id"]]
        size_hw = image["height"], image["width"]
        kept_new, kept_old = merge_round(
            _masks(new, size_hw), np.array([entry["score"] for entry in new], float), _masks(old, size_hw),
            score_threshold=threshold, merge_iou=merge_iou,
        )  # fmt: skip
        merged += [_boxed(new[index]) for index in kept_new] + [old[index] for index in kept_old]
        n_new += len(kept_new)
    return merged, n_new


def _masks(entries: Sequence[dict[str, Any]], size_hw: tuple[int, int]) -> np.ndarray:
    masks = [decode_mask(run_lengths(entry["segmentation"], size_hw)) for entry in entries]
    return np.stack(masks) if masks else np.zeros((0, *size_hw), bool)


def _boxed(entry: dict[str, Any]) -> dict[str, Any]:
    """A detection as a label, whose box is that of its mask."""
    return {**entry, "bbox": [float(value) for value in rle.toBbox(entry["segmentation"])]}


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in without_id(entry).items() if key not in ("confidence", "cut")}


def _existing(checkpoint: Path) -> Path:
    if not checkpoint.is_file():
        raise Cuts3dError(f"no checkpoint {checkpoint}", hint="run `cuts3d train` or the previous round first")
    return checkpoint


def _relative(root: Path, file: Path) -> Path:
    """A folder as seen from that of a file, so that both can move together."""
    return Path(os.path.relpath(root, file.parent))


def _copy_labels(source: Path, target: Path) -> None:
    labels = read_masks(source)
    write_masks(target, replace(labels, image_root=_relative(labels.image_root, target)))
