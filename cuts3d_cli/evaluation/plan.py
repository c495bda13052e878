"""What a run scores, and what a score depends on: the workflow's rules and ``status`` both take it from here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuts3d_cli.config import Config
from cuts3d_cli.store.files import fingerprint
from cuts3d_cli.store.layout import predictions_path, pseudo_masks_path


@dataclass(frozen=True)
class Scored:
    """Masks that a run scores.

    Attributes:
        masks: the mask file.
        labels: the file or folder that they are compared with.
    """

    masks: Path
    labels: str


def evaluations(config: Config, methods: Iterable[str]) -> dict[str, Scored]:
    """What a run scores, by name: ``<method>_<split>`` and ``round<t>_val``.

    Args:
        config: the configuration of the run.
        methods: the methods whose pseudo-masks are scored.
    """
    run, data, methods = Path(config.run), config.data, list(methods)
    val_labels = data.val_annotations if data.val_images is not None else None
    bases = {"train": (run, data.annotations), "val": (run / "val", val_labels)}
    found = {
        f"{method}_{split}": Scored(pseudo_masks_path(base, method), labels)
        for split, (base, labels) in bases.items()
        for method in methods
        if labels is not None
    }
    if val_labels is not None:
        found |= {
            f"round{number}_val": Scored(predictions_path(run, number), val_labels) for number in config.trainings
        }
    return found


def predicting(config: Config) -> list[int]:
    """Numbers of the trainings whose detector predicts on the held-out images: those that are scored, or the last."""
    if config.data.val_images is None:
        return []
    return list(config.trainings)[0 if config.data.val_annotations is not None else -1 :]


def scoring(config: Config, labels: str | None) -> dict[str, Any]:
    """What a score depends on beside the masks; JSON-able.

    Args:
        config: the configuration of the run.
        labels: the file or folder of labels.
    """
    ignored = config.data.ignore_labels if labels is not None and Path(labels).is_dir() else None
    return {**config.evaluate.model_dump(mode="json"), "labels": labels_stamp(labels), "ignore_labels": ignored}


def labels_stamp(labels: str | Path | None) -> str | None:
    """What stands for a file of labels, or for all files of a folder: names, sizes, times; None where nothing is.

    Snakemake itself looks at a folder's own time alone, which a changed file in it leaves as it is.
    """
    path = Path(labels) if labels is not None else None
    if path is None or not path.exists():
        return None
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    stats = ((each.relative_to(path).as_posix(), each.stat()) for each in files)
    return fingerprint([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
