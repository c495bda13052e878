"""What a stage command shows of an image: a row per instance and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cuts3d_cli.core.masks import boxes_xywh_px, enlarge
from cuts3d_cli.evaluation.overlay import colourise, heat_over, overlay, resized
from cuts3d_cli.stages.cache import ImageResult
from cuts3d_cli.stages.prepare import OWN_PICTURES
from cuts3d_cli.store.coco import decode_mask, image_root, read_masks
from cuts3d_cli.store.files import atomic_path
from cuts3d_cli.store.images import read_image
from cuts3d_cli.store.layout import OUTCOME_NAMES
from cuts3d_cli.store.zarr_store import Store, open_store

OUTCOME_WORDS = {
    "kept": "kept",
    "overlap": "rejected: overlaps the mask before",
    "small": "rejected: too small",
    "covered": "rejected: covered by earlier ones",
    "rest": "end: only the rest is left",
    "uniform": "end: all patches alike",
    "few": "end: too few patches left",
    "stopped": "not tried",
}
"""What a row says about a try."""

_LOCALCUT_COLUMNS = ("instance", "area_%", "box_xywh_px", "source_rc", "sink_rc")


def rows(stage: str, result: ImageResult) -> list[dict[str, Any]]:
    """Rows that a stage prints about an image: one per instance where it has instances, localcut's one per try."""
    base = {"image": str(result.path)}
    if stage == "crf":
        found = read_masks(result.paths["crf"])["annotations"]
        size = result.source.records[0].height * result.source.records[0].width
        made = [_instance_row(i, a["area"] / size, a["bbox"], score=a["score"]) for i, a in enumerate(found, start=1)]
        return [{**base, **row} for row in made] or [{**base, "instance": "none"}]
    store = open_store(result.paths[stage], stage)
    if stage in ("localcut", "confidence"):
        return [{**base, **row} for row in _instance_rows(result, store)] or [{**base, "instance": "none"}]
    name = {"spatial-importance": "importance"}.get(stage, stage)
    values = store.array(name)[0]
    shape = " x ".join(map(str, values.shape))
    return [
        {
            **base,
            "shape": shape,
            "min": _short(values.min()),
            "mean": _short(values.mean(dtype=np.float64)),
            "max": _short(values.max()),
        }
    ]


