"""Train the class-agnostic detector on a COCO JSON of masks (Sec. 3.4 and 4), or on labels with classes (CutLER)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuts3d_cli import __version__
from cuts3d_cli.config import TrainConfig
from cuts3d_cli.errors import ConfigError, ModelError, StoreError, unwritable
from cuts3d_cli.log import logger
from cuts3d_cli.store.checksums import check_zip, read_own
from cuts3d_cli.store.files import atomic_path, digest_file, fingerprint, remove, write_json
from cuts3d_cli.store.image_stamps import came_back

if TYPE_CHECKING:
    import torch

    from cuts3d_cli.detector.labels import Labels

ALGORITHM = 1
"""Raised when a training or a round gives another detector from the same inputs and settings: it is then repeated."""

OUTPUTS = ("checkpoint.pth", "metrics.jsonl", "config.json")
"""The files of a finished training; the last is written last."""

RESUME_ONLY = frozenset({"checkpoint_every", "loggers", "workers"})
"""Settings that do not change the result."""

SUPERVISED = {
    "loss": "none",
    "droploss": False,
    "copy_paste": False,
    "copy_paste_select": "random",
    "alpha_blend": "none",
    "rpn_nms": 0.7,
    "rpn_proposals": 2000,
    "weight_decay": 1e-4,
}
"""What differs in the standard training on labels: nothing of it is meant for noisy masks (CutLER's fine-tuning)."""


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
    launcher: str = "none",
    labels: bool = False,
    images: Path | None = None,
) -> None:
    """Train a detector; write ``checkpoint.pth``, ``metrics.jsonl`` and ``config.json`` into ``out``.

    A training that was killed goes on from ``out/work`` when it is run again with the same inputs
    and settings, and ends with the same loss curve. Where a launcher started several processes, all of
    them call this with the same arguments, and the first one writes.

    Args:
        annotations: COCO JSON of masks; its ``info.image_root`` says where the images are.
        out: folder for the results.
        config: the ``train`` section.
        seed: decides initial weights, order and augmentation.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        init: weights to start from instead of ``config.init``.
        resume: go on from ``out/work`` if it fits.
        threads: CPU threads; by default what the environment says.
        launcher: what started the processes: ``none``, ``pytorch`` (torchrun) or ``slurm``.
        labels: ``annotations`` are labels with classes, of which ``config.fraction`` is learned; ``config`` should
            have the values of ``SUPERVISED``.
        images: folder of the images, if the file does not say it.

    Raises:
        Cuts3dError: nothing to train on, weights missing or of another detector, a batch that the
            processes cannot divide evenly, a logger that is not installed, or a diverging loss.
    """
    from cuts3d_cli.backends.init_weights import check_init, resolve_init

    check_init(init if init is not None else config.init)  # before the detector's libraries load
    from cuts3d_cli.backends.torch_tools import resolve_device
    from cuts3d_cli.detector import distributed
    from cuts3d_cli.detector.labels import read_labels
    from cuts3d_cli.detector.loggers import check_loggers

    annotations, out = Path(annotations), Path(out)
    _check_labels(config, labels)
    check_loggers(config.loggers)
    with distributed.process_group(launcher, resolve_device(device)) as own_device:
        with distributed.main_process_first():  # it may fetch a file
            init = resolve_init(init if init is not None else config.init)
        chosen = read_labels(annotations, root=images, fraction=config.fraction, seed=seed) if labels else None
        _run(annotations, out, config, seed, own_device, init, resume, threads, chosen, images)


def _run(
    annotations: Path,
    out: Path,
    config: TrainConfig,
    seed: int,
    device: torch.device,
    init: Path | None,
    resume: bool,
    threads: int | None,
    labels: Labels | None,
    images: Path | None,
) -> None:
    """The training of one process, which may be one of several."""
    from cuts3d_cli.detector import distributed
    from cuts3d_cli.detector.configs import build_detector
    from cuts3d_cli.detector.finetune import with_classes
    from cuts3d_cli.detector.hooks import read_state
    from cuts3d_cli.detector.runner import limit_threads
    from cuts3d_cli.detector.training import train

    if distributed.is_main_process():
        _warn_schedule(config)
    limit_threads(threads)
    detector = build_detector(config)
    _check_init(detector, config, init)
    if labels is not None:
        detector = with_classes(detector, len(labels.categories), config.predictor_lr)
        logger.info("train: %d of %d labelled images, %d objects, %d classes, %d annotations skipped",
                    *(labels.record[key] for key in ("images", "of", "objects")), len(labels.categories),
                    labels.record["left_out"])  # fmt: skip
    record = provenance(annotations, config, seed, init, detector, labels)
    work = out / "work"
    if not resume and distributed.is_main_process():
        remove(work / "state.pth")  # the labels of a round lie in work as well
    distributed.barrier()
    if resume and _finished(out, record["fingerprint"]):
        logger.info("train: %s already belongs to this training", out / "checkpoint.pth")
        return
    work.mkdir(parents=True, exist_ok=True)
    state = read_state(work / "state.pth", record["fingerprint"])
    logger.info(
        "train: %s on %s, %d iterations of %d images, lr %g",
        config.detector, annotations, config.iterations, config.batch_size, config.used_lr,
    )  # fmt: skip
    try:
        missing = train(
            detector, annotations, work, out / "checkpoint.pth",
            config=config, seed=seed, device=device, init=init, state=state, meta=record,
            labels=labels, images=images,
        )  # fmt: skip
    except OSError as error:  # of MMEngine's own files, or of a file that is open, it does not name one
        told = unwritable(error, work) if error.filename is None else None
        if told is None:
            raise
        raise told from None
    if distributed.is_main_process():
        _write_results(out, work, {**record, "missing": missing})
    distributed.barrier()


