"""The pictures of one image of a run: photograph, every intermediate, final masks, detections, ground truth.

Everything is drawn at thumbnail size in the photograph's own shape; the square working grid is stretched back to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.pipeline.declarations import LAST
from cuts3d_cli.pipeline.methods import METHODS, OWN
from cuts3d_cli.report.annotations import buttons_text, counted, number_of, shown_detections
from cuts3d_cli.report.layers import Layer, annotation_layers, mask_layers
from cuts3d_cli.report.overlay import colourise, hatched, heat_over, mark, overlay, panels, resized, resized_masks
from cuts3d_cli.report.run_image import Detections, Missing, Reader, RunImage, Truth, places, spread
from cuts3d_cli.report.words import outcome_texts
from cuts3d_cli.store.coco import decode_mask, score_of
from cuts3d_cli.store.layout import manifest_path
from cuts3d_cli.store.manifest import read_manifest
from cuts3d_cli.store.zarr_store import Store

Picture = np.ndarray | list[Layer]

STRIP_HEIGHT = 240
"""Height in px of the pictures in the strip of a cut."""


@dataclass(frozen=True)
class Panel:
    """A picture with its title and caption, or the reason why there is none.

    Attributes:
        title: what is shown.
        caption: the settings and numbers behind it.
        picture: (H, W, 3) uint8 RGB; the photograph's masks as layers, none for the photograph alone; or None.
        missing: why there is no picture.
    """

    title: str
    caption: str = ""
    picture: Picture | None = None
    missing: str = ""


@dataclass(frozen=True)
class Example:
    """One image with all its panels; ``cuts`` holds a strip for each cut attempted."""

    image: RunImage
    panels: list[Panel]
    cuts: list[Panel]


def make_examples(
    base: Path, n: int, *, side: int, detections: Detections | None = None, truth: Truth | None = None
) -> Iterator[Example]:
    """Draw ``n`` images, evenly spaced in the image list below ``base``.

    Args:
        base: folder with ``manifest.jsonl`` and the results of the stages; what an image lacks is named in its
            panel; a stage missing from the run has no panel.
        n: number of images.
        side: longer side of the pictures in px.
        detections: predictions to show, or None.
        truth: ground truth to show, or None.

    Raises:
        StoreError: there is no image list.
    """
    manifest = read_manifest(manifest_path(base))
    chosen = places(manifest, spread(manifest.n_images, n))
    reader = Reader(base, detections, truth, {record.file_name for _, _, record in chosen})
    for place in chosen:
        image = RunImage.load(reader, manifest.image_root, place, side)
        yield Example(image, _panels(image), _cuts(image))


def _panels(image: RunImage) -> list[Panel]:
    """All panels that the run can have, in the order of the method; for an unreadable image only the reason."""
    reader = image.reader
    if image.error:
        return [_panel("Photograph", _photograph, image)]
    made: list[tuple[str, bool, Callable[[RunImage], tuple[str, Picture]]]] = [
        ("Photograph", True, _photograph),
        ("Depth", reader.has("depth"), _depth),
        ("Spatial Importance", reader.has("spatial-importance"), _importance),
        ("Eigenvector of the first cut", reader.has("localcut"), lambda i: _eigenvector(i, 0)),
        ("Semantic cut", reader.has("localcut"), lambda i: _semantic(i, 0)),
        ("Instances", reader.has("localcut"), _instances),
        ("Spatial Confidence", reader.has("confidence"), _confidence),
        ("Final pseudo-masks", reader.has(LAST), lambda i: _pseudo_masks(i, OWN)),
        *(
            (f"{method.title}, for comparison", reader.has(LAST, name), lambda i, name=name: _pseudo_masks(i, name))
            for name, method in METHODS.items()
            if name != OWN
        ),
        (reader.detections.title if reader.detections else "", reader.detections is not None, _detections),
        ("Ground truth, never used above", reader.truth_file is not None, _truth),
    ]
    return [_panel(title, draw, image) for title, there, draw in made if there]


def _panel(title: str, draw: Callable[[RunImage], tuple[str, Picture]], image: RunImage) -> Panel:
    try:
        caption, picture = draw(image)
    except (Missing, Cuts3dError) as reason:
        return Panel(title, missing=str(reason))
    return Panel(title, caption, picture)


def _photograph(image: RunImage) -> tuple[str, list[Layer]]:
    if image.error:
        raise Missing(image.error)
    return f"{image.record.width} x {image.record.height} px", []


def _depth(image: RunImage) -> tuple[str, np.ndarray]:
    store = image.store("depth")
    nearness = 1 - image.array("depth", "depth").astype(np.float32)
    reading = image.array("depth", "reading")
    settings = _settings(store.config, "depth", ("backend", "kind"))
    caption = f"near is bright; {settings}"
    picture = colourise(resized(nearness, *image.size_hw), 0, 1)
    if not reading.all():
        caption = f"{image.missing_depth():.0%} without a reading (hatched), filled in; {caption}"
        picture = hatched(picture, ~resized_masks(reading[None], *image.size_hw)[0])
    return caption, picture


def _importance(image: RunImage) -> tuple[str, np.ndarray]:
    store = image.store("spatial-importance")
    settings = _settings(store.config, "spatial_importance", ("beta", "sigma", "resolution"))
    low = store.config.get("beta", 0.0)
    return f"{low:g} dark to 1 bright; {settings}", colourise(
        image.enlarged(store.array("importance")[image.row]), low, 1
    )


def _eigenvector(image: RunImage, cut: int) -> tuple[str, np.ndarray]:
    store = image.store("localcut")
    values = _slot(store.array("fiedler")[image.row], cut)
    _require_attempted(store, image, cut)
    picture = colourise(image.enlarged(values), scheme="diverging")
    points = _terminals(store.array("terminals")[image.row, cut], values.shape, image.size_hw)
    if points:
        picture = mark(picture, list(points.values()), list(points))
    return _settings(store.config, "localcut", ("tau_ncut", "sharpen", "exponent")), picture


def _semantic(image: RunImage, cut: int) -> tuple[str, list[Layer]]:
    store = image.store("localcut")
    mask = _slot(store.array("semantic")[image.row], cut)
    _require_attempted(store, image, cut)
    return f"{mask.mean():.0%} of the patches", mask_layers([mask], image.size_hw, slots=[cut])


def _instances(image: RunImage) -> tuple[str, list[Layer]]:
    store = image.store("localcut")
    masks = store.array("instance")[image.row]
    keys = ("tau_knn", "k", "background_z", "capacity") if store.config.get("local_cut", True) else ("local_cut",)
    ends = [text for text in _outcomes(store, image) if text.startswith("end: ")]
    caption = "; ".join([f"{masks.any((1, 2)).sum()} of {len(_attempted(store, image))} attempts kept", *ends])
    return f"{caption}; {_settings(store.config, 'localcut', keys)}", mask_layers(masks, image.size_hw)


def _confidence(image: RunImage) -> tuple[str, np.ndarray]:
    store = image.store("confidence")
    values = store.array("confidence")[image.row].astype(np.float32).max(0)
    low = store.config.get("sc_min", 0.0)
    settings = _settings(store.config, "confidence", ("n_thresholds", "tau_knn_min", "sc_min"))
    return f"{low:g} dark to 1 bright; {settings}", heat_over(image.photo, image.enlarged(values), low, 1)


def _pseudo_masks(image: RunImage, method: str) -> tuple[str, list[Layer]]:
    found = image.pseudo_masks(method)
    config = image.reader.masks(image.shard, method)[0].provenance.config
    if method == OWN:
        settings = _settings(config.get("crf", {}), "crf", ("enabled", "outlines", "unary", "min_iou"))
    else:
        settings = _settings(config.get("localcut", {}), f"{method}: localcut", ("tau_ncut", "local_cut"))
    name, values = number_of(found, image.score_name(method))
    caption = f"{counted(found, 'mask')}{buttons_text(found, name)}; {settings}"
    return caption, annotation_layers(found, image.size_hw, values)


def _detections(image: RunImage) -> tuple[str, list[Layer]]:
    shown, caption = shown_detections(image.detections(), image.reader.detections.min_score)
    return caption, annotation_layers(shown, image.size_hw, [score_of(entry) for entry in shown])


def _truth(image: RunImage) -> tuple[str, list[Layer]]:
    codes = image.truth()
    return counted(codes, "object"), mask_layers([decode_mask(code) for code in codes], image.size_hw)


def _cuts(image: RunImage) -> list[Panel]:
    """A strip for each attempted cut: eigenvector, semantic cut, instance, confidence."""
    try:
        store = image.store("localcut")
    except (Missing, Cuts3dError):
        return []
    cuts = _attempted(store, image)
    return [_panel(f"Cut {cut + 1}", lambda i, cut=cut: _cut_strip(i, cut), image) for cut in cuts]


def _cut_strip(image: RunImage, cut: int) -> tuple[str, np.ndarray]:
    semantic = image.array("localcut", "semantic")[cut]
    instance = image.array("localcut", "instance")[cut]
    items = [
        ("eigenvector", _eigenvector(image, cut)[1]),
        ("semantic cut", overlay(image.photo, _sparse(image, semantic, cut), labels=False)),
        ("instance", overlay(image.photo, _sparse(image, instance, cut), labels=False)),
    ]
    caption = f"{int(instance.sum())} of the semantic cut's {int(semantic.sum())} patches kept"
    if not instance.any():
        why = _outcomes(image.store("localcut"), image)[cut]
        caption = f"nothing kept of the semantic cut's {int(semantic.sum())} patches; {why}"
    if image.reader.has("confidence"):
        values = image.array("confidence", "confidence")[cut].astype(np.float32)
        low = image.store("confidence").config.get("sc_min", 0.0)
        items.append(("confidence", heat_over(image.photo, image.enlarged(values), low, 1)))
        if instance.any():
            caption += f", stability {image.array('confidence', 'score')[cut]:.2f}"
    return caption, panels(items, height=min(STRIP_HEIGHT, image.size_hw[0]))


def _attempted(store: Store, image: RunImage) -> list[int]:
    """The cuts that were attempted; a search that ends early leaves the others empty."""
    return np.flatnonzero(store.array("fiedler")[image.row].any((1, 2))).tolist()


def _outcomes(store: Store, image: RunImage) -> list[str]:
    """The outcome of each cut, in words."""
    return outcome_texts(store, image.row)


def _require_attempted(store: Store, image: RunImage, cut: int) -> None:
    if cut not in _attempted(store, image):
        raise Missing(f"no cut: {_outcomes(store, image)[cut].removeprefix('end: ')}")


def _slot(values: np.ndarray, cut: int) -> np.ndarray:
    if cut >= len(values):
        raise Missing("no such cut")
    return values[cut]


def _sparse(image: RunImage, grid_mask: np.ndarray, cut: int) -> np.ndarray:
    """A single mask at its index among the cuts, so that it keeps its colour; (cut + 1, h, w)."""
    masks = np.zeros((cut + 1, *image.size_hw), bool)
    masks[cut] = resized_masks(grid_mask[None], *image.size_hw)[0]
    return masks


def _terminals(terminals: np.ndarray, grid_hw: Sequence[int], size_hw: Sequence[int]) -> dict[str, tuple[float, float]]:
    """Source and sink (x, y) in px of the thumbnail; those that do not exist (-1) are omitted."""
    points = {}
    for name, flat in zip(("source", "sink"), terminals.tolist(), strict=True):
        if flat >= 0:
            y, x = divmod(flat, grid_hw[1])
            points[name] = ((x + 0.5) * size_hw[1] / grid_hw[1], (y + 0.5) * size_hw[0] / grid_hw[0])
    return points


def _settings(config: Mapping[str, Any], section: str, keys: Sequence[str]) -> str:
    """``localcut.tau_knn 0.115, k 20`` for the keys that the section has."""
    shown = ", ".join(f"{key} {config[key]}" for key in keys if key in config)
    return f"{section}.{shown}" if shown else ""
