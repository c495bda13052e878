"""What a stage command shows for an image: a row per instance and a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cuts3d_cli.config import Config
from cuts3d_cli.core.masks import boxes_xywh_px, enlarge_all
from cuts3d_cli.errors import ImageError
from cuts3d_cli.log import logger
from cuts3d_cli.pipeline.cache import ImageResult
from cuts3d_cli.pipeline.declarations import LAST
from cuts3d_cli.report.annotations import (
    STABILITY,
    cut_slots,
    drawn,
    none_reaches,
    number_of,
    score_name,
    shown_detections,
)
from cuts3d_cli.report.overlay import captioned, colourise, heat_over, overlay, resized
from cuts3d_cli.report.words import OUTCOME_WORDS, outcome_texts
from cuts3d_cli.store.coco import quality_of, score_of
from cuts3d_cli.store.files import atomic_path
from cuts3d_cli.store.images import IMAGE_SUFFIXES, read_image
from cuts3d_cli.store.layout import ARRAYS, OUTCOME_NAMES, OWN_PICTURES
from cuts3d_cli.store.masks import read_masks
from cuts3d_cli.store.names import safe_part
from cuts3d_cli.store.zarr_store import Store, open_store
from cuts3d_cli.tables import text_table

CRF_REJECTED = "rejected: changed too much by the CRF"
"""Shown for an instance that the CRF rejected; see crf.min_iou."""

SEGMENTATION = "segmentation"
"""Key of the run-length mask in a row."""

_COLUMNS = ("instance", "area_%", "box_xywh_px")
_OWN_COLUMNS = {"localcut": ("source_rc", "sink_rc"), "confidence": ("score",), "crf": ("score", "quality")}


def rows(stage: str, result: ImageResult) -> list[dict[str, Any]]:
    """Rows that a stage prints for an image, with JSON-serialisable values; None where there is no value.

    One row per instance where the stage has instances, localcut's and crf's one per attempt. An instance keeps the
    number of its cut through all stages. Without instances there is one row that says why. A final mask has its
    run-length code too, as in COCO JSON.
    """
    if stage == LAST:
        made = _mask_rows(result)
    elif stage == "confidence" or _finds_instances(stage):
        made = _instance_rows(result, open_store(result.paths[stage], stage))
    else:
        made = [_map_row(_map(stage, result))]
    if not made:
        made = [_none_row(stage, _why_none(result))]
    return [{"image": str(result.path), **row} for row in made]


def score_column(stage: str, config: Config) -> str:
    """The column name of the score of a stage's instances."""
    settings = config.model_dump(include={"crf"}) if stage == LAST else {}
    return score_name(settings | {"localcut": {"local_cut": True}}) or STABILITY


def table(entries: list[dict[str, Any]], *, score: str = STABILITY) -> str:
    """Rows as aligned text below a header with the names of all rows, in order of first appearance; without masks.

    Args:
        entries: the rows.
        score: column name of the score, see :func:`score_column`.
    """
    names = [name for name in dict.fromkeys(name for entry in entries for name in entry) if name != SEGMENTATION]
    cells = [[_cell(name, entry.get(name, "")) for name in names] for entry in entries]
    return text_table([score if name == "score" else name for name in names], cells, left=None, rule=False)


def _cell(name: str, value: Any) -> str:
    """A value as a table shows it: fractions with three decimals, percent with one, px rounded."""
    if value is None:
        return "none" if name == "instance" else "-"
    if isinstance(value, float):
        return f"{value:.1f}" if name.endswith("_%") else f"{value:.3f}"
    if isinstance(value, list):
        return (" x " if name == "shape" else " ").join(f"{part:.0f}" for part in value)
    return str(value)


def picture_path(stage: str, image: Path, folder: Path | None = None) -> Path:
    """Where the picture of a stage goes: beside the image, or in ``folder``.

    It has the stem of the image, or its full name if another image in the folder has the same stem; see `safe_part`.
    """
    name = image.name if _shares_stem(image) else image.stem
    return (folder or image.parent) / f"{safe_part(name)}{OWN_PICTURES}{stage}.png"


def _shares_stem(image: Path) -> bool:
    """Whether the folder has another image that differs only in its suffix, requested or not.

    So a picture's name depends on no other argument, and a later command overwrites no other image's picture.
    """
    suffixes = {"", *IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES)} - {image.suffix}
    others = (image.with_suffix(suffix) for suffix in suffixes)
    # On a case-insensitive file system the other may be the image itself.
    return any(os.path.isfile(other) and not (image.exists() and other.samefile(image)) for other in others)


