"""Tables of the paper's ablations from the scores of a run's experiments: mean and spread over seeds (Sec. 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cuts3d_cli import __version__
from cuts3d_cli.config import Config
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.evaluation.table import SPLIT_NAMES, TYPE_NAMES
from cuts3d_cli.experiments import ablations as ex
from cuts3d_cli.pipeline.methods import METHODS
from cuts3d_cli.store.files import atomic_path, write_json
from cuts3d_cli.store.json_files import read_json
from cuts3d_cli.tables import markdown_table
from cuts3d_cli.training.selftrain import round_config

METRICS = ("AP", "AP50", "AP75")
"""Columns per IoU type, before the AR at the most detections."""

Evaluations = Mapping[Any, dict[str, Any]]


def run(run_dir: Path, out: Path, *, config: Config, name: str = "results") -> str:
    """Write one table, or all, as Markdown, and the numbers for every seed as JSON next to it.

    Args:
        run_dir: folder of the run.
        out: Markdown file; it and the JSON are written atomically.
        config: the configuration of the run; seeds, rounds and schedule are named in the text.
        name: ``table4``, ``table5``, ``table6``, or ``results`` for all.

    Returns:
        The Markdown.

    Raises:
        Cuts3dError: the configuration has no such tables, or a score is missing.
    """
    if problem := ex.unmet(config):
        raise Cuts3dError(problem)
    scores = {t: _read(ex.evaluation_path(run_dir, t), name) for t in ex.trainings(name, config)}
    masks = _mask_scores(run_dir, name, config)
    found = {
        key: [_row(row, table.rows[: number + 1], scores, config) for number, row in enumerate(table.rows)]
        for key, table in ex.chosen_tables(name, config.experiments.rounds).items()
    }
    any_score = next(iter(scores.values()))
    text = "\n".join([*_head(name, config, any_score), *_detector_part(found, config), *_mask_part(masks)])
    with atomic_path(out) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    document = {
        "version": __version__,
        "target": name,
        "experiments": config.experiments.model_dump(mode="json"),
        "n_images": any_score["n_images"],
        "n_objects": any_score["n_objects"],
        "tables": found,
        "pseudo_masks": {split: {m: r["metrics"] for m, r in rows.items()} for split, rows in masks.items()},
    }
    write_json(out.with_suffix(".json"), document, indent=1)
    return text


def _read(path: Path, name: str) -> dict[str, Any]:
    if not path.is_file():
        raise Cuts3dError(f"no scores {path}", hint=f"`snakemake --cores all {name}` computes what is missing")
    expected = "a result of `cuts3d evaluate --out`"
    result = read_json(path, expected=expected)
    if not isinstance(result, dict) or "metrics" not in result:
        raise Cuts3dError(f"scores {path}", expected=expected, found="another JSON file")
    return result


def _mask_scores(run_dir: Path, name: str, config: Config) -> dict[str, dict[str, dict[str, Any]]]:
    """Scores of the pseudo-masks by split and kind; only Table 4 compares them."""
    if name not in ("table4", "results"):
        return {}
    splits = ["train", "val"] if config.data.annotations is not None else ["val"]
    return {
        split: {masks: _read(ex.masks_evaluation_path(run_dir, masks, split), name) for masks in ex.MASKS}
        for split in splits
    }


def _columns(evaluation: dict[str, Any]) -> list[tuple[str, str]]:
    """IoU type and metric of every column."""
    found = []
    for iou_type in (t for t in TYPE_NAMES if t in evaluation["metrics"]):
        recalls = [m for m in evaluation["metrics"][iou_type] if m.startswith("AR") and m[2:].isdigit()]
        found += [(iou_type, m) for m in (*METRICS, *sorted(recalls, key=lambda m: int(m[2:]))[-1:])]
    return found


def _row(row: ex.Row, above: Sequence[ex.Row], scores: Evaluations, config: Config) -> dict[str, Any]:
    """Numbers of a row: mean, spread and all seeds per column; mask AP relative to the row above, seed by seed."""
    seeds = config.experiments.seeds
    own = [scores[ex.Training(row.variant, seed, row.round)] for seed in seeds]
    columns: dict[str, Any] = {}
    for iou_type, metric in _columns(own[0]):
        values = [ex.metric(evaluation, iou_type, metric) for evaluation in own]
        columns[f"{iou_type}.{metric}"] = {**asdict(ex.summarise(values)), "per_seed": values}
    document = {**asdict(row), "seeds": list(seeds), "columns": columns, "step": None}
    if len(above) > 1:
        before = [scores[ex.Training(above[-2].variant, seed, above[-2].round)] for seed in seeds]
        pairs = [(ex.metric(a, "segm", "AP"), ex.metric(b, "segm", "AP")) for a, b in zip(own, before, strict=True)]
        steps = [a - b for a, b in pairs if a is not None and b is not None]
        document["step"] = {**asdict(ex.summarise(steps)), "per_seed": steps, "clear": ex.differs(steps)}
    return document


def _head(name: str, config: Config, evaluation: dict[str, Any]) -> list[str]:
    schedule, train = config.experiments, config.train
    rounds = round_config(config.selftrain, train)
    seeds = ", ".join(map(str, schedule.seeds))
    return [
        f"Made with cuts3d {__version__} by",
        "",
        "```",
        f"snakemake --cores all {name}",
        "```",
        "",
        f"Detector `{train.detector}` at {train.image_size} px on `{config.data.images}` with features "
        f"`{config.features.backend}`. First training: {schedule.iterations} iterations of {train.batch_size} images, "
        f"learning rate {train.used_lr:g}{_steps(schedule.lr_steps, train.lr_gamma)}. Round of self-training: "
        f"{schedule.round_iterations} iterations of {rounds.batch_size} images, learning rate {rounds.used_lr:g}"
        f"{_steps(schedule.round_lr_steps, train.lr_gamma)}. Seeds: {seeds}. Evaluated on the {evaluation['n_images']} "
        f"images with {evaluation['n_objects']} objects of `{config.data.val_annotations}`.",
    ]


def _steps(steps: Sequence[int], gamma: float) -> str:
    return f", multiplied by {gamma:g} at {' and '.join(map(str, steps))}" if steps else ""


def _detector_part(found: Mapping[str, list[dict[str, Any]]], config: Config) -> list[str]:
    titles = {key: table.title for key, table in ex.tables(config.experiments.rounds).items()}
    n_seeds = len(config.experiments.seeds)
    over = f"mean ± standard deviation over {n_seeds} seeds" if n_seeds > 1 else "for one seed, so without spread"
    lines = [
        "",
        f"Detectors on the held-out images, percent, {over}. Step: mask AP minus that of the row above, seed by seed; "
        "`*` where it differs from zero at the 95 % level (Student's t over the seeds). Seeds affect only "
        "the training; "
        "pseudo-masks and images are fixed, so the spread does not include their variation. Paper: mask AP on "
        "COCO val2017 after training on ImageNet; its steps can be compared, its level cannot.",
    ]
    if "table4" in found:
        lines[-1] += (
            " The paper reports the parts of Table 4 after one round of self-training, here they are before any."
        )
    for key, rows in found.items():
        names = list(rows[0]["columns"])
        head = ["", *map(_column_title, names), "step", "paper"]
        body = [[row["title"], *_cells(row, names), _step(row["step"]), _number(row["paper_ap"])] for row in rows]
        lines += ["", f"### {titles[key]}", "", markdown_table(head, body)]
    return lines


def _mask_part(masks: Mapping[str, Mapping[str, dict[str, Any]]]) -> list[str]:
    if not masks:
        return []
    lines = [
        "",
        "### Pseudo-masks",
        "",
        "The masks on which the detectors are trained, in percent; they do not depend on the seed. MaskCut "
        "has no confidence, so all its masks have the same rank in AP; AR does not depend on the ranking.",
    ]
    for split, rows in masks.items():
        first = next(iter(rows.values()))
        columns = _columns(first)
        head = [f"{SPLIT_NAMES[split]} ({first['n_images']})", *(_column_title(".".join(c)) for c in columns), "masks"]
        body = [
            [
                METHODS[kind].title,
                *(_percent(ex.metric(row, *column)) for column in columns),
                f"{row['predictions_per_image']:.2f} per image",
            ]
            for kind, row in rows.items()
        ]
        lines += ["", markdown_table(head, body)]
    return lines


def _column_title(column: str) -> str:
    iou_type, metric = column.split(".")
    return f"{TYPE_NAMES[iou_type]} {metric}"


def _cells(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [_spread(row["columns"][name]) for name in names]


def _spread(value: Mapping[str, Any], *, sign: str = "") -> str:
    if value["mean"] is None:
        return "-"
    spread = "" if value["std"] is None else f" ± {100 * value['std']:.1f}"
    return f"{100 * value['mean']:{sign}.1f}{spread}"


def _step(value: Mapping[str, Any] | None) -> str:
    return "" if value is None else _spread(value, sign="+") + (" *" if value["clear"] else "")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
