"""One training: data, schedule, runner, and the final checkpoint."""

from __future__ import annotations

import os
import threading
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from cuts3d_cli.config import TrainConfig
from cuts3d_cli.detector import checkpoints
from cuts3d_cli.detector.dataset import PositionSampler, TrainingStream
from cuts3d_cli.detector.hooks import CurveHook, SeedHook, StateHook
from cuts3d_cli.detector.runner import DeviceRunner


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
) -> None:
    """Train from ``state`` or from the start, and write the checkpoint.

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

    Raises:
        Cuts3dError: nothing to train on, weights that do not fit, or a diverging loss.
    """
    start = state["iteration"] if state is not None else 0
    stream = training_stream(detector, annotations, config, seed)
    hooks = [
        SeedHook(seed),
        CurveHook(work / "metrics.jsonl", config.iterations),
        StateHook(work / "state.pth", config.checkpoint_every, meta["fingerprint"], state, init),
    ]
    runner = DeviceRunner(
        ConfigDict(deepcopy(detector["model"])),
        str(work / "mmengine"),
        train_dataloader=data_loader(stream, config, start),
        train_cfg={"type": "ExactIterLoop", "max_iters": config.iterations},
        optim_wrapper=ConfigDict(deepcopy(detector["optim_wrapper"])),
        param_scheduler=schedule(config),
        default_hooks={"logger": None, "checkpoint": None, "timer": None, "sampler_seed": None, "runtime_info": None},
        custom_hooks=hooks,
        log_level="ERROR",
        default_scope="mmdet",
        randomness={"seed": seed},
        device=device,
    )
    model = runner.train()
    weights = {key: value.cpu() for key, value in model.state_dict().items()}
    checkpoints.save(checkpoint, {"state_dict": weights, "meta": meta})


def training_stream(detector: dict[str, Any], annotations: Path, config: TrainConfig, seed: int) -> TrainingStream:
    """The augmented samples of a training."""
    with_confidence = config.loss == "spatial" or (config.copy_paste and config.alpha_blend == "spatial")
    load = [
        {"type": "LoadRgb"},
        {"type": "LoadPseudoMasks", "with_confidence": with_confidence},
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
    dataset = {"type": "PseudoMaskDataset", "ann_file": str(annotations)}
    return TrainingStream(dataset, load, [paste] if config.copy_paste else [], pack, seed)


def data_loader(stream: TrainingStream, config: TrainConfig, start: int) -> DataLoader:
    """Batches of the iterations from ``start`` on; a worker process uses one thread."""
    cv2.setNumThreads(0)
    positions = PositionSampler(start * config.batch_size, config.iterations * config.batch_size)
    return DataLoader(
        stream,
        batch_size=config.batch_size,
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