def table(entries: list[dict[str, Any]], *, header: bool = True) -> str:
    """Rows as aligned text, with a line of names on top if asked."""
    names = list(entries[0])
    cells = [names] if header else []
    cells += [[str(entry.get(name, "")) for name in names] for entry in entries]
    widths = [max(len(line[i]) for line in [names, *cells]) for i in range(len(names))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def picture_path(stage: str, image: Path, folder: Path | None) -> Path:
    """Where the picture of a stage goes: beside the image, or in ``folder``."""
    return (folder or image.parent) / f"{image.stem}{OWN_PICTURES}{stage}.png"


def write_picture(stage: str, result: ImageResult, target: Path) -> None:
    """Write what a stage found in an image as a PNG of the image's size."""
    _write_png(picture(stage, result), target)


def picture(stage: str, result: ImageResult) -> np.ndarray:
    """What a stage found in an image, (H, W, 3) uint8."""
    rgb = read_image(result.path)
    height, width = rgb.shape[:2]
    if stage == "crf":
        found = read_masks(result.paths["crf"])["annotations"]
        found_masks = np.array([decode_mask(a["segmentation"]) for a in found], bool).reshape(-1, height, width)
        return overlay(rgb, found_masks, [a["score"] for a in found])
    store = open_store(result.paths[stage], stage)
    if stage == "localcut":
        return overlay(rgb, _image_sized(store.array("instance")[0], (height, width)))
    if stage == "confidence":
        best = store.array("confidence")[0].astype(np.float32).max(axis=0)
        return heat_over(rgb, resized(best, height, width, smooth=False), 0.0, 1.0)
    if stage == "features":
        return resized(_principal_colours(store.array("features")[0].astype(np.float32)), height, width, smooth=False)
    name = {"spatial-importance": "importance"}.get(stage, stage)
    return colourise(resized(store.array(name)[0].astype(np.float32), height, width))


def write_overlays(path: Path, folder: Path, *, least_score: float) -> None:
    """Draw the masks of a COCO JSON with at least this score over their images, a PNG each."""
    document = read_masks(path)
    root = image_root(document, path)
    for entry in document["images"]:
        if entry["file_name"] in document["info"].get("failures", {}):
            continue
        found = [a for a in document["annotations"] if a["image_id"] == entry["id"] and a["score"] >= least_score]
        shape = (-1, entry["height"], entry["width"])
        found_masks = np.array([decode_mask(a["segmentation"]) for a in found], bool).reshape(shape)
        target = picture_path("predict", folder / entry["file_name"], None)
        _write_png(overlay(read_image(root / entry["file_name"]), found_masks, [a["score"] for a in found]), target)


def _write_png(picture: np.ndarray, target: Path) -> None:
    with atomic_path(target) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def _instance_rows(result: ImageResult, store: Store) -> list[dict[str, Any]]:
    record = result.source.records[0]
    localcut = open_store(result.paths["localcut"], "localcut")
    instance, terminals = localcut.array("instance")[0], localcut.array("terminals")[0]
    score = store.array("score")[0] if store.stage == "confidence" else None
    outcomes = [OUTCOME_NAMES[code] for code in localcut.array("outcome")[0]]
    found = []
    for slot, grid in enumerate(instance):
        outcome = {"outcome": OUTCOME_WORDS[outcomes[slot]]} if score is None else {}
        if not grid.any():
            if outcome and outcomes[slot] != "stopped":
                found.append({**dict.fromkeys(_LOCALCUT_COLUMNS, "-"), "instance": "none", **outcome})
            continue
        scale = np.array([record.width / grid.shape[1], record.height / grid.shape[0]] * 2)
        box = boxes_xywh_px(grid[None])[0] * scale
        extra = {"score": f"{score[slot]:.3f}"} if score is not None else _terminal_cells(terminals[slot], grid.shape)
        found.append(_instance_row(slot + 1, grid.mean(), box, **extra, **outcome))
    return found


def _instance_row(number: int, share: float, box: Any, **extra: Any) -> dict[str, Any]:
    return {
        "instance": number,
        "area_%": f"{100 * share:.1f}",
        "box_xywh_px": " ".join(f"{value:.0f}" for value in box),
        **extra,
    }


def _terminal_cells(terminals: np.ndarray, grid_hw: tuple[int, int]) -> dict[str, str]:
    """Row and column of source and sink patch; without a 3D cut there is none."""
    named = zip(("source_rc", "sink_rc"), terminals.tolist(), strict=True)
    return {name: "{} {}".format(*divmod(flat, grid_hw[1])) if flat >= 0 else "-" for name, flat in named}


def _image_sized(grid_masks: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    return np.array([enlarge(mask, size_hw) for mask in grid_masks], bool).reshape(-1, *size_hw)


def _principal_colours(features: np.ndarray) -> np.ndarray:
    """The three main directions of features (C, h, w) as colours (h, w, 3) uint8."""
    channels, h, w = features.shape
    flat = features.reshape(channels, -1).T
    flat = flat - flat.mean(axis=0)
    _, _, directions = np.linalg.svd(flat, full_matrices=False)
    main = flat @ directions[:3].T
    low, high = np.percentile(main, [1, 99], axis=0)
    scaled = np.clip((main - low) / np.maximum(high - low, 1e-9), 0, 1)
    return np.rint(255 * np.pad(scaled, ((0, 0), (0, 3 - scaled.shape[1])))).astype(np.uint8).reshape(h, w, 3)


def _short(value: Any) -> str:
    return f"{float(value):.4g}"
