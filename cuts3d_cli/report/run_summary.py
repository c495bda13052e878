"""A run in numbers: outcomes of the images at each stage, reasons of failures, instances per image.

Reads one shard at a time, so that a run of a million images needs little memory.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cuts3d_cli.config import Config
from cuts3d_cli.errors import StoreError
from cuts3d_cli.pipeline.declarations import LAST, STAGES, upstream_of
from cuts3d_cli.pipeline.graph import result_path
from cuts3d_cli.pipeline.methods import METHODS, OWN
from cuts3d_cli.pipeline.results import open_listed
from cuts3d_cli.pipeline.runner import LOST
from cuts3d_cli.store.image_files import counted
from cuts3d_cli.store.layout import (
    DONE,
    NO_OBJECT,
    manifest_path,
    method_root,
    predictions_path,
    round_path,
    shard_name,
)
from cuts3d_cli.store.manifest import ImageRecord, read_manifest
from cuts3d_cli.store.masks import read_masks


@dataclass
class StageSummary:
    """Outcomes of the images at a stage.

    Attributes:
        stage: name of the stage.
        n_shards: shards of the image list.
        n_present: shards that have a result.
        done, no_object: number of images.
        failures: reason for each failed image, by file name.
        configs: the distinct settings of the shards.
        problems: reasons for unreadable results of shards.
    """

    stage: str
    n_shards: int
    n_present: int = 0
    done: int = 0
    no_object: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    configs: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class SetSummary:
    """A set of images (training or held-out) under one method.

    Attributes:
        images: which images, in words.
        method: name of the method.
        n_images: images of the list.
        stages: summaries in order of execution.
        instances: number of images by number of final masks; None where no shard has results.
    """

    images: str
    method: str
    n_images: int
    stages: list[StageSummary]
    instances: Counter | None

    @property
    def title(self) -> str:
        """Images and method in words."""
        return f"{self.images}, {METHODS[self.method].title}"

    @property
    def n_instances(self) -> int:
        """Final masks of all images."""
        return sum(number * images for number, images in (self.instances or {}).items())


TRAINING, HELD_OUT = "Training images", "Held-out images"

_UPSTREAM = re.compile(rf"^({LOST}[\w-]+: )+")
"""What `pipeline.runner.lost_before` puts before the reason of an image that an earlier stage lost."""


def summarise(base: Path, images: str, method: str = OWN, config: Config | None = None) -> SetSummary | None:
    """Summarise the images below ``base`` under a method; None where there is no image list.

    Stages that all methods share are listed under the run's own method; those that the configuration needs also where
    nothing of them is there.
    """
    try:
        manifest = read_manifest(manifest_path(base))
    except StoreError:
        return None
    stages = [name for name, stage in STAGES.items() if method == OWN or not stage.shared]
    summaries = {stage: StageSummary(stage, manifest.n_shards) for stage in stages}
    instances: Counter = Counter()
    for shard in range(manifest.n_shards):
        records: list[ImageRecord] = []
        for stage, summary in summaries.items():
            path = result_path(base, stage, shard_name(shard), method)
            if not path.exists():
                continue
            try:
                if stage == LAST:
                    instances += _add_masks(summary, path)
                else:
                    records = records or manifest.records(shard)
                    _add_store(summary, path, records)
            except StoreError as error:
                summary.problems.append(str(error))
    shown = [*upstream_of(LAST, config or Config()), LAST] if method == OWN else []
    kept = [s for s in summaries.values() if s.stage in shown or s.n_present or s.problems]
    return SetSummary(images, method, manifest.n_images, kept, instances or None)


def failed_images(steps: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str, str]]:
    """Image, reason and the stages at which it failed, each image once; with several reasons, all of them.

    Args:
        steps: for each stage, in the order they run, the reason of each failed image.
    """
    reasons: dict[str, dict[str, None]] = {}
    stopped: dict[str, list[str]] = {}
    for step, failures in steps.items():
        for name, text in failures.items():
            reasons.setdefault(name, {})[_UPSTREAM.sub("", text)] = None
            stopped.setdefault(name, []).append(step)
    return [(name, "; ".join(texts), ", ".join(stopped[name])) for name, texts in reasons.items()]


Steps = dict[str, dict[str, dict[str, str]]]
"""Reasons of failed images by name, by step, by set of images."""


def failed_steps(sets: Iterable[SetSummary], predictions: Iterable[Mapping[str, Any]] = ()) -> Steps:
    """Per set of images and step the reason of each failed image, over all methods.

    Args:
        sets: summaries of a run.
        predictions: what `prediction_rows` gives; they are of the held-out images.
    """
    found: Steps = {}
    steps = [(summary.images, stage.stage, stage.failures) for summary in sets for stage in summary.stages]
    for images, step, failures in [*steps, *((HELD_OUT, row["title"], row["failures"]) for row in predictions)]:
        found.setdefault(images, {}).setdefault(step, {}).update(failures)
    return found


def failure_lines(run_dir: Path, config: Config, *, most: int, more: Steps | None = None) -> list[str]:
    """The images of a run that failed, each in a line with its reason, below a line that counts them; none of none.

    Args:
        run_dir: folder of the run.
        config: its configuration.
        most: how many are named.
        more: failures that the results do not tell of.
    """
    try:
        predictions = prediction_rows(run_dir, config.trainings)
    except StoreError:  # whoever reads them says so
        predictions = []
    steps = failed_steps(summarise_run(run_dir), predictions)
    for images, by_step in (more or {}).items():
        for step, failures in by_step.items():
            steps.setdefault(images, {}).setdefault(step, {}).update(failures)
    lines = [
        f"  {name}{' (held-out)' if images == HELD_OUT else ''}: {reason}"
        for images in steps
        for name, reason, _ in failed_images(steps[images])
    ]
    if not lines:
        return []
    rest = [f"  and {len(lines) - most} more"] if len(lines) > most else []
    return [f"{counted(len(lines), 'image')} failed:", *lines[:most], *rest]


def prediction_rows(run_dir: Path, trainings: Iterable[int]) -> list[dict[str, Any]]:
    """How predicting on the held-out images ended, by the detectors that made predictions."""
    rows = []
    for number in trainings:
        path = predictions_path(run_dir, number)
        if path.is_file():
            rows.append({"title": f"detector, round {number}", **asdict(read_masks(path, own=True).counts)})
    return rows


def summarise_run(run_dir: Path, config: Config | None = None) -> list[SetSummary]:
    """Training and held-out images under the run's own method, then the others that were made; see `summarise`."""
    found = []
    for base, images in ((run_dir, TRAINING), (run_dir / "val", HELD_OUT)):
        others = [method for method in METHODS if method != OWN and method_root(base, method).is_dir()]
        found += [summarise(base, images, method, config) for method in (OWN, *others)]
    return [summary for summary in found if summary is not None]


