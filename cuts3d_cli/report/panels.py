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
from cuts3d_cli.evaluation.coco_files import normal_name
from cuts3d_cli.pipeline.declarations import LAST
from cuts3d_cli.pipeline.methods import METHODS, OWN
from cuts3d_cli.report.annotations import decoded, drawn
from cuts3d_cli.report.overlay import colourise, heat_over, mark, overlay, panels, resized, resized_masks
from cuts3d_cli.report.run_image import Detections, Missing, Reader, RunImage
from cuts3d_cli.report.words import OUTCOME_WORDS
from cuts3d_cli.store.coco import score_of
from cuts3d_cli.store.layout import OUTCOME_NAMES, manifest_path
from cuts3d_cli.store.manifest import ImageRecord, Manifest, read_manifest, shard_range
from cuts3d_cli.store.zarr_store import Store

STRIP_HEIGHT = 150
"""Height in px of the pictures in the strip of a cut."""


@dataclass(frozen=True)
class Panel:
    """A picture with its title and caption, or the reason why there is none.

    Attributes:
        title: what is shown.
        caption: the settings and numbers behind it.
        picture: (H, W, 3) uint8 RGB, or None.
        missing: why there is no picture.
    """

    title: str
    caption: str = ""
    picture: np.ndarray | None = None
    missing: str = ""


@dataclass(frozen=True)
class Example:
    """One image with all its panels; ``cuts`` holds a strip for each cut attempted."""

    file_name: str
    panels: list[Panel]
    cuts: list[Panel]


