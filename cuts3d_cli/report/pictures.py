"""The pictures of a report, ready for its template: contact sheets, best and worst images, examples step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cuts3d_cli.config import Config
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.evaluation import table
from cuts3d_cli.log import progress
from cuts3d_cli.pipeline.declarations import LAST
from cuts3d_cli.report import figures
from cuts3d_cli.report.layers import canvas_hw
from cuts3d_cli.report.panels import Example, Panel, make_examples
from cuts3d_cli.report.photos import Photos
from cuts3d_cli.report.run_image import Detections, RunImage, Truth, bases_of
from cuts3d_cli.report.run_summary import detections_path
from cuts3d_cli.report.sheets import MOST_SCORED, Contact, Tile, drawn_detections, final_masks, spread_text
from cuts3d_cli.report.words import legend
from cuts3d_cli.store.layout import manifest_path, predictions_path
from cuts3d_cli.store.manifest import read_manifest


class Pictures:
    """Makes the pictures of a run.

    Args:
        run_dir: folder of the run.
        config: its configuration.
        photos: takes every photograph shown.
        notes: takes what the reader should know.
    """

    def __init__(self, run_dir: Path, config: Config, photos: Photos, notes: list[str]):
        self.config, self.photos, self.bases = config, photos, bases_of(run_dir)
        self.detections_of = "val" if "val" in self.bases else "train"
        self.detections = _last_detections(run_dir, config, self.detections_of)
        given = {"train": config.data.annotations, "val": config.data.val_annotations}
        self.truth: dict[str, Truth | None] = {}
        for split, base in self.bases.items():
            name = given[split]
            if name and not Path(name).exists():
                notes.append(f"Ground truth {name} was not found from the current folder, so the pictures lack it.")
                name = None
            root = read_manifest(manifest_path(base)).image_root
            self.truth[split] = Truth(Path(name), root, config.data.ignore_labels) if name else None

    def examples(self) -> dict[str, Any]:
        """Examples from the held-out images, which also have detections, or else from the training images."""
        split = self.detections_of
        base, report = self.bases[split], self.config.report
        values: dict[str, Any] = {"examples": [], "no_examples": ""}
        try:
            drawn = make_examples(
                base,
                report.n_images,
                side=report.thumbnail,
                detections=self.detections,
                truth=self.truth[split],
            )
            values["examples"] = [self._example(example) for example in progress(drawn, "report", report.n_images)]
        except Cuts3dError as error:
            values["no_examples"] = str(error)
        n_images = read_manifest(manifest_path(base)).n_images
        values["examples_text"] = spread_text(len(values["examples"]), n_images, table.SPLIT_NAMES[split])
        titles = {panel["title"] for example in values["examples"] for panel in example["panels"]}
        values["legend"] = legend(titles, self.config, self.detections.title if self.detections else None)
        return values

    def sheets(self) -> dict[str, Any]:
        """Contact sheets of the training masks and of the detections, and best and worst images of both."""
        contact, extremes, report = [], [], self.config.report
        wanted = [("train", "Pseudo-masks", None, final_masks)]
        if self.detections:
            wanted.append(
                (self.detections_of, self.detections.title, self.detections, drawn_detections(report.min_score))
            )
        for split, title, detections, finder in wanted:
            if split not in self.bases:
                continue
            name, truth = table.SPLIT_NAMES[split], self.truth[split]
            maker = Contact(
                self.bases[split],
                finder,
                n=report.n_sheet,
                side=report.thumbnail,
                detections=detections,
                truth=truth,
            )
            if not detections and not maker.reader.has(LAST):
                continue
            if tiles := maker.sheet():
                text = spread_text(len(tiles), maker.n_images, name)
                contact.append(self._sheet(f"{title}, {name}", text, tiles))
            best, worst, n_scored = maker.extremes()
            of = f"{n_scored} {name} with ground truth" + (", evenly spaced" if n_scored == MOST_SCORED else "")
            for order, some in (("best", best), ("worst", worst)):
                if some:
                    text = f"The {len(some)} {order} of {of}, {order} first."
                    extremes.append(self._sheet(f"{title}, {name}: {order}", text, some))
        return {"contact": contact, "extremes": extremes}

    def _sheet(self, title: str, text: str, tiles: Sequence[Tile]) -> dict[str, Any]:
        pictures = [
            self._picture(tile.image, Panel(tile.image.record.file_name, tile.caption, tile.layers)) for tile in tiles
        ]
        return {"title": title, "text": text, "pictures": pictures}

    def _example(self, example: Example) -> dict[str, Any]:
        return {
            "file_name": example.image.record.file_name,
            "panels": [self._picture(example.image, panel) for panel in example.panels],
            "cuts": [self._picture(example.image, panel) for panel in example.cuts],
        }

    def _picture(self, image: RunImage, panel: Panel) -> dict[str, Any]:
        """What the template needs of a panel: an embedded picture, or layers over a photograph of the page."""
        values = {
            "title": panel.title, "caption": panel.caption, "missing": panel.missing, "name": image.record.file_name,
            "uri": None, "photo": None, "layers": [],
        }  # fmt: skip
        if isinstance(panel.picture, np.ndarray):
            height, width = panel.picture.shape[:2]
            return {**values, "uri": figures.jpeg_uri(panel.picture), "width": width, "height": height}
        photo = None if panel.picture is None else self.photos.add(image)
        if photo is None:
            return {**values, "missing": panel.missing or image.error or panel.caption, "caption": ""}
        height, width = canvas_hw(image.size_hw)
        layers = [{**asdict(layer), "n": n} for n, layer in enumerate(panel.picture)]
        return {**values, "photo": photo, "width": width, "height": height, "layers": layers}


def _last_detections(run_dir: Path, config: Config, split: str) -> Detections | None:
    """Those of the last detector on the held-out images; without such images those of `detections_command`."""
    min_score = config.report.min_score
    if split == "train":
        path = detections_path(run_dir)
        return Detections(path, "Detections", min_score) if config.trainings and path.is_file() else None
    there = [number for number in config.trainings if predictions_path(run_dir, number).is_file()]
    if not there:
        return None
    return Detections(predictions_path(run_dir, there[-1]), f"Detections, round {there[-1]}", min_score)
