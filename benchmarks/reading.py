"""Measures what checking a COCO JSON costs beside what pycocotools does with it.

    python benchmarks/reading.py
    python benchmarks/reading.py --annotations instances_val2017.json

Ground truth of the size of COCO val2017 is drawn (5000 images, 36 000 polygons of 25 points), or read from a file;
the predictions are its masks moved by some pixels, as run-length codes. Seconds are of the processor, on one thread.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from pycocotools import mask as mask_api

from cuts3d_cli.evaluation.coco_eval import judged
from cuts3d_cli.evaluation.matching import match
from cuts3d_cli.store.coco import run_lengths
from cuts3d_cli.store.coco_document import check_coco
from cuts3d_cli.store.json_files import read_json
from cuts3d_cli.tables import markdown_table

HEIGHT, WIDTH, POINTS = 480, 640, 25


def drawn(n_images: int, n_objects: int) -> dict[str, Any]:
    """Ground truth of star-shaped polygons, spread evenly over the images."""
    rng = np.random.default_rng(0)
    images = [{"id": n, "file_name": f"{n:012d}.jpg", "height": HEIGHT, "width": WIDTH} for n in range(1, n_images + 1)]
    angles = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    annotations = []
    for n in range(n_objects):
        radius = float(np.exp(rng.uniform(np.log(8), np.log(150)))) * rng.uniform(0.6, 1, POINTS)
        x = (rng.uniform(0, WIDTH) + radius * np.cos(angles)).clip(0, WIDTH)
        y = (rng.uniform(0, HEIGHT) + radius * np.sin(angles)).clip(0, HEIGHT)
        left, top = float(x.min()), float(y.min())
        annotations.append(
            {
                "id": n + 1,
                "image_id": 1 + n % n_images,
                "category_id": 1,
                "segmentation": [np.stack([x, y], axis=1).round(2).ravel().tolist()],
                "bbox": [left, top, float(x.max()) - left, float(y.max()) - top],
                "area": float(np.pi * (radius**2).mean()),
                "iscrowd": 0,
            }
        )
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}


def moved(truth: dict[str, Any]) -> dict[str, Any]:
    """Predictions: the masks moved by up to ten pixels, with scores."""
    rng = np.random.default_rng(1)
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    annotations = []
    for record in truth["annotations"]:
        if record.get("iscrowd"):
            continue
        code = run_lengths(record["segmentation"], sizes[record["image_id"]])
        mask = np.roll(mask_api.decode(code), rng.integers(-10, 11, 2), axis=(0, 1))
        counts = mask_api.encode(np.asfortranarray(mask))["counts"].decode()
        annotations.append(
            {
                "image_id": record["image_id"],
                "category_id": 1,
                "segmentation": {"size": list(mask.shape), "counts": counts},
                "score": round(float(rng.random()), 4),
            }
        )
    return {"images": truth["images"], "annotations": annotations}


@click.command(help=__doc__)
@click.option("--annotations", type=click.Path(exists=True, path_type=Path), help="COCO JSON to measure.")
@click.option("--images", "n_images", default=5000, show_default=True, help="Images drawn.")
@click.option("--objects", "n_objects", default=36000, show_default=True, help="Objects drawn.")
def main(annotations: Path | None, n_images: int, n_objects: int) -> None:
    truth = read_json(annotations) if annotations else drawn(n_images, n_objects)
    seconds: dict[str, float] = {}

    def timed(label: str, call: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = call()
        seconds[label] = time.process_time() - start
        return result

    with tempfile.TemporaryDirectory() as folder:
        documents = {}
        for name, document in (("ground truth", truth), ("predictions", moved(truth))):
            path = Path(folder, f"{name}.json")
            path.write_text(json.dumps(document))
            content = timed(f"{name}: parse the JSON", lambda path=path: read_json(path))
            documents[name] = timed(f"{name}: check", lambda content=content, name=name: check_coco(content, name))
    found, right = documents["predictions"], documents["ground truth"]
    matched = timed("pair, rasterise polygons", lambda: match(found, right))
    timed("pycocotools: compare boxes", lambda: judged(matched, iou_type="bbox"))
    timed("pycocotools: compare masks", lambda: judged(matched, iou_type="segm"))
    checks = sum(value for label, value in seconds.items() if label.endswith("check"))
    others = sum(seconds.values()) - checks
    print(f"{len(right.images)} images, {len(right.annotations)} objects, {len(found.annotations)} predictions\n")
    print(markdown_table(["step", "seconds"], [[label, f"{value:.2f}"] for label, value in seconds.items()]))
    print(f"\nchecks: {checks:.2f} s, {100 * checks / others:.1f} % of all else")


if __name__ == "__main__":
    main()