def _write_results(out: Path, work: Path, record: dict[str, Any]) -> None:
    with atomic_path(out / "metrics.jsonl") as temporary:
        shutil.copyfile(work / "metrics.jsonl", temporary)
    write_json(out / "config.json", record, indent=2)
    remove(work / "state.pth")
    logger.info("train: checkpoint -> %s", out / "checkpoint.pth")


def provenance(
    annotations: Path,
    config: TrainConfig,
    seed: int,
    init: Path | None,
    detector: dict[str, Any],
    labels: Labels | None = None,
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
    if labels is not None:
        record |= {"categories": labels.categories, "labels": labels.record}
    relevant = {key: value for key, value in record.items() if key != "package"}
    record["fingerprint"] = fingerprint({**relevant, "algorithm": ALGORITHM, "train": _relevant(config)})
    return json.loads(json.dumps(record))


def dependencies(config: TrainConfig, seed: int) -> dict[str, Any]:
    """What of a configuration a training depends on, and its initial weights: a rule's parameters; JSON-able."""
    return {"algorithm": ALGORITHM, "seed": seed, "train": _relevant(config), "weights": init_digest(config)}


def init_digest(config: TrainConfig) -> str | None:
    """Hash of the file that ``train.init`` names; None where it is no file."""
    return digest_file(config.init) if config.init and Path(config.init).is_file() else None


def made_by_this_algorithm(record: Mapping[str, Any]) -> bool:
    """Whether a training's ``config.json`` is of the present `ALGORITHM`.

    Raises:
        KeyError: it is not such a record.
    """
    known = {key: value for key, value in record.items() if key not in ("package", "fingerprint", "missing")}
    settings = {key: value for key, value in record["train"].items() if key not in RESUME_ONLY}
    return record["fingerprint"] == fingerprint({**known, "algorithm": ALGORITHM, "train": settings})


def _relevant(config: TrainConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude=set(RESUME_ONLY))


def _finished(out: Path, made_from: str) -> bool:
    """Whether ``out`` holds all results of this very training."""
    if not all((out / name).is_file() for name in OUTPUTS):
        return False
    try:
        record = read_own(out / "config.json")
        if record.get("fingerprint") != made_from:
            return False
        if came_back(record.get("missing", ())):
            logger.warning("train: repeated, as images are there now that it did without")
            return False
        check_zip(out / "checkpoint.pth")
    except StoreError as error:
        logger.warning("train: repeated, as %s", error.what)
        return False
    return True


def _check_labels(config: TrainConfig, labels: bool) -> None:
    if not labels and (config.fraction, config.predictor_lr) != (1, 1):
        key = "fraction" if config.fraction != 1 else "predictor_lr"
        raise ConfigError(f"config key train.{key}", expected="1, unless --labels is given", found=getattr(config, key))


def _warn_schedule(config: TrainConfig) -> None:
    late = [step for step in config.lr_steps if step >= config.iterations]
    if late:
        logger.warning("train: lr_steps %s are after the last iteration %d and have no effect", late, config.iterations)


def _check_init(detector: dict[str, Any], config: TrainConfig, init: Path | None) -> None:
    if init is None and "needs_init" in detector:
        raise ModelError(
            f"detector {config.detector} needs initial weights, and train.init is not set",
            expected=detector["needs_init"],
            hint="name them by train.init, or choose train.detector = embedded_cascade, which trains from scratch",
        )
    if init is not None and not init.is_file():
        raise ModelError(
            f"no weights file {init}",
            expected=detector.get("needs_init", "backbone weights with torchvision key names or a cuts3d checkpoint"),
            hint="correct train.init",
        )
