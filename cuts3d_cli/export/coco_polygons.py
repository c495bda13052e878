"""COCO JSON with polygons along the edges of pixels, as pycocotools rasterises them.

A part is a polygon of its own; a hole is joined to its part by a cut of no width. Crowd regions stay run-length masks,
as in COCO itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cuts3d_cli.export.coco import FILE, write_document
from cuts3d_cli.export.polygons import edge_parts, joined
from cuts3d_cli.store.coco import encode_mask, mask_of
from cuts3d_cli.store.masks import MaskFile


def write(masks: MaskFile, folder: Path) -> dict[str, int]:
    """Write ``masks.json``; confidence maps, which only cuts3d reads, are left out."""

    def polygons(entry: Mapping[str, Any], image: Mapping[str, Any]) -> Any:
        mask = mask_of(entry, image)
        if entry.get("iscrowd"):
            return encode_mask(mask)
        return [joined(part).ravel().tolist() for part in edge_parts(mask)]

    write_document(masks, folder / FILE, polygons, drop=("confidence",))
    return {}
