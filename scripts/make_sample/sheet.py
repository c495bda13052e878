"""Contact sheets for looking at a split: colour, instance overlay and depth of every scene."""

import cv2
import numpy as np
from pycocotools import mask as rle


def write_sheet(path, folder, records, columns=4, tile_px=240):
    """Writes a PNG with one (colour | instances | depth) triple for each (image, annotations) of ``records``."""
    tiles = [_tile(folder, *record, tile_px) for record in records]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    cv2.imwrite(str(path), np.vstack(rows))


def _tile(folder, image, annotations, tile_px):
    colour = cv2.imread(str(folder / "images" / image["file_name"]))
    depth = cv2.imread(str(folder / "depth" / image["depth_file_name"]), cv2.IMREAD_UNCHANGED).astype(np.float32)
    overlay = colour.copy()
    for k, record in enumerate(annotations):
        tint = cv2.cvtColor(np.uint8([[[k * 180 // len(annotations), 230, 255]]]), cv2.COLOR_HSV2BGR)[0, 0]
        mask = rle.decode(record["segmentation"]).astype(bool)
        overlay[mask] = 0.35 * overlay[mask] + 0.65 * tint
    grey = cv2.normalize(depth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    parts = [
        cv2.resize(p, (tile_px, tile_px), interpolation=cv2.INTER_AREA)
        for p in (colour, overlay, cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
    ]
    cv2.putText(parts[0], str(image["id"]), (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 255), 2)
    return np.hstack(parts)
