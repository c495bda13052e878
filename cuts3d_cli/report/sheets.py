"""Contact sheets: many images of a set with their masks or detections, and the best and worst against ground truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.report.annotations import buttons_text, counted, number_of, shown_detections
from cuts3d_cli.report.fit import Fit, best_and_worst, fit
from cuts3d_cli.report.layers import Layer, annotation_layers, truth_layer
from cuts3d_cli.report.run_image import Detections, Missing, Place, Reader, RunImage, Truth, places, spread
from cuts3d_cli.store.coco import score_of
from cuts3d_cli.store.layout import manifest_path
from cuts3d_cli.store.manifest import read_manifest

N_EXTREMES = 5
"""Best and worst images shown, each."""

MOST_SCORED = 1000
"""Images scored to find the best and worst, evenly spaced."""

LEAST_MISSING = 0.005
"""Fraction of missing depth from which a caption names it."""

Finder = Callable[[RunImage], tuple[Sequence[Mapping[str, Any]], str, list[float] | None]]
"""Gives the masks of an image, COCO annotations, their caption, and what their switches say."""


@dataclass(frozen=True)
class Tile:
    """An image with its masks, or why there are none."""

    image: RunImage
    caption: str = ""
    layers: list[Layer] = field(default_factory=list)


class Contact:
    """Makes the sheets of a set of images.

    Args:
        base: folder with ``manifest.jsonl`` and the results of the stages.
        finder: the masks of an image.
        n: images of the contact sheet.
        side: longer side of the photographs in px.
        detections: predictions that the finder may take.
        truth: ground truth, or None.

    Raises:
        StoreError: there is no image list.
    """

    def __init__(
        self,
        base: Path,
        finder: Finder,
        *,
        n: int,
        side: int,
        detections: Detections | None = None,
        truth: Truth | None = None,
    ):
        manifest = read_manifest(manifest_path(base))
        self.n_images, self.root, self.finder, self.side = manifest.n_images, manifest.image_root, finder, side
        self.shown = places(manifest, spread(manifest.n_images, n))
        self.candidates = places(manifest, spread(manifest.n_images, MOST_SCORED)) if truth else []
        names = {record.file_name for _, _, record in [*self.shown, *self.candidates]}
        self.reader = Reader(base, detections, truth, names)

    def sheet(self) -> list[Tile]:
        """Images evenly spaced in the list."""
        return [self._tile(place, truth_shown=False) for place in self.shown]

    def extremes(self) -> tuple[list[Tile], list[Tile], int]:
        """The best images against the ground truth, best first, the worst, worst first, and how many were scored."""
        images = [RunImage.without_photo(self.reader, self.root, place) for place in self.candidates]
        scores = [None if image.error else self._fit(image) for image in images]
        scored = [(place, score) for place, score in zip(self.candidates, scores, strict=True) if score is not None]
        best, worst = best_and_worst(scored, N_EXTREMES)
        best_tiles, worst_tiles = ([self._tile(place, truth_shown=True) for place, _ in some] for some in (best, worst))
        return best_tiles, worst_tiles, len(scored)

    def _fit(self, image: RunImage) -> Fit | None:
        if self.reader.truth_file is None:
            return None
        try:
            return fit([entry["segmentation"] for entry in self.finder(image)[0]], image.truth())
        except (Missing, Cuts3dError):
            return None

    def _tile(self, place: Place, *, truth_shown: bool) -> Tile:
        image = RunImage.load(self.reader, self.root, place, self.side)
        if image.error:
            return Tile(image, image.error)
        try:
            found, words, values = self.finder(image)
        except (Missing, Cuts3dError) as reason:
            return Tile(image, str(reason))
        layers = annotation_layers(found, image.size_hw, values)
        facts = [words, *_missing_depth(image)]
        if (score := self._fit(image)) is not None:
            facts.append(str(score))
            truth = truth_layer(image.truth(), image.size_hw, shown=truth_shown)
            layers += [truth] if truth else []
        return Tile(image, "; ".join(facts), layers)


def final_masks(image: RunImage) -> tuple[Sequence[Mapping[str, Any]], str, list[float] | None]:
    """Finder of the pseudo-masks."""
    found = image.pseudo_masks()
    name, values = number_of(found, image.score_name())
    return found, counted(found, "mask") + buttons_text(found, name), values


def drawn_detections(min_score: float) -> Finder:
    """Finder of the detections that are drawn."""

    def find(image: RunImage) -> tuple[Sequence[Mapping[str, Any]], str, list[float] | None]:
        shown, caption = shown_detections(image.detections(), min_score)
        return shown, caption, [score_of(entry) for entry in shown]

    return find


def spread_text(n_shown: int, n_images: int, name: str) -> str:
    """How the images shown were chosen out of a set."""
    if n_shown == n_images:
        return f"All {n_images} {name}."
    return f"{n_shown} of the {n_images} {name}, evenly spaced in the list, not selected by their results."


def _missing_depth(image: RunImage) -> list[str]:
    try:
        missing = image.missing_depth()
    except (Missing, Cuts3dError):
        return []
    return [f"{missing:.0%} of the depth missing"] if missing >= LEAST_MISSING else []
