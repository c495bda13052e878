"""COCO JSON with run-length masks: holes, parts and overlaps are kept, and cuts3d reads it again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cuts3d_cli.store.coco import CATEGORIES, run_lengths, without_id
from cuts3d_cli.store.masks import KINDS, MaskFile, write_masks

FILE = "masks.json"
"""The one file of the export."""


def write(masks: MaskFile, folder: Path) -> dict[str, int]:
    """Write ``masks.json``."""
    if masks.kind in KINDS:
        write_masks(folder / FILE, masks)
    else:
        write_document(masks, folder / FILE, _as_run_lengths)
    return {}


def write_document(
    masks: MaskFile,
    path: Path,
    segmentation: Callable[[Mapping[str, Any], Mapping[str, Any]], Any],
    *,
    drop: Iterable[str] = (),
) -> None:
    """Write COCO JSON annotation by annotation.

    Args:
        masks: the masks.
        path: the file.
        segmentation: gives the segmentation written from an annotation and its image.
        drop: keys of annotations to leave out.
    """
    by_id = {image["id"]: image for image in masks.images}
    info = {"description": masks.description, "kind": masks.kind, "image_root": masks.image_root.as_posix()}
    if masks.kind in KINDS:
        info["made_by"] = asdict(masks.provenance)
    head = {"info": info, "categories": list(masks.categories or CATEGORIES), "images": list(masks.images)}
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head)[:-1] + ', "annotations": [')
        for number, entry in enumerate(masks.annotations, start=1):
            kept = {key: value for key, value in without_id(entry).items() if key not in drop}
            made = {"id": number, **kept, "segmentation": segmentation(entry, by_id[entry["image_id"]])}
            file.write(("" if number == 1 else ",") + "\n" + json.dumps(made))
        file.write("\n]}\n")


def _as_run_lengths(entry: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    runs = run_lengths(entry["segmentation"], (image["height"], image["width"]))
    counts = runs["counts"]
    return {"size": list(runs["size"]), "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}