def detections_command(run_dir: str | Path, trainings: Iterable[int]) -> str | None:
    """The command that shows detections for a run without held-out images, whose report has none.

    Args:
        run_dir: folder of the run.
        trainings: numbers of the configuration's trainings, in order.

    Returns:
        The command with the last detector on the training images; None with held-out images, or without detector.
    """
    run_dir = Path(run_dir)
    checkpoints = [round_path(run_dir, number) / "checkpoint.pth" for number in trainings]
    there = [path for path in checkpoints if path.is_file()]
    if manifest_path(run_dir / "val").is_file() or not there:
        return None
    root = read_manifest(manifest_path(run_dir)).image_root
    images = root.relative_to(Path.cwd()) if root.is_relative_to(Path.cwd()) else root
    words = ["--checkpoint", there[-1], "--out", detections_path(run_dir), "--pictures", run_dir / "detections"]
    return shlex.join(["cuts3d", "predict", *map(str, [*words, images])])


def detections_path(run_dir: Path) -> Path:
    """Where `detections_command` puts what it finds; the next report shows it."""
    return run_dir / "detections.json"


def unscored_detections(config: Config, run_dir: Path | None = None) -> Path | None:
    """The last detector's predictions on held-out images without labels; None where there are labels or none such.

    Args:
        config: the configuration of the run.
        run_dir: folder of the run; None for that of the configuration.
    """
    if config.data.val_annotations is not None or not config.trainings:
        return None
    path = predictions_path(run_dir or config.run, config.trainings[-1])
    return path if path.is_file() else None


def differences(summary: StageSummary, wanted: Mapping[str, Any]) -> list[str]:
    """Settings of a stage that differ from those wanted, as ``key: used instead of wanted``."""
    return sorted(
        {
            f"{key}: {made[key]} instead of {wanted[key]}"
            for made in summary.configs
            for key in made
            if key in wanted and made[key] != wanted[key]
        }
    )


def _add_store(summary: StageSummary, path: Path, records: Sequence[ImageRecord]) -> None:
    store = open_listed(summary.stage, path, records)
    summary.n_present += 1
    summary.done += int((store.status == DONE).sum())
    summary.no_object += int((store.status == NO_OBJECT).sum())
    summary.failures |= {records[row].file_name: text for row, text in store.failures.items()}
    _add_config(summary, store.config)


def _add_masks(summary: StageSummary, path: Path) -> Counter:
    """Add a shard's COCO JSON; returns the number of its images by number of masks."""
    masks = read_masks(path, own=True)
    summary.n_present += 1
    summary.done += masks.counts.done
    summary.no_object += masks.counts.no_object
    summary.failures |= masks.counts.failures
    if "crf" in masks.provenance.config:
        _add_config(summary, masks.provenance.config["crf"])
    return Counter(len(found) for found in masks.by_image().values())


def _add_config(summary: StageSummary, config: dict[str, Any]) -> None:
    if config not in summary.configs:
        summary.configs.append(config)