def spread(n_total: int, n: int) -> list[int]:
    """At most ``n`` evenly spaced positions: the centres of equal parts of ``n_total``."""
    n = min(n, n_total)
    return [(2 * i + 1) * n_total // (2 * n) for i in range(n)]


def make_examples(
    base: Path, n: int, *, side: int, detections: Detections | None = None, annotations: Path | None = None
) -> Iterator[Example]:
    """Draw ``n`` images, evenly spaced in the image list below ``base``.

    Args:
        base: folder with ``manifest.jsonl`` and the results of the stages; what an image lacks is named in its
            panel; a stage missing from the run has no panel.
        n: number of images.
        side: longer side of the pictures in px.
        detections: predictions to show, or None.
        annotations: COCO ground truth to show, or None.

    Raises:
        StoreError: there is no image list.
    """
    manifest = read_manifest(manifest_path(base))
    places = [_locate(manifest, index) for index in spread(manifest.n_images, n)]
    names = {record.file_name for _, _, record in places}
    reader = Reader(base, detections, annotations, names)
    for shard, row, record in places:
        image = RunImage.load(reader, manifest.image_root, shard, row, record, side)
        yield Example(record.file_name, _panels(image), _cuts(image))


def _locate(manifest: Manifest, index: int) -> tuple[int, int, ImageRecord]:
    """Shard, row in it and record of the image at a position of the list."""
    for shard in range(manifest.n_shards):
        start, stop = shard_range(manifest.n_images, manifest.n_shards, shard)
        if index < stop:
            return shard, index - start, manifest.records(shard)[index - start]
    raise IndexError(index)


def _panels(image: RunImage) -> list[Panel]:
    """All panels that the run can have, in the order of the method; for an unreadable image only the reason."""
    reader = image.reader
    if image.error:
        return [_panel("Photograph", _photograph, image)]
    made: list[tuple[str, bool, Callable[[RunImage], tuple[str, np.ndarray]]]] = [
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
        ("Ground truth, never used above", reader.annotations is not None, _truth),
    ]
    return [_panel(title, draw, image) for title, there, draw in made if there]


def _panel(title: str, draw: Callable[[RunImage], tuple[str, np.ndarray]], image: RunImage) -> Panel:
    try:
        caption, picture = draw(image)
    except (Missing, Cuts3dError) as reason:
        return Panel(title, missing=str(reason))
    return Panel(title, caption, picture)


def _photograph(image: RunImage) -> tuple[str, np.ndarray]:
    if image.error:
        raise Missing(image.error)
    return f"{image.record.width} x {image.record.height} px", image.photo


def _depth(image: RunImage) -> tuple[str, np.ndarray]:
    store = image.store("depth")
    nearness = 1 - store.array("depth")[image.row].astype(np.float32)
    settings = _settings(store.config, "depth", ("backend", "kind"))
    return f"near is bright; {settings}", colourise(resized(nearness, *image.size_hw), 0, 1)


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


def _semantic(image: RunImage, cut: int) -> tuple[str, np.ndarray]:
    store = image.store("localcut")
    mask = _slot(store.array("semantic")[image.row], cut)
    _require_attempted(store, image, cut)
    return f"{mask.mean():.0%} of the patches", overlay(image.photo, _sparse(image, mask, cut), labels=False)


def _instances(image: RunImage) -> tuple[str, np.ndarray]:
    store = image.store("localcut")
    masks = store.array("instance")[image.row]
    keys = ("tau_knn", "k", "background_z", "capacity") if store.config.get("local_cut", True) else ("local_cut",)
    ends = [text for text in _outcomes(store, image) if text.startswith("end: ")]
    caption = "; ".join([f"{masks.any((1, 2)).sum()} of {len(_attempted(store, image))} attempts kept", *ends])
    return f"{caption}; {_settings(store.config, 'localcut', keys)}", image.drawn(masks)


def _confidence(image: RunImage) -> tuple[str, np.ndarray]:
    store = image.store("confidence")
    values = store.array("confidence")[image.row].astype(np.float32).max(0)
    low = store.config.get("sc_min", 0.0)
    settings = _settings(store.config, "confidence", ("n_thresholds", "tau_knn_min", "sc_min"))
    return f"{low:g} dark to 1 bright; {settings}", heat_over(image.photo, image.enlarged(values), low, 1)


def _pseudo_masks(image: RunImage, method: str) -> tuple[str, np.ndarray]:
    masks, by_name = image.reader.masks(image.shard, method)
    _require_success(masks.counts.failures, image)
    found = by_name.get(normal_name(image.record.file_name), [])
    config = masks.provenance.config
    if method == OWN:
        settings = _settings(config.get("crf", {}), "crf", ("enabled", "unary", "min_iou"))
    else:
        settings = _settings(config.get("localcut", {}), f"{method}: localcut", ("tau_ncut", "local_cut"))
    return f"{_count(found, 'mask')}; {settings}", drawn(image.photo, found)


def _detections(image: RunImage) -> tuple[str, np.ndarray]:
    masks, by_name = image.reader.predicted()
    _require_success(masks.counts.failures, image)
    name = normal_name(image.record.file_name)
    if name not in by_name:
        raise Missing("the detector was not run on this image")
    least = image.reader.detections.min_score
    shown = sorted((a for a in by_name[name] if score_of(a) >= least), key=score_of, reverse=True)
    caption = f"{len(shown)} of {_count(by_name[name], 'detection')} shown; report.min_score {least:g}"
    return caption, drawn(image.photo, shown)


def _truth(image: RunImage) -> tuple[str, np.ndarray]:
    masks = image.reader.truth().get(normal_name(image.record.file_name))
    if masks is None:
        raise Missing("the ground truth lacks this image")
    return _count(masks, "object"), image.drawn(decoded(masks, image.size_hw))


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
        ("semantic cut", _semantic(image, cut)[1]),
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
            caption += f", mean confidence {image.array('confidence', 'score')[cut]:.2f}"
    return caption, panels(items, height=min(STRIP_HEIGHT, image.size_hw[0]))


def _attempted(store: Store, image: RunImage) -> list[int]:
    """The cuts that were attempted; a search that ends early leaves the others empty."""
    return np.flatnonzero(store.array("fiedler")[image.row].any((1, 2))).tolist()


def _outcomes(store: Store, image: RunImage) -> list[str]:
    """The outcome of each cut, in words."""
    return [OUTCOME_WORDS[OUTCOME_NAMES[code]] for code in store.array("outcome")[image.row]]


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


def _require_success(failures: Mapping[str, str], image: RunImage) -> None:
    if image.record.file_name in failures:
        raise Missing(f"failed: {failures[image.record.file_name]}")


def _settings(config: Mapping[str, Any], section: str, keys: Sequence[str]) -> str:
    """``localcut.tau_knn 0.115, k 20`` for the keys that the section has."""
    shown = ", ".join(f"{key} {config[key]}" for key in keys if key in config)
    return f"{section}.{shown}" if shown else ""


def _count(things: Sequence, name: str) -> str:
    return f"{len(things)} {name}" + ("" if len(things) == 1 else "s")
