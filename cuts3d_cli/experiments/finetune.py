"""The trainings of ``snakemake finetuned``: their settings, paths and table.

For every fraction of the labelled images two detectors are trained on the same images with the same settings:
one starts from the run's last detector, one from the initialisation of the run's first training.
"""

from __future__ import annotations

from pathlib import Path

from cuts3d_cli.config import Config, TrainConfig
from cuts3d_cli.errors import ConfigError
from cuts3d_cli.evaluation.table import TYPE_NAMES, percent
from cuts3d_cli.store.checksums import read_own
from cuts3d_cli.tables import text_table
from cuts3d_cli.training.train import SUPERVISED

FOLDER = "finetune"
STARTS = {"detector": "from the last detector", "baseline": "without it"}
"""Initialisations of a detector, with their names in the table."""

METRICS = ("AP", "AP50", "AR100")


def fraction_name(fraction: float) -> str:
    """Folder name of a fraction."""
    return f"{fraction:g}"


def train_section(config: Config, fraction: str, start: str) -> TrainConfig:
    """Settings of a training: those of ``train``, the standard ones for labels, and the finetune section's.

    Args:
        config: the run's.
        fraction: :func:`fraction_name` of one of ``finetune.fractions``.
        start: key of ``STARTS``.
    """
    section = config.finetune
    index = [fraction_name(value) for value in section.fractions].index(fraction)
    iterations, lr, predictor_lr = (
        values[index] if len(values) > 1 else values[0]
        for values in (section.iterations, section.lr, section.predictor_lr)
    )
    values = {
        "fraction": section.fractions[index],
        "iterations": iterations,
        "lr": lr,
        "predictor_lr": predictor_lr,
        "lr_batch": section.lr_batch,
        "batch_size": section.batch_size,
        "warmup_iterations": min(section.warmup_iterations, iterations),
        "lr_steps": sorted({max(1, iterations * 2 // 3), max(1, iterations * 8 // 9)}),
        "lr_gamma": 0.1,
        "init": config.train.init if start == "baseline" else None,
    }
    return TrainConfig(**{**config.train.model_dump(), **SUPERVISED, **values})


def source(config: Config) -> tuple[str, str | None]:
    """Labels and the folder of their images; None where the labels file names it.

    Raises:
        ConfigError: there are no labels to train on, none to evaluate with, or no detector.
    """
    if config.train.detector is None:
        raise ConfigError("config key train.detector", expected="a detector, to train on labels", found="null")
    labels = config.finetune.labels or config.data.annotations
    if labels is None:
        raise ConfigError("config key finetune.labels", expected="a COCO JSON with classes, or data.annotations")
    if config.data.val_images is None or config.data.val_annotations is None:
        raise ConfigError("config key data.val_annotations", expected="labels of held-out images, to evaluate with")
    return labels, config.finetune.images or (None if config.finetune.labels else config.data.images)


def table(run: str | Path, config: Config) -> str:
    """Scores of all fractions and starts in percent, as text.

    Args:
        run: folder of the run, whose ``finetune`` folder holds the trainings.
        config: the run's.
    """
    head = ["fraction", "start", "images", *(f"{name} {m}" for name in TYPE_NAMES.values() for m in METRICS)]
    rows = []
    for fraction in config.finetune.fractions:
        for start, words in STARTS.items():
            folder = Path(run) / FOLDER / start / fraction_name(fraction)
            metrics = read_own(folder / "scores_val.json")["metrics"]
            images = read_own(folder / "config.json")["labels"]["images"]
            values = [percent(metrics.get(kind, {}).get(metric)) for kind in TYPE_NAMES for metric in METRICS]
            rows.append([f"{100 * fraction:g} %", words, images, *values])
    return text_table(head, rows, left=2)
