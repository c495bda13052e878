"""Train the class-agnostic detector on a COCO JSON of masks (Sec. 3.5)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from cuts3d_cli import __version__
from cuts3d_cli.config import TrainConfig, fingerprint
from cuts3d_cli.errors import ModelError
from cuts3d_cli.log import logger
from cuts3d_cli.store.files import atomic_path, digest_file, remove, write_json

RESUME_ONLY = frozenset({"checkpoint_every", "workers"})
"""Settings that do not change the result."""


def run(
    annotations: Path,
    out: Path,
    *,
    config: TrainConfig,
    seed: int = 0,
    device: str = "auto",
    init: Path | None = None,
    resume: bool = True,
    threads: int | None = None,
) -> None:
    """Train a detector; write ``checkpoint.pth``, ``metrics.jsonl`` and ``config.json`` into ``out``.

    A training that was killed goes on from ``out/work`` when it is run again with the same inputs
    and settings, and ends with the same loss curve.

    Args:
        annotations: COCO JSON of masks; its ``info.image_root`` says where the images are.
        out: folder for the results.
        config: the ``train`` section.
        seed: decides initial weights, order and augmentation.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        init: weights to start from instead of ``config.init``.
        resume: go on from ``out/work`` if it fits.
        threads: CPU threads; by default what the environment says.

    Raises:
        Cuts3dError: nothing to train on, weights missing or of another detector, or a diverging loss.
    """
    from cuts3d_cli.backends.torch_tools import resolve_device
    from cuts3d_cli.detector.configs import build_detector
    from cuts3d_cli.detector.hooks import read_state
    from cuts3d_cli.detector.runner import limit_threads
    from cuts3d_cli.detector.training import train

    annotations, out = Path(annotations), Path(out)
    init = Path(init) if init is not None else (Path(config.init) if config.init else None)
    _warn_schedule(config)
    limit_threads(threads)
    detector = build_detector(config)
    _check_init(detector, config, init)
    record = provenance(annotations, config, seed, init, detector)
    work = out / "work"
    if not resume:
        remove(work)
    elif _finished(out, record["fingerprint"]):
        logger.info("train: %s is of this training already", out / "checkpoint.pth")
        return
    work.mkdir(parents=True, exist_ok=True)
    state = read_state(work / "state.pth", record["fingerprint"])
    logger.info("train: %s on %s, %d iterations", config.detector, annotations, config.iterations)
    train(
        detector, annotations, work, out / "checkpoint.pth",
        config=config, seed=seed, device=resolve_device(device), init=init, state=state, meta=record,
    )  # fmt: skip
    with atomic_path(out / "metrics.jsonl") as temporary:
        shutil.copyfile(work / "metrics.jsonl", temporary)
    write_json(out / "config.json", record, indent=2)
    remove(work / "state.pth")


def provenance(
    annotations: Path, config: TrainConfig, seed: int, init: Path | None, detector: dict[str, Any]
) -> dict[str, Any]:
    """How a detector was made, JSON-able: what a checkpoint carries and a resume compares."""
    values = config.model_dump(mode="json")
    record = {
        "package": __version__,
        "train": values,
        "seed": seed,
        "annotations": digest_file(annotations) if annotations.is_file() else None,
        "init": digest_file(init) if init is not None else None,
        "detector": detector,
    }
    relevant = {**record, "train": {key: value for key, value in values.items() if key not in RESUME_ONLY}}
    record["fingerprint"] = fingerprint(relevant)
    return json.loads(json.dumps(record))


def _finished(out: Path, made_from: str) -> bool:
    """Whether ``out`` holds all results of this very training; config.json is written last."""
    config, results = out / "config.json", ("checkpoint.pth", "metrics.jsonl")
    if not config.is_file() or not all((out / name).is_file() for name in results):
        return False
    try:
        return json.loads(config.read_text()).get("fingerprint") == made_from
    except (json.JSONDecodeError, AttributeError):
        return False


def _warn_schedule(config: TrainConfig) -> None:
    late = [step for step in config.lr_steps if step >= config.iterations]
    if late:
        logger.warning("train: lr_steps %s lie past the last iteration %d and do nothing", late, config.iterations)


def _check_init(detector: dict[str, Any], config: TrainConfig, init: Path | None) -> None:
    if init is None and "needs_init" in detector:
        raise ModelError(
            f"detector {config.detector} starts from weights, and train.init is not set",
            expected=detector["needs_init"],
            hint="set train.init (--init), or train.detector to embedded_cascade, which learns from nothing",
        )
    if init is not None and not init.is_file():
        raise ModelError(
            f"no weights file {init}",
            expected=detector.get("needs_init", "backbone weights with torchvision key names or a cuts3d checkpoint"),
            hint="correct train.init (--init)",
        )
