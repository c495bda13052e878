"""What a command says of the depth of its images: each thing once, with the number of images it applies to."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cuts3d_cli.backends.depth_values import (
    APART,
    BELOW,
    COARSE,
    CONSTANT,
    DIRECTION,
    FAR_ABOVE,
    FEW,
    LABELS,
    LARGEST,
    NEGATIVE,
    SENTINEL,
    UNTURNED,
)
from cuts3d_cli.config import Config, DepthConfig
from cuts3d_cli.config.backends import AUTO, READS_FILES, depth_keys
from cuts3d_cli.config.section import changed_keys
from cuts3d_cli.log import notices
from cuts3d_cli.store.image_files import counted
from cuts3d_cli.store.layout import DEPTH_SOURCES, FAILED
from cuts3d_cli.store.map_kinds import MOST_COARSE
from cuts3d_cli.store.zarr_store import Store

PREDICTED = "predicted"

_MANY = f"{FEW:.0%} of the map or more"
_TAKEN = "which is taken as a distance; if it means no reading, set it to 0"

WORDS = {
    PREDICTED: "no depth map, so depth is predicted by the embedded model",
    NEGATIVE: "values below 0 are taken as holes",
    SENTINEL: f"the largest value of the file's type, more than {FAR_ABOVE:g} times all others, is taken as a hole",
    LARGEST: f"{_MANY} has the largest value of the file's type, {_TAKEN}",
    APART: f"{_MANY} has one and the same value, more than {FAR_ABOVE:g} times all others, {_TAKEN}",
    BELOW: f"{_MANY} has one and the same value below 0, all others being above 0, {_TAKEN}",
    CONSTANT: "the map is constant, so nothing is separated in 3D",
    UNTURNED: "the image has an EXIF rotation, and the shape of the map does not tell whether it was rotated too; it "
    "is used as if it was",
    LABELS: "the map holds nothing but small whole numbers in large areas, as a label map does, or depth in whole "
    "metres; give depth, in a smaller unit such as millimetres",
    COARSE: f"the map has at most {MOST_COARSE} different values, all whole numbers, too few to separate objects in "
    "3D; give depth in a smaller unit, such as millimetres",
    DIRECTION: "what is at the bottom of the image would be farther than what is at the top, which is rare; check that "
    "depth.kind, metric (far is large) or inverse (near is large), is that of the map",
}
"""What may be said."""

LARGE_HOLES = 0.2
"""Fraction of an image without a reading from which its holes count as large."""


def notes_of(store: Store, names: Sequence[str]) -> dict[str, list[str]]:
    """What there is to say of a depth store: the names of the images by key of `WORDS`.

    Args:
        store: a store of the stage depth.
        names: what its images are called, in order.
    """
    found = {key: [names[row] for row in rows] for key, rows in store.attrs.get("notes", {}).items()}
    if store.attrs.get("backend") == AUTO:
        model = np.asarray(store.array("source")[:]) == DEPTH_SOURCES.index("model")
        found[PREDICTED] = [names[row] for row in np.flatnonzero(model & (store.status != FAILED)).tolist()]
    return {key: which for key, which in found.items() if which}


def missing(store: Store) -> float:
    """Fraction of the depth without a reading in the store of a single image; 0 where it failed."""
    reading = np.asarray(store.array("reading")[0])
    return 0.0 if store.status[0] == FAILED else 1 - float(reading.mean())


def large_holes(holes: Mapping[str, float]) -> dict[str, float]:
    """Images with large holes and their fractions without a reading, the largest first."""
    large = {name: share for name, share in holes.items() if share > LARGE_HOLES}
    return dict(sorted(large.items(), key=lambda item: -item[1]))


def holes_text(holes: Mapping[str, float], total: int) -> str:
    """What there is to say of large holes in the depth of ``total`` images; empty where there is none.

    Args:
        holes: fraction without a reading by file name.
        total: number of images.
    """
    if not (large := large_holes(holes)):
        return ""
    worst, share = next(iter(large.items()))
    which = f"{len(large)} of {counted(total, 'image')} (most in {worst}, {share:.0%})"
    return (
        f"more than {LARGE_HOLES:.0%} of the depth has no reading in {which}; it is filled in there from what lies "
        "around, so cuts in space are unreliable at such places"
    )


def tell_holes(holes: Mapping[str, float], total: int) -> None:
    """Warn of large holes; see `holes_text`."""
    if text := holes_text(holes, total):
        notices.warning("depth: %s", text)


def tell_unused(config: DepthConfig, n_predicted: int, total: int) -> None:
    """Say which settings have no effect on these images, as all their depth comes from maps, or none.

    Only the files tell, so it is no error as a setting is that the backend never reads (`config.section`).

    Args:
        config: the settings of depth.
        n_predicted: number of images whose depth a model predicts.
        total: number of images.
    """
    if not total or 0 < n_predicted < total:
        return
    used = ("backend", *depth_keys(AUTO, maps=not n_predicted, model=bool(n_predicted)))
    for key in changed_keys(config, but=used):
        have = "no image has" if n_predicted else "every image has"
        notices.warning("depth.%s has no effect, as %s a depth map (%s)", key, have, counted(total, "image"))


def tell_unread(depth_maps: Path | None, config: Config) -> None:
    """Say that depth maps which were given are not read, as a depth model replaces them."""
    if depth_maps is not None and config.depth.backend not in READS_FILES:
        notices.warning("%s is not read, as depth.backend is %s, not files", depth_maps, config.depth.backend)


def without_predicted(notes: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Notes of images without what `image_set.tell_predicted` said before the work."""
    return {key: names for key, names in notes.items() if key != PREDICTED}


def tell(found: Sequence[Mapping[str, Sequence[str]]], total: int, depth_maps: Path | None) -> None:
    """Say it.

    Args:
        found: of some stores each, see `notes_of`.
        total: number of all images.
        depth_maps: where depth maps were to lie; a missing one is worth a warning only if that was said.
    """
    for key, words in WORDS.items():
        names = [name for each in found for name in each.get(key, ())]
        if names:
            first = names[0] if len(names) == 1 else f"first {names[0]}"
            which = names[0] if total == 1 else f"{len(names)} of {total} images, {first}"
            expected = key == PREDICTED and depth_maps is None
            notices.log(logging.INFO if expected else logging.WARNING, "depth: %s (%s)", words, which)
