"""The report of a run: one self-contained HTML file without scripts, and its table as JSON and text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from cuts3d_cli import __version__
from cuts3d_cli.config import Config
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.evaluation import table
from cuts3d_cli.evaluation.coco_files import read_json
from cuts3d_cli.log import logger, progress
from cuts3d_cli.pipeline.declarations import settings_of
from cuts3d_cli.pipeline.methods import OWN
from cuts3d_cli.report import figures
from cuts3d_cli.report.panels import Example, Panel, make_examples
from cuts3d_cli.report.run_image import Detections
from cuts3d_cli.report.run_summary import (
    SetSummary,
    detections_command,
    differences,
    failed_images,
    summarise_run,
)
from cuts3d_cli.report.words import introduction, legend
from cuts3d_cli.store.curve import read_curve
from cuts3d_cli.store.files import atomic_path, write_json
from cuts3d_cli.store.layout import manifest_path, round_path
from cuts3d_cli.store.manifest import read_manifest
from cuts3d_cli.store.masks import read_masks

MAX_FAILURES = 100
"""Failed images that are listed one by one."""

COLUMNS = {"segm": ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR", "R50"), "bbox": ("AP", "AP50", "AP75", "AR")}
"""Metrics of the main table; AR is the one at the most detections. The text table has all metrics."""


def run(run_dir: Path, out: Path, *, config: Config, evaluations: Mapping[str, Path] | None = None) -> str:
    """Write the report, and ``results.json`` and ``results.txt`` beside it.

    What is missing from the run is named in the report; only a missing run is an error.

    Args:
        run_dir: folder of the run.
        out: HTML file; each of the three is written atomically.
        config: the configuration of the run.
        evaluations: results of ``cuts3d evaluate`` by row name; by default those in ``<run>/evaluation``,
            except of detectors that the configuration does not have.

    Returns:
        The table of results as text.

    Raises:
        Cuts3dError: there is no run, or an evaluation file is invalid.
    """
    run_dir, out = Path(run_dir), Path(out)
    sets = summarise_run(run_dir)
    if not sets:
        raise Cuts3dError(
            f"no run at {run_dir}", expected=f"{manifest_path(run_dir)}", hint="run `cuts3d prepare` first"
        )
    files = found_evaluations(run_dir, config.trainings) if evaluations is None else evaluations
    results = {name: _read_evaluation(Path(files[name])) for name in table.ordered(files)}
    page = _page(run_dir, config, sets, results)
    text = table.format_table(results)
    with atomic_path(out) as temporary:
        temporary.write_text(render(page), encoding="utf-8")
    document = {"version": __version__, "run": str(run_dir), "rows": results, "notes": page["notes"]}
    write_json(out.with_name("results.json"), document, indent=1)
    with atomic_path(out.with_name("results.txt")) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    if page["detections_command"]:
        logger.info("report: no held-out images; to see what the detector finds: %s", page["detections_command"])
    return text


def found_evaluations(run_dir: Path, trainings: Iterable[int]) -> dict[str, Path]:
    """Evaluation files of a run by row name; of its detectors only those of ``trainings``."""
    files = {path.stem: path for path in sorted((run_dir / "evaluation").glob("*.json"))}
    return {name: path for name, path in files.items() if table.round_of(name) in (None, *trainings)}


def render(page: Mapping[str, Any]) -> str:
    """The HTML of a page's values, all of them escaped."""
    from jinja2 import Environment, StrictUndefined

    source = (resources.files("cuts3d_cli.report") / "page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(source).render(page)


def _page(run_dir: Path, config: Config, sets: Sequence[SetSummary], results: Mapping[str, Any]) -> dict[str, Any]:
    """All values used by the template."""
    notes = [*_result_notes(results), *_set_notes(sets, config)]
    detectors = {number: round_path(run_dir, number) for number in config.trainings}
    predictions = list(_prediction_rows(detectors))
    failures = []
    for summary in sets:
        failures += [(summary.title, *item) for item in failed_images({s.stage: s.failures for s in summary.stages})]
    failures += [
        ("Detections", *item) for item in failed_images({row["title"]: row["failures"] for row in predictions})
    ]
    examples = _examples(run_dir, config, detectors, notes)
    counted = [s for s in sets if s.instances]
    numbers = range(max((max(s.instances) for s in counted), default=-1) + 1)
    return {
        "run_name": str(run_dir),
        "version": __version__,
        "versions": [("pycocotools", version("pycocotools"))],
        "config": config,
        "config_yaml": yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
        "introduction": introduction(config, sets),
        "table": table.format_table(results),
        **_result_table(results),
        "charts": _charts(detectors, results, notes),
        **examples,
        "sets": sets,
        "predictions": predictions,
        "detections_command": detections_command(run_dir, config.trainings),
        "instance_numbers": numbers,
        "instance_table": [(s.title, [s.instances[number] for number in numbers]) for s in counted],
        "failures": failures[:MAX_FAILURES],
        "more_failures": max(0, len(failures) - MAX_FAILURES),
        "notes": notes,
    }


def _read_evaluation(path: Path) -> dict[str, Any]:
    result = read_json(path)
    if not isinstance(result, dict) or "metrics" not in result:
        raise Cuts3dError(
            f"evaluation {path}", expected="a result of `cuts3d evaluate --out`", found="another JSON file"
        )
    return result


def _result_notes(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Notes of the evaluations, each once with the rows it applies to, or with their set if it applies to all."""
    rows: dict[tuple[str | None, str], list[str]] = {}
    for name, result in results.items():
        for note in result.get("notes", []):
            rows.setdefault((table.split_of(name), note), []).append(name)
    notes = []
    for (split, note), names in rows.items():
        whole = len(names) == sum(table.split_of(name) == split for name in results)
        set_name = table.SPLIT_NAMES.get(split, "other images")
        only = "" if whole else f", {', '.join(map(table.row_title, names))}"
        notes.append(f"{set_name.capitalize()}{only}: {note}.")
    return notes


def _set_notes(sets: Iterable[SetSummary], config: Config) -> list[str]:
    notes = []
    for summary in sets:
        for stage in summary.stages:
            where = f"{summary.title}: {stage.stage}"
            notes += [f"{where}: {problem}." for problem in stage.problems]
            if 0 < stage.n_present < stage.n_shards:
                notes.append(f"{where}: {stage.n_present} of {stage.n_shards} shards exist and are counted.")
            if summary.method == OWN:  # other methods have their own settings
                wanted = settings_of(stage.stage, config)[stage.stage.replace("-", "_")]
                other = "; ".join(differences(stage, wanted))
                notes += [f"{where} was made with settings other than those below: {other}."] if other else []
    return notes


def _result_table(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Columns, and rows grouped by their images; the best of each group is marked."""
    types = [t for t in COLUMNS if any(t in result["metrics"] for result in results.values())]
    recalls = [m for r in results.values() for values in r["metrics"].values() for m in values if m.startswith("AR")]
    last = max(recalls, key=lambda name: int(name[2:]), default="AR100")
    metrics = {t: [last if name == "AR" else name for name in COLUMNS[t]] for t in types}
    groups = []
    for split in dict.fromkeys(table.split_of(name) for name in results):
        rows = {name: result for name, result in results.items() if table.split_of(name) == split}
        title = table.SPLIT_NAMES.get(split, "Other images").capitalize()
        n_images = {result["n_images"] for result in rows.values()}
        title += f" ({n_images.pop()})" if len(n_images) == 1 else ""
        best = {(t, m): table.best_rows(rows, t, m) for t in types for m in metrics[t]}
        groups.append({"title": title, "rows": [_row(name, result, metrics, best) for name, result in rows.items()]})
    columns = [(table.TYPE_NAMES[t], metrics[t]) for t in types]
    n_columns = 3 + sum(len(names) for names in metrics.values())
    return {"groups": groups, "columns": columns, "n_columns": n_columns, "last_dets": last[2:]}


def _row(name: str, result: Mapping[str, Any], metrics: Mapping[str, Sequence[str]], best: Mapping) -> dict[str, Any]:
    cells = []
    for iou_type, names in metrics.items():
        for position, metric in enumerate(names):
            classes = ["edge"] * (position == 0) + ["best"] * (name in best[iou_type, metric])
            value = result["metrics"].get(iou_type, {}).get(metric)
            cells.append({"text": table.percent(value), "classes": " ".join(classes)})
    cells.append({"text": f"{result['predictions_per_image']:.2f}", "classes": "edge"})
    cells.append({"text": f"{result['objects_per_image']:.2f}", "classes": ""})
    return {"title": table.row_title(name), "cells": cells}


def _charts(detectors: Mapping[int, Path], results: Mapping[str, Any], notes: list[str]) -> list[dict[str, str]]:
    """Loss and AP curves; missing trainings and evaluations are noted."""
    curves, charts = {}, []
    for number, folder in detectors.items():
        path = folder / "metrics.jsonl"
        if points := read_curve(path):
            curves["first training" if number == 0 else f"round {number}"] = points
    for number, folder in detectors.items():
        if curves and not (folder / "metrics.jsonl").is_file():
            notes.append(f"Detector, round {number}: not trained, or its loss curve is missing.")
        elif curves and results and f"round{number}_val" not in results:
            notes.append(f"Detector, round {number}: not evaluated on held-out images.")
    if curves:
        ends = [f"{name} {points[-1]['loss']:.2f} after {points[-1]['iteration']}" for name, points in curves.items()]
        last = f"Last values: {', '.join(ends)} iterations."
        charts.append(
            {
                "uri": figures.svg_uri(figures.loss_curves(curves)),
                "alt": f"Training loss over iterations. {last}",
                "caption": f"Sum of all training losses; the solid line is a running mean. {last}",
            }
        )
    if rounds := figures.ap_over_rounds(results):
        charts.append(
            {
                "uri": figures.svg_uri(rounds),
                "alt": "AP of the detector over self-training rounds; the values are in the table of results",
                "caption": "AP on the held-out images. Round 0 is the detector trained on the pseudo-masks; "
                "horizontal lines are the pseudo-masks themselves on the same images.",
            }
        )
    return charts


def _prediction_rows(detectors: Mapping[int, Path]) -> Iterable[dict[str, Any]]:
    """Outcome of prediction on the held-out images, for each round."""
    for number, folder in detectors.items():
        path = folder / "predictions_val.json"
        if not path.is_file():
            continue
        counts = read_masks(path, own=True).counts
        yield {"title": f"detector, round {number}", **asdict(counts)}


def _examples(run_dir: Path, config: Config, detectors: Mapping[int, Path], notes: list[str]) -> dict[str, Any]:
    """Examples from the held-out images, which also have detections, or else from the training images."""
    held_out = manifest_path(run_dir / "val").is_file()
    base = run_dir / "val" if held_out else run_dir
    name = config.data.val_annotations if held_out else config.data.annotations
    annotations = Path(name) if name else None
    if annotations is not None and not annotations.is_file():
        notes.append(f"Ground truth {annotations} was not found from the current folder, so the pictures lack it.")
        annotations = None
    detections = _last_detections(detectors, config.report.min_score) if held_out else None
    values: dict[str, Any] = {
        "examples": [],
        "legend": [],
        "no_examples": "",
        "set_name": table.SPLIT_NAMES["val" if held_out else "train"],
        "n_set_images": 0,
    }
    try:
        drawn = make_examples(
            base, config.report.n_images, side=config.report.thumbnail, detections=detections, annotations=annotations
        )
        values["examples"] = [_embedded(example) for example in progress(drawn, "report", config.report.n_images)]
    except Cuts3dError as error:
        values["no_examples"] = str(error)
    values["n_set_images"] = read_manifest(manifest_path(base)).n_images
    titles = {panel["title"] for example in values["examples"] for panel in example["panels"]}
    values["legend"] = legend(titles, detections.title if detections else None)
    return values


def _last_detections(detectors: Mapping[int, Path], min_score: float) -> Detections | None:
    there = [number for number, folder in detectors.items() if (folder / "predictions_val.json").is_file()]
    if not there:
        return None
    return Detections(detectors[there[-1]] / "predictions_val.json", f"Detections, round {there[-1]}", min_score)


def _embedded(example: Example) -> dict[str, Any]:
    return {
        "file_name": example.file_name,
        "panels": [_embedded_panel(panel) for panel in example.panels],
        "cuts": [_embedded_panel(panel) for panel in example.cuts],
    }


def _embedded_panel(panel: Panel) -> dict[str, Any]:
    """A panel with its picture as data URI."""
    values = {"title": panel.title, "caption": panel.caption, "missing": panel.missing, "uri": None}
    if panel.picture is None:
        return values
    height, width = panel.picture.shape[:2]
    return {**values, "uri": figures.jpeg_uri(panel.picture), "width": width, "height": height}
