"""Are detected objects as large as the true ones? Width and height of detections over those of what they found.

    python benchmarks/sizes.py runs/sample/experiments/detector/confidence sample/val/annotations.json

Takes a folder with `seed*/round*/predictions_val.json` and the ground truth. An object counts where a detection with
a score above 0.5 overlaps its mask with an IoU of at least 0.5; the best one is measured, by the box of its mask and by
the box that was detected. Medians over objects, then means over seeds.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import click
import numpy as np
from pycocotools import mask as rle

from cuts3d_cli.evaluation.matching import match
from cuts3d_cli.store.json_files import read_json
from cuts3d_cli.tables import markdown_table

LEAST_SCORE, LEAST_IOU = 0.5, 0.5


def ratios(predictions: Path, truth: Path) -> np.ndarray:
    """(n, 4): width and height of the mask's box and of the detected box, over those of each object found."""
    matched = match(read_json(predictions), read_json(truth))
    found = []
    for image in matched.images:
        objects = [a for a in matched.truth if a["image_id"] == image["id"] and not a["iscrowd"]]
        guesses = [a for a in matched.predictions if a["image_id"] == image["id"] and a["score"] > LEAST_SCORE]
        if not objects or not guesses:
            continue
        overlap = rle.iou(*([a["segmentation"] for a in side] for side in (guesses, objects)), [0] * len(objects))
        for column, entry in zip(overlap.T, objects, strict=True):
            best = guesses[int(column.argmax())]
            if column.max() >= LEAST_IOU:
                size = rle.toBbox(entry["segmentation"])[2:]
                found.append([*(rle.toBbox(best["segmentation"])[2:] / size), *(np.array(best["bbox"][2:]) / size)])
    return np.array(found).reshape(-1, 4)


@click.command(help=__doc__)
@click.argument("detectors", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("truth", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def main(detectors: Path, truth: Path) -> None:
    medians = defaultdict(list)
    for path in sorted(detectors.glob("seed*/round*/predictions_val.json")):
        measured = ratios(path, truth)
        if len(measured):
            medians[path.parent.name].append(np.median(measured, axis=0))
    header = ["detector", "seeds", "mask width", "mask height", "box width", "box height"]
    rows = [[name, len(of), *(f"{v:.2f}" for v in np.mean(of, axis=0))] for name, of in sorted(medians.items())]
    click.echo(markdown_table(header, rows))


if __name__ == "__main__":
    main()
