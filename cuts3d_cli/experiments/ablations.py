"""The ablations of the paper's Tables 4 to 6: the trainings behind each row, and how rows are summarised.

A training is a variant (which pseudo-masks, which parts of Spatial Confidence), a seed and a round of
self-training. Rows of several tables that denote the same training share it. The rules train and evaluate
what :func:`trainings` lists; ``cuts3d compare`` reads the scores from :func:`evaluation_path`.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cuts3d_cli.config import Config, SelfTrainConfig, TrainConfig
from cuts3d_cli.pipeline.methods import OWN

FOLDER = "experiments"
"""Folder of a run with everything made for the tables."""

MASKS = ("maskcut", "localcut", OWN)
"""The methods whose pseudo-masks Table 4 compares."""


@dataclass(frozen=True)
class Variant:
    """What distinguishes a first training: its pseudo-masks and the parts of Spatial Confidence it uses (Sec. 3.4)."""

    masks: str
    select: Literal["confident", "random"] = "random"
    blend: Literal["spatial", "none"] = "none"
    loss: Literal["spatial", "none"] = "none"


VARIANTS: dict[str, Variant] = {
    "maskcut": Variant("maskcut"),
    "localcut": Variant("localcut"),
    "importance": Variant(OWN),
    "select": Variant(OWN, "confident"),
    "blend": Variant(OWN, "confident", "spatial"),
    "confidence": Variant(OWN, "confident", "spatial", "spatial"),
}
"""Every first training by name; only the last continues with self-training."""

FULL = "confidence"
"""The variant with everything, which self-training starts from."""


@dataclass(frozen=True)
class Training:
    """One detector: a variant, a seed, and the round of self-training (0: the first training)."""

    variant: str
    seed: int
    round: int = 0


@dataclass(frozen=True)
class Row:
    """A row of a table; ``paper_ap`` is the paper's mask AP on COCO val2017 in percent, if it gives one."""

    title: str
    variant: str
    round: int = 0
    paper_ap: float | None = None


@dataclass(frozen=True)
class Table:
    """A table of the paper; each row builds on the one above."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation of a value over seeds; None where undefined."""

    mean: float | None
    std: float | None
    n: int


def tables(rounds: int) -> dict[str, Table]:
    """The tables by the name of their target, with ``rounds`` rounds of self-training.

    The paper reports the parts of Table 4 after a round of self-training; here they are without it.
    """
    paper_rounds = {0: 9.1, 1: 10.2, 2: 10.4, 3: 10.7}  # Table 6, then Table 5 with DiffNCuts
    trained = [Row(f"Self-training, round {t}", FULL, t, paper_rounds.get(t)) for t in range(1, rounds + 1)]
    method = (
        Row("MaskCut", "maskcut", paper_ap=9.4),
        Row("+ LocalCut", "localcut", paper_ap=9.5),
        Row("+ Spatial Importance", "importance", paper_ap=9.8),
        Row("+ Spatial Confidence", FULL, paper_ap=10.2),
    )
    parts = (
        Row("No confidence", "importance", paper_ap=8.5),
        Row("+ confident copy-paste selection", "select", paper_ap=8.8),
        Row("+ alpha-blending", "blend", paper_ap=9.0),
        Row("+ Spatial Confidence soft target loss", FULL, paper_ap=paper_rounds[0]),
    )
    first = Row("First training", FULL, 0, paper_rounds[0])
    return {
        "table4": Table("Table 4: the parts of the method", (*method, *trained)),
        "table5": Table("Table 5: rounds of self-training", (first, *trained)),
        "table6": Table("Table 6: the parts of Spatial Confidence in training", parts),
    }


def chosen_tables(name: str, rounds: int) -> dict[str, Table]:
    """The table of a target; all of them for ``results``."""
    found = tables(rounds)
    return found if name == "results" else {name: found[name]}


def trainings(name: str, config: Config) -> list[Training]:
    """The trainings that the rows of a target need, each once.

    Args:
        name: ``table4``, ``table5``, ``table6``, or ``results`` for all.
        config: the configuration; its ``experiments`` section gives seeds and rounds.
    """
    rows = [row for table in chosen_tables(name, config.experiments.rounds).values() for row in table.rows]
    found = [Training(row.variant, seed, row.round) for row in rows for seed in config.experiments.seeds]
    return list(dict.fromkeys(found))


def train_section(config: Config, variant: str) -> TrainConfig:
    """The ``train`` section of a variant: the run's own with the variant's switches and the experiments' schedule."""
    own, schedule = VARIANTS[variant], config.experiments
    return config.train.model_copy(
        update={
            "copy_paste_select": own.select,
            "alpha_blend": own.blend,
            "loss": own.loss,
            "iterations": schedule.iterations,
            "lr_steps": schedule.lr_steps,
        }
    )


def selftrain_section(config: Config) -> SelfTrainConfig:
    """The ``selftrain`` section of the experiments' rounds."""
    schedule = config.experiments
    return config.selftrain.model_copy(
        update={
            "rounds": schedule.rounds,
            "iterations": schedule.round_iterations,
            "lr_steps": schedule.round_lr_steps,
        }
    )


def unmet(config: Config) -> str | None:
    """Why the tables cannot be made under a configuration, in one line; None if they can."""
    wanted = {
        "localcut.local_cut: true": config.localcut.local_cut,
        "localcut.sharpen: true": config.localcut.sharpen,
        "baseline.enabled: true": config.baseline.enabled,
        "train.detector": config.train.detector is not None,
        "data.val_images": config.data.val_images is not None,
        "data.val_annotations": config.data.val_annotations is not None,
    }
    missing = [name for name, is_met in wanted.items() if not is_met]
    return f"the experiments need {', '.join(missing)}" if missing else None


def detector_path(run: str | Path, training: Training) -> Path:
    """Folder of a trained detector."""
    return Path(run) / FOLDER / "detector" / training.variant / f"seed{training.seed}" / f"round{training.round}"


def evaluation_path(run: str | Path, training: Training) -> Path:
    """Scores of a detector on the held-out images."""
    name = f"{training.variant}_seed{training.seed}_round{training.round}.json"
    return Path(run) / FOLDER / "evaluation" / name


def masks_evaluation_path(run: str | Path, method: str, split: str) -> Path:
    """Scores of a method's pseudo-masks on ``train`` or ``val``."""
    return Path(run) / "evaluation" / f"{method}_{split}.json"


def summarise(values: Iterable[float | None]) -> Summary:
    """Mean and sample standard deviation (n - 1) of the values that exist."""
    known = [value for value in values if value is not None]
    mean = statistics.fmean(known) if known else None
    return Summary(mean, statistics.stdev(known) if len(known) > 1 else None, len(known))


def differs(differences: Sequence[float]) -> bool:
    """Whether paired differences have a mean other than zero, by Student's t at 95 %; never for fewer than two."""
    from scipy.stats import ttest_1samp

    if len(differences) < 2:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # differences all alike: p is 0, or NaN where they are 0
        return bool(ttest_1samp(differences, 0).pvalue < 0.05)


def metric(evaluation: dict[str, Any], iou_type: str, name: str) -> float | None:
    """A metric of an evaluation, as a fraction; None where it does not apply."""
    return evaluation["metrics"].get(iou_type, {}).get(name)