def write_picture(stage: str, result: ImageResult, target: Path) -> None:
    """Write the result of a stage for an image as a PNG of the image's size."""
    _write_png(picture(stage, result), target)


def picture(stage: str, result: ImageResult) -> np.ndarray:
    """The result of a stage for an image, (H, W, 3) uint8."""
    rgb = read_image(result.path)
    height, width = rgb.shape[:2]
    if stage == LAST:
        masks = read_masks(result.paths["crf"], own=True)
        name, values = number_of(masks.annotations, score_name(masks.provenance.config))
        return drawn(rgb, masks.annotations, values, name=name)
    if stage == "depth":
        nearness = 1 - _map(stage, result).astype(np.float32)  # near is bright, as in the report
        return colourise(resized(nearness, height, width), 0, 1)
    store = open_store(result.paths[stage], stage)
    if _finds_instances(stage):
        return overlay(rgb, enlarge_all(store.array("instance")[0], (height, width)))
    if stage == "confidence":
        best = store.array("confidence")[0].astype(np.float32).max(axis=0)
        return heat_over(rgb, resized(best, height, width, smooth=False), 0.0, 1.0)
    if stage == "features":
        return resized(_principal_colours(store.array("features")[0].astype(np.float32)), height, width, smooth=False)
    return colourise(resized(_map(stage, result).astype(np.float32), height, width))


def write_overlays(path: Path, folder: Path, *, least_score: float) -> tuple[int, int]:
    """Draw the detections of a mask file with at least this score over their images, one PNG per image.

    Where an image has detections but none reaches the score, its most confident are drawn, and the picture says so.

    Returns:
        How many pictures there are, and on how many of them no detection reaches the score.
    """
    masks = read_masks(path, own=True)
    annotations = masks.by_image()
    n_pictures, n_weak = 0, 0
    for entry in masks.images:
        if entry["file_name"] in masks.counts.failures:
            continue
        found = annotations[entry["id"]]
        image = masks.image_root / entry["file_name"]
        target = picture_path("predict", image, (folder / entry["file_name"]).parent)
        shown, caption = shown_detections(found, least_score, limit="--picture-score")
        try:
            picture = drawn(read_image(image), shown, [score_of(entry) for entry in shown])
        except ImageError as error:
            logger.warning("predict: no picture: %s", error)
            continue
        if none_reaches(found, least_score):
            n_weak += 1
            picture = captioned(picture, caption)
        _write_png(picture, target)
        n_pictures += 1
    return n_pictures, n_weak


def _write_png(picture: np.ndarray, target: Path) -> None:
    with atomic_path(target) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def _map(stage: str, result: ImageResult) -> np.ndarray:
    """The one array of a stage without instances."""
    name = {"spatial-importance": "importance"}.get(stage, stage)
    return open_store(result.paths[stage], stage).array(name)[0]


def _map_row(values: np.ndarray) -> dict[str, Any]:
    return {
        "shape": list(values.shape),
        "min": float(values.min()),
        "mean": float(values.mean(dtype=np.float64)),
        "max": float(values.max()),
    }


def _mask_rows(result: ImageResult) -> list[dict[str, Any]]:
    record, masks = result.source.records[0], read_masks(result.paths["crf"], own=True)
    found, config = masks.annotations, masks.provenance.config
    scored = score_name(config) is not None
    rows = {
        slot: _instance_row(
            slot + 1,
            entry["area"] / (record.height * record.width),
            entry["bbox"],
            score=entry["score"] if scored else None,
            quality=quality_of(entry),
            outcome=OUTCOME_WORDS["kept"],
            **{SEGMENTATION: entry["segmentation"]},
        )
        for slot, entry in zip(cut_slots(found), found, strict=True)
    }
    for slot, why in _rejected(result, config.get("crf", {})).items():
        rows.setdefault(slot, _none_row(LAST, f"cut {slot + 1} {why}" if why.startswith("rejected") else why))
    return [rows[slot] for slot in sorted(rows)]


