"""labelme's JSON per image.

An object without holes is a polygon for each part, the parts sharing a ``group_id``, as labelme groups the parts of an
instance. One with holes is a shape of type ``mask``, which labelme has known since 5.3. labelme draws through the
centres of pixels, so the polygons run there.
"""

from __future__ import annotations

import base64
import io
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cuts3d_cli.export.objects import Object, objects_of
from cuts3d_cli.export.polygons import pixel_parts, polygon_of
from cuts3d_cli.store.masks import MaskFile

VERSION = "5.3.0"
"""The oldest labelme that reads all of it."""

CENTRE = 0.5


def write(masks: MaskFile, folder: Path) -> Counter[str]:
    """Write ``IMAGE.json``, each with the way to its image from the folder or from another one beside it."""
    lost: Counter[str] = Counter()
    for image in objects_of(masks, lost):
        target = image.target(folder, ".json")
        document = {
            "version": VERSION,
            "flags": {},
            "shapes": [shape for each in image.objects for shape in _shapes(each)],
            "imagePath": Path(os.path.relpath(image.path, target.parent)).as_posix(),
            "imageData": None,
            "imageHeight": image.size_hw[0],
            "imageWidth": image.size_hw[1],
        }
        target.write_text(json.dumps(document) + "\n")
    return lost


def _shapes(each: Object) -> list[dict[str, Any]]:
    facts = [f"score {each.score:.3f}"] if each.scored else []
    if each.quality is not None:
        facts.append(f"quality {each.quality:.3f}")
    common = {
        "label": each.label,
        "description": ", ".join(facts),
        "flags": {},
    }
    parts = pixel_parts(each.mask)
    if any(len(part) > 1 for part in parts):
        return [{**common, "group_id": None, "shape_type": "mask", **_mask(each.mask)}]
    group = each.number if len(parts) > 1 else None
    rings = [(polygon_of(part[0]) + CENTRE).tolist() for part in parts]
    return [{**common, "group_id": group, "shape_type": "polygon", "points": ring, "mask": None} for ring in rings]


def _mask(mask: np.ndarray) -> dict[str, Any]:
    """A mask as labelme has it: its box, both corners included, and a PNG of what is in it."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom, left, right = int(ys[0]), int(ys[-1]), int(xs[0]), int(xs[-1])
    buffer = io.BytesIO()
    Image.fromarray(mask[top : bottom + 1, left : right + 1].astype(np.uint8)).save(buffer, format="PNG")
    return {
        "points": [[left, top], [right, bottom]],
        "mask": base64.b64encode(buffer.getvalue()).decode("ascii"),
    }
