"""The report of a run: one self-contained HTML file, and its table as JSON and text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from cuts3d_cli import __version__
from cuts3d_cli.config import Config
from cuts3d_cli.errors import Cuts3dError, printable
from cuts3d_cli.evaluation import table
from cuts3d_cli.log import logger
from cuts3d_cli.report import figures
from cuts3d_cli.report.depth_facts import depth_of_sets
from cuts3d_cli.report.notes import curve_notes, depth_notes, result_notes, set_notes
from cuts3d_cli.report.photos import Photos
from cuts3d_cli.report.pictures import Pictures
from cuts3d_cli.report.record import made_from
from cuts3d_cli.report.run_summary import (
    SetSummary,
    detections_command,
    failed_images,
    failed_steps,
    prediction_rows,
    summarise_run,
    unscored_detections,
)
from cuts3d_cli.report.words import glossary, introduction
from cuts3d_cli.store.curve import read_curve
from cuts3d_cli.store.files import atomic_path, write_json
from cuts3d_cli.store.json_files import read_json
from cuts3d_cli.store.layout import manifest_path, round_path

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
    sets = summarise_run(run_dir, config)
    if not sets:
        raise Cuts3dError(
            f"no run at {run_dir}", expected=f"{manifest_path(run_dir)}", hint="run `cuts3d prepare` first"
        )
    files = found_evaluations(run_dir, config.trainings) if evaluations is None else evaluations
    results = {name: _read_evaluation(Path(files[name])) for name in table.ordered(files)}
    page = _page(run_dir, config, sets, results, Photos(out.parent, embed_originals=config.report.embed_originals))
    text = table.format_table(results)
    with atomic_path(out) as temporary:
        temporary.write_text(render(page), encoding="utf-8")
    made = made_from(run_dir, config)
    document = {"version": __version__, "run": str(run_dir), "rows": results, "notes": page["notes"], "made_from": made}
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

    source, style, script = (
        (resources.files("cuts3d_cli.report") / f"page.{suffix}").read_text(encoding="utf-8")
        for suffix in ("html", "css", "js")
    )
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_shown,
    )
    return environment.from_string(source).render(page, style=style, script=script)


def _shown(value: Any) -> Any:
    """A value of the template as it is shown: names of files may hold anything."""
    return "\n".join(map(printable, value.split("\n"))) if type(value) is str else value  # not what is marked safe


def _page(
    run_dir: Path, config: Config, sets: Sequence[SetSummary], results: Mapping[str, Any], photos: Photos
) -> dict[str, Any]:
    """All values used by the template."""
    depth = depth_of_sets(run_dir)
    notes = [*result_notes(results), *set_notes(sets, config), *depth_notes(depth)]
    detectors = {number: round_path(run_dir, number) for number in config.trainings}
    predictions = prediction_rows(run_dir, config.trainings)
    steps = failed_steps(sets, predictions)
    failures = [(images, *item) for images in steps for item in failed_images(steps[images])]
    unscored = unscored_detections(config, run_dir)
    if unscored is not None:
        notes.append(
            "The held-out images have no labels (data.val_annotations), so the detector has no scores. "
            f"Its detections are in {unscored} and in the pictures."
        )
    pictures = Pictures(run_dir, config, photos, notes)
    counted = [s for s in sets if s.instances]
    numbers = range(max((max(s.instances) for s in counted), default=-1) + 1)
    return {
        "run_name": str(run_dir),
        "version": __version__,
        "versions": [("pycocotools", version("pycocotools"))],
        "config": config,
        "config_yaml": yaml.safe_dump(config.model_dump(mode="json", exclude={"preset"}), sort_keys=False),
        "introduction": introduction(config, sets),
        "table": table.format_table(results),
        **_result_table(results),
        "charts": _charts(detectors, results, notes),
        **pictures.sheets(),
        **pictures.examples(),
        "sets": sets,
        "predictions": predictions,
        "detections_command": detections_command(run_dir, config.trainings),
        "instance_numbers": numbers,
        "instance_table": [(s.title, [s.instances[number] for number in numbers]) for s in counted],
        "failures": failures[:MAX_FAILURES],
        "more_failures": max(0, len(failures) - MAX_FAILURES),
        "depth": depth,
        "glossary": glossary(config, next(iter(depth.values()), None)),
        "photos": photos.values(),
        "notes": notes,
    }


def _read_evaluation(path: Path) -> dict[str, Any]:
    expected = "a result of `cuts3d evaluate --out`"
    result = read_json(path, expected=expected)
    if not isinstance(result, dict) or "metrics" not in result:
        raise Cuts3dError(f"evaluation {path}", expected=expected, found="another JSON file")
    return result


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
    notes += curve_notes({number: read_curve(folder / "metrics.jsonl") for number, folder in detectors.items()})
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
