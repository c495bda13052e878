"""What follows the masks in a run: trainings, predictions, scores and the report, each compared with its record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cuts3d_cli.config import Config
from cuts3d_cli.errors import StoreError
from cuts3d_cli.evaluation.plan import evaluations, predicting, scoring
from cuts3d_cli.pipeline.methods import OWN, methods_of
from cuts3d_cli.pipeline.retries import changed_since
from cuts3d_cli.report.record import OUTPUTS, VERSION, made_from, recorded
from cuts3d_cli.report.status_rows import HELD_OUT, Row, SetStatus
from cuts3d_cli.store.checksums import read_own
from cuts3d_cli.store.files import digest_file
from cuts3d_cli.store.layout import predictions_path, pseudo_masks_path, round_path
from cuts3d_cli.store.masks import read_masks
from cuts3d_cli.training import train
from cuts3d_cli.training.selftrain import label_settings, round_config

MOST_TOLD = 4
"""Changed settings that are told one by one."""


def training_rows(run_dir: Path, config: Config, *, masks_stale: bool) -> list[Row]:
    """A row for the first training and each round; one is current only if all before it are."""
    rows: list[Row] = []
    before = "merge" if masks_stale else ""
    for number in config.trainings:
        folder, name = round_path(run_dir, number), "train" if number == 0 else f"selftrain {number}"
        files = [folder / each for each in (*train.OUTPUTS, *(["annotations.json"] if number else []))]

        settings = partial(_training_changes, folder, config, number)
        row = _row(name, files, settings, partial(_other_start, run_dir, config, number), before)
        if not row.present and (folder / "work/state.pth").exists():
            row = Row(name, 0, 0, 1, "", "an interrupted training can be resumed")
        rows.append(row)
        before = "" if row.current else name
    return rows


def later_rows(run_dir: Path, config: Config, sets: Mapping[str, SetStatus], trainings: Sequence[Row]) -> list[Row]:
    """Rows for predictions on the held-out images, for scores and for the report.

    Args:
        run_dir: folder of the run.
        config: its configuration.
        sets: the masks of its images, by ``train`` and ``val``.
        trainings: what `training_rows` gives.
    """
    rows: list[Row] = []
    for number in predicting(config):
        path, detector = predictions_path(run_dir, number), round_path(run_dir, number)
        before = "prepare" if sets["val"].relisted else "" if trainings[number].current else trainings[number].stage
        settings = partial(_prediction_changes, path, config)
        inputs = partial(_other_images, path, detector, sets["val"])
        row = _row(f"predict {number}", [path], settings, inputs, before, HELD_OUT)
        with suppress(StoreError):
            row = replace(row, counts=str(read_masks(path, own=True).counts)) if row.present else row
        rows.append(row)
    unpredicted = {row.stage for row in rows if not row.current}
    for name, scored in evaluations(config, methods_of(config)).items():
        path, (of, split) = run_dir / "evaluation" / f"{name}.json", name.rsplit("_", 1)
        masks = run_dir / scored.masks.relative_to(config.run)
        predicted = f"predict {of.removeprefix('round')}"
        before = predicted if predicted in unpredicted else "merge" if of in sets[split].stale else ""
        settings, inputs = partial(_score_changes, path, scored.labels, config), partial(_other_masks, path, masks)
        rows.append(_row(f"evaluate {name}", [path], settings, inputs, before, HELD_OUT if split == "val" else ""))
    again = ["merge" for each in sets.values() if OWN in each.stale]
    again += [row.stage for row in (*trainings, *rows) if not row.current]
    files = [run_dir / name for name in OUTPUTS]
    settings, inputs = partial(_report_changes, run_dir, config), partial(_other_results, run_dir, config)
    return [*rows, _row("report", files, settings, inputs, again[-1] if again else "")]


def _row(
    stage: str,
    files: Sequence[Path],
    settings: Callable[[], str],
    inputs: Callable[[], str],
    before: str,
    images: str = "",
) -> Row:
    """The row of a step that is one job.

    Args:
        stage: its name.
        files: what it makes.
        settings: gives how the settings of what is there differ from those that are wanted, or nothing.
        inputs: gives from what else it was made than what is there now, or nothing.
        before: the step before it that is made again, or nothing.
        images: the images that it is about.
    """
    lost = [path.name for path in files if not path.exists()]
    if lost:
        return Row(stage, 0, 0, 1, "", f"no {', '.join(lost)}" if len(lost) < len(files) else "", images=images)
    try:
        why = settings() or (f"{before} is made again" if before else inputs())
    except StoreError as error:
        why = str(error)
    return Row(stage, 1, int(not why), 1, "", why, images=images)


def _training_changes(folder: Path, config: Config, number: int) -> str:
    """How a finished training differs from the configuration and from the present algorithm."""
    used = round_config(config.selftrain, config.train) if number else config.train
    wanted = {key: value for key, value in used.model_dump(mode="json").items() if key not in train.RESUME_ONLY}
    path = folder / "config.json"
    try:
        made = read_own(path)
        before = {**made["train"], "seed": made["seed"]}
        if not train.made_by_this_algorithm(made):
            return "made by another version of the algorithm"
        if number:
            wanted |= label_settings(config.selftrain, number)
            before |= read_masks(folder / "annotations.json", own=True).provenance.config["selftrain"]
    except (KeyError, TypeError, StoreError):
        return f"{path} is missing or damaged"
    return setting_changes(before, {**wanted, "seed": config.seed + number})


def _other_start(run_dir: Path, config: Config, number: int) -> str:
    """Whether a training started from other weights, or learned from other masks, than those that are there."""
    made = read_own(round_path(run_dir, number) / "config.json")
    if number == 0:
        weights, masks = train.init_digest(config.train), pseudo_masks_path(run_dir, OWN)
        if weights is not None and made.get("init") != weights:
            return f"other weights in {config.train.init}"
        return "" if made.get("annotations") == _digest(masks) else "made from other inputs: merge"
    checkpoint = round_path(run_dir, number - 1) / "checkpoint.pth"
    before = "train" if number == 1 else f"selftrain {number - 1}"
    return "" if made.get("init") == _digest(checkpoint) else f"made from other inputs: {before}"


def _prediction_changes(path: Path, config: Config) -> str:
    made = read_masks(path, own=True).provenance
    return setting_changes(made.config.get("predict", {}), config.predict.model_dump(mode="json"))


def _other_images(path: Path, detector: Path, held_out: SetStatus) -> str:
    made = read_masks(path, own=True).provenance
    if made.inputs.get("detector") != read_own(detector / "config.json").get("fingerprint"):
        return "made by another detector"
    if made.images != held_out.images:
        return "made from other images"
    changed = changed_since("predict", path, held_out.image_root)
    return "incomplete: files of images that failed have changed since" if changed else ""


def _score_changes(path: Path, labels: str, config: Config) -> str:
    made, wanted = read_own(path).get("provenance", {}), scoring(config, labels)
    stamp, ignored = wanted.pop("labels"), wanted.pop("ignore_labels")
    if told := setting_changes(made.get("config", {}), wanted):
        return told
    if made.get("annotations") != str(Path(labels)) or made.get("annotations_stamp") != stamp:
        return f"other labels: {labels}"
    if Path(labels).is_dir() and made.get("ignore_labels") != ignored:
        return f"ignore_labels {made.get('ignore_labels')} -> {ignored}"
    return ""


def _other_masks(path: Path, masks: Path) -> str:
    made = read_own(path).get("provenance", {})
    return "" if made.get("predictions_digest") == _digest(masks) else "made from other masks"


def _report_changes(run_dir: Path, config: Config) -> str:
    made = recorded(run_dir)
    if made.get("version") != VERSION:
        return "written by another version"
    return setting_changes(made.get("config", {}), config.model_dump(mode="json"))


def _other_results(run_dir: Path, config: Config) -> str:
    before, now = recorded(run_dir).get("inputs", {}), made_from(run_dir, config)["inputs"]
    other = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return f"made from other inputs: {', '.join(other[:MOST_TOLD])}" if other else ""


def setting_changes(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Settings that differ, as ``key before -> wanted``; sections in sections as ``section.key``."""
    told = _told(before, wanted, "")
    more = f" and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
    return ", ".join(told[:MOST_TOLD]) + more


def _told(before: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str) -> list[str]:
    found = []
    for key, value in wanted.items():
        if isinstance(value, dict) and isinstance(before.get(key), dict):
            found += _told(before[key], value, f"{prefix}{key}.")
        elif before.get(key) != value:
            found.append(f"{prefix}{key} {before.get(key)} -> {value}")
    return found


def _digest(path: Path) -> str | None:
    return digest_file(path) if path.is_file() else None
