"""One training: data, schedule, runner, and the final checkpoint."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from cuts3d_cli.config import TrainConfig
from cuts3d_cli.detector import checkpoints, distributed
from cuts3d_cli.detector.dataset import PositionSampler, TrainingStream, derived_seed
from cuts3d_cli.detector.finetune import new_layers
from cuts3d_cli.detector.hooks import CurveHook, SeedHook, StateHook
from cuts3d_cli.detector.labels import Labels
from cuts3d_cli.detector.loggers import open_loggers
from cuts3d_cli.detector.precise_bn import update_statistics
from cuts3d_cli.detector.runner import HALF_PRECISION, DeviceRunner, unwrapped
from cuts3d_cli.errors import ConfigError, Cuts3dError
from cuts3d_cli.log import logger
from cuts3d_cli.store.files import remove
from cuts3d_cli.store.image_stamps import check_listed, check_unchanged, stamps_of


def train(
    detector: dict[str, Any],
    annotations: Path,
    work: Path,
    checkpoint: Path,
    *,
    config: TrainConfig,
    seed: int,
    device: torch.device,
    init: Path | None,
    state: dict[str, Any] | None,
    meta: dict[str, Any],
    labels: Labels | None = None,
    images: Path | None = None,
) -> list[str]:
    """Train from ``state`` or from the start, and write the checkpoint.

    Several processes (``distributed.process_group``) train together; the first one writes.

    Args:
        detector: what ``configs.build_detector`` gave.
        annotations: COCO JSON of masks.
        work: folder for state and loss curve.
        checkpoint: file for the trained detector: ``state_dict`` and ``meta``.
        config: the ``train`` section.
        seed: decides everything random.
        device: where to compute.
        init: weights to start from.
        state: state of an interrupted training, as ``hooks.read_state`` gives it.
        meta: recorded in the checkpoint; its ``fingerprint`` marks the states.
        labels: what to learn instead of the masks, with classes; the detector is one of as many.
        images: folder of the masks' images, if their file does not say it.

    Returns:
        The images that are not there, which it did without; of the first process alone. The checkpoint's ``meta`` has
        them as ``missing``.

    Raises:
        Cuts3dError: nothing to train on, weights that do not fit, a diverging loss, or images that are others than
            the masks were made of, or change meanwhile.
    """
    check_batch(config)
    start = state["iteration"] if state is not None else 0
    stream = training_stream(detector, annotations, config, seed, labels, images)
    loggers, stamps, missing = [], {}, []
    if distributed.is_main_process():
        stamps = stamps_of(stream.image_paths())
        if labels is None:
            check_listed(annotations, stamps)
        missing = sorted(str(path) for path, stamp in stamps.items() if not stamp)
        meta = {**meta, "missing": missing}
        loggers = open_loggers(config.loggers, checkpoint.parent, start=start, record=meta)
    hooks = [
        SeedHook(seed),
        CurveHook(work / "metrics.jsonl", config.iterations, loggers=loggers),
        StateHook(
            work / "state.pth", config.checkpoint_every, meta["fingerprint"], state, init, weights_loader(labels)
        ),
    ]
    runner = DeviceRunner(
        ConfigDict(deepcopy(detector["model"])),
        str(work / "mmengine"),
        train_dataloader=data_loader(stream, config, start),
        train_cfg={"type": "ExactIterLoop", "max_iters": config.iterations, "accumulate": config.accumulate},
        optim_wrapper=ConfigDict(optimizer(detector, config, device)),
        param_scheduler=schedule(config),
        default_hooks={"logger": None, "checkpoint": None, "timer": None, "sampler_seed": None, "runtime_info": None},
        custom_hooks=hooks,
        log_level="ERROR",
        default_scope="mmdet",
        randomness={"seed": seed},
        device=device,
    )
    try:
        model = unwrapped(runner.train())
    finally:
        for each in loggers:
            each.close()
    if config.precise_bn:
        refresh_batch_norm(model, stream, config, seed)
    if not distributed.is_main_process():
        return missing
    try:
        check_unchanged(stamps)
    except Cuts3dError:
        remove(work / "state.pth")
        raise
    weights = {key: value.cpu() for key, value in model.state_dict().items()}
    checkpoints.save(checkpoint, {"state_dict": weights, "meta": meta})
    return missing


def check_batch(config: TrainConfig) -> None:
    """Check that a step's images can be shared out among processes and parts.

    Raises:
        ConfigError: they cannot.
    """
    shares = distributed.get_world_size() * config.accumulate
    if config.batch_size % shares:
        raise ConfigError(
            "config key batch_size",
            expected=f"a multiple of {distributed.get_world_size()} processes x {config.accumulate} parts (accumulate)",
            found=config.batch_size,
        )


def optimizer(detector: dict[str, Any], config: TrainConfig, device: torch.device) -> dict[str, Any]:
    """The detector's optimiser wrapper, in half precision where that is asked for and possible."""
    wrapper = deepcopy(detector["optim_wrapper"])
    if config.amp and device.type != "cuda":
        logger.info("train: amp has no effect on %s, computing in full precision", device)
    elif config.amp:
        wrapper["type"] = HALF_PRECISION.get(wrapper["type"], wrapper["type"])
    return wrapper