def _rejected(result: ImageResult, crf: Mapping[str, Any]) -> dict[int, str]:
    """Why there may be no mask for each attempt: its outcome, or that the CRF rejected its instance."""
    if (cuts := _cuts(result)) is None:
        return {}
    limit = f" (crf.min_iou {crf['min_iou']:g})" if "min_iou" in crf else ""
    outcomes, texts, found = _outcomes(cuts), _texts(cuts), {}
    for slot, grid in enumerate(cuts.array("instance")[0]):
        if grid.any():
            found[slot] = CRF_REJECTED + limit
        elif outcomes and outcomes[slot] != "stopped":
            found[slot] = texts[slot]
    return found


def _finds_instances(stage: str) -> bool:
    return "instance" in ARRAYS.get(stage, {})


def _cuts(result: ImageResult) -> Store | None:
    """The store with the instances: localcut's, or that of another stage that finds them; None without any."""
    return next((open_store(path, stage) for stage, path in result.paths.items() if _finds_instances(stage)), None)


def _instance_rows(result: ImageResult, store: Store) -> list[dict[str, Any]]:
    record, cuts = result.source.records[0], _cuts(result)
    score = store.array("score")[0] if store.stage == "confidence" else None
    outcomes, texts, terminals = _outcomes(cuts), _texts(cuts), _terminals(cuts)
    found = []
    for slot, grid in enumerate(cuts.array("instance")[0]):
        if not grid.any():
            if score is None and outcomes and outcomes[slot] != "stopped":
                found.append(_none_row(store.stage, texts[slot]))
            continue
        scale = np.array([record.width / grid.shape[1], record.height / grid.shape[0]] * 2)
        box = (boxes_xywh_px(grid[None])[0] * scale).tolist()
        if score is not None:
            extra: dict[str, Any] = {"score": round(float(score[slot]), 6)}  # as in the COCO JSON
        else:
            extra = _terminal_cells(terminals[slot], grid.shape) if terminals is not None else {}
            extra |= {"outcome": texts[slot]} if outcomes else {}
        found.append(_instance_row(slot + 1, float(grid.mean()), box, **extra))
    return found


def _instance_row(number: int, fraction: float, box: list[float], **extra: Any) -> dict[str, Any]:
    return {**dict(zip(_COLUMNS, (number, 100 * fraction, box), strict=True)), **extra}


def _none_row(stage: str, why: str) -> dict[str, Any]:
    return {**dict.fromkeys((*_COLUMNS, *_OWN_COLUMNS.get(stage, ()))), "outcome": why}


def _why_none(result: ImageResult) -> str:
    """Why there is no instance: the outcomes of the attempts."""
    cuts = _cuts(result)
    found = dict.fromkeys(_texts(cuts))
    return "; ".join(text for text in found if text != OUTCOME_WORDS["stopped"]) or OUTCOME_WORDS["stopped"]


def _outcomes(cuts: Store) -> list[str]:
    """What came of each attempt; empty where the stage does not say."""
    return [OUTCOME_NAMES[code] for code in cuts.array("outcome")[0]] if "outcome" in ARRAYS[cuts.stage] else []


def _texts(cuts: Store) -> list[str]:
    """The same in words."""
    return outcome_texts(cuts) if "outcome" in ARRAYS[cuts.stage] else []


def _terminals(cuts: Store) -> np.ndarray | None:
    return cuts.array("terminals")[0] if "terminals" in ARRAYS[cuts.stage] else None


def _terminal_cells(terminals: np.ndarray, grid_hw: tuple[int, int]) -> dict[str, list[int] | None]:
    """Row and column of source and sink patch; None without a cut in 3D."""
    named = zip(("source_rc", "sink_rc"), terminals.tolist(), strict=True)
    return {name: list(divmod(flat, grid_hw[1])) if flat >= 0 else None for name, flat in named}


def _principal_colours(features: np.ndarray) -> np.ndarray:
    """The first three principal components of features (C, h, w) as colours (h, w, 3) uint8."""
    channels, h, w = features.shape
    flat = features.reshape(channels, -1).T
    flat = flat - flat.mean(axis=0)
    _, _, directions = np.linalg.svd(flat, full_matrices=False)
    main = flat @ directions[:3].T
    low, high = np.percentile(main, [1, 99], axis=0)
    scaled = np.clip((main - low) / np.maximum(high - low, 1e-9), 0, 1)
    return np.rint(255 * np.pad(scaled, ((0, 0), (0, 3 - scaled.shape[1])))).astype(np.uint8).reshape(h, w, 3)
