"""What a run's report was made from, recorded in ``results.json`` beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cuts3d_cli.config import Config
from cuts3d_cli.evaluation.plan import evaluations, predicting
from cuts3d_cli.pipeline.methods import OWN, methods_of
from cuts3d_cli.store.checksums import read_own
from cuts3d_cli.store.files import digest_file
from cuts3d_cli.store.layout import predictions_path, pseudo_masks_path, round_path

VERSION = 1
"""Raised when the record holds something else: the report is then written again."""

OUTPUTS = ("report.html", "results.json", "results.txt")
"""The files of a report."""


def made_from(run_dir: Path, config: Config) -> dict[str, Any]:
    """The configuration of a run, and hashes of the files that its report shows, by path in the run; JSON-able."""
    files = [
        *(run_dir / "evaluation" / f"{name}.json" for name in evaluations(config, methods_of(config))),
        *(pseudo_masks_path(base, OWN) for base in (run_dir, run_dir / "val")),
        *(round_path(run_dir, number) / "metrics.jsonl" for number in config.trainings),
        *(predictions_path(run_dir, number) for number in predicting(config)),
    ]
    found = {path.relative_to(run_dir).as_posix(): digest_file(path) for path in files if path.is_file()}
    return {"version": VERSION, "config": config.model_dump(mode="json"), "inputs": found}


def recorded(run_dir: Path) -> dict[str, Any]:
    """What `made_from` gave when the report was written; empty for a report of an earlier version.

    Raises:
        DamagedError: the file is missing or damaged.
    """
    return read_own(run_dir / "results.json").get("made_from", {})