def refresh_batch_norm(model: torch.nn.Module, stream: TrainingStream, config: TrainConfig, seed: int) -> None:
    """Take batch norm's statistics from the batches that would come after the last step."""
    logger.info("train: recomputing batch norm statistics from %d batches", config.precise_bn)
    following = config.model_copy(update={"iterations": config.iterations + config.precise_bn})
    torch.manual_seed(derived_seed(seed, config.iterations, 2))
    update_statistics(model.train(), data_loader(stream, following, config.iterations))


def weights_loader(labels: Labels | None) -> Callable[[torch.nn.Module, str], str]:
    """What puts weights into a detector: all of them, or with classes all that do not belong to others' classes."""
    if labels is None:
        return checkpoints.start_from
    return partial(checkpoints.start_from, new_layers=partial(new_layers, categories=labels.categories))


def training_stream(
    detector: dict[str, Any],
    annotations: Path,
    config: TrainConfig,
    seed: int,
    labels: Labels | None = None,
    images: Path | None = None,
) -> TrainingStream:
    """The augmented samples of a training on masks, or on labels with classes."""
    with_confidence = config.loss == "spatial" or (config.copy_paste and config.alpha_blend == "spatial")
    load = [
        {"type": "LoadRgb"},
        {"type": "LoadPseudoMasks", "with_confidence": with_confidence} if labels is None else {"type": "LoadLabels"},
        *deepcopy(detector["load"]),
        {"type": "ConfidenceFlip", "prob": 0.5},
    ]
    paste = {
        "type": "ConfidentCopyPaste",
        "scale": config.copy_paste_scale,
        "select": config.copy_paste_select,
        "blend": config.alpha_blend,
    }
    pack = [{"type": "TightBoxes"}, {"type": "PackConfidenceInputs"}]
    dataset = {
        "type": "PseudoMaskDataset",
        "ann_file": str(annotations),
        "with_confidence": with_confidence,
        "image_root": images,
    }
    if labels is not None:
        dataset = {"type": "LabelDataset", "labels": labels}
    return TrainingStream(dataset, load, [paste] if config.copy_paste else [], pack, seed)


def data_loader(stream: TrainingStream, config: TrainConfig, start: int) -> DataLoader:
    """This process's part of the batches from iteration ``start`` on; a worker uses one thread."""
    cv2.setNumThreads(0)
    positions = PositionSampler(
        start * config.batch_size,
        config.iterations * config.batch_size,
        step=config.batch_size,
        process=distributed.get_rank(),
        processes=distributed.get_world_size(),
    )
    return DataLoader(
        stream,
        batch_size=config.batch_size // distributed.get_world_size(),
        sampler=positions,
        num_workers=config.workers,
        collate_fn=pseudo_collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_end_with_parent,
    )


def _end_with_parent(_worker: int, every_s: float = 1.0) -> None:
    """End a worker whose training was killed; torch's own check hangs when the worker has samples to hand over."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(every_s)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def schedule(config: TrainConfig) -> list[dict[str, Any]]:
    """Linear warm-up, then steps."""
    steps = {"type": "MultiStepLR", "by_epoch": False, "milestones": config.lr_steps, "gamma": config.lr_gamma}
    if config.warmup_iterations == 0:
        return [steps]
    warmup = {"type": "LinearLR", "by_epoch": False, "start_factor": 0.001, "begin": 0, "end": config.warmup_iterations}
    return [warmup, steps]
