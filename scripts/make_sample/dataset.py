"""Writes images, depth and COCO annotations of one split, and checks what was rendered."""

import importlib.metadata
import json
import os
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle

from . import render, scene

FORMAT_VERSION = 1
SPLIT_NUMBER = {"train": 0, "val": 1}
DEPTH_STEP_MM = 1
JPEG_QUALITY = 92
MIN_AREA = 0.009
"""Least visible area of an accepted object, as a fraction of the image."""
MIN_GAP_M = 0.10
"""Least depth step (median along the contact) between same-class objects that touch in the image."""
MIN_CONTACT_PX = 25


class NoScene(RuntimeError):
    """No acceptable scene was found within the attempts."""


def make_scene(folder, split, number, seed, spp):
    """Draws scenes until the rendered maps pass the checks, renders the colour and writes both files.

    Returns (image record, annotation records); every scene depends on ``seed``, split and ``number`` only.
    """
    for attempt in range(30):
        rng = np.random.default_rng([seed, SPLIT_NUMBER[split], number, attempt])
        try:
            drawn = scene.draw_scene(rng, split)
        except scene.NoLayout:
            continue
        depth_m, index = render.render_maps(drawn)
        gaps = contact_gaps_m(drawn.objects, depth_m, index)
        areas = [(index == i).mean() for i in range(len(drawn.objects))]
        if (
            min(areas) >= MIN_AREA
            and all(gap >= MIN_GAP_M for gap in gaps)
            and depth_m.min() > 0.3
            and depth_m.max() < 2.5
        ):
            break
    else:
        raise NoScene(f"scene {number} of {split}: no acceptable scene in 30 attempts")
    stem = f"scene_{number:04d}"
    write_depth(folder / "depth" / f"{stem}.png", depth_m)
    colour = render.render_colour(drawn, spp, seed=int(rng.integers(2**31)))
    write_atomically(
        folder / "images" / f"{stem}.jpg",
        cv2.imencode(".jpg", colour[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1],
    )
    image = {
        "id": number,
        "file_name": f"{stem}.jpg",
        "width": scene.IMAGE_PX,
        "height": scene.IMAGE_PX,
        "depth_file_name": f"{stem}.png",
        **drawn.description,
        "same_class_contact_gaps_m": [round(float(g), 3) for g in gaps],
        "seed": [seed, SPLIT_NUMBER[split], number, attempt],
        "spp": spp,
    }
    annotations = [annotation(number, i, index == i, drawn.objects[i]) for i in range(len(drawn.objects))]
    return image, annotations


def contact_gaps_m(objects, depth_m, index):
    """Median depth step in metres across the contact of each same-class pair; 0 where a pair does not touch."""
    gaps = []
    for i, j in scene.same_group_pairs(objects):
        near_j, near_i = scene.contact_px(index == i, index == j), scene.contact_px(index == j, index == i)
        touching = min(near_j.sum(), near_i.sum()) >= MIN_CONTACT_PX
        gaps.append(float(np.median(depth_m[near_j]) - np.median(depth_m[near_i])) if touching else 0.0)
    return gaps


def annotation(image_id, position, mask, placed):
    """COCO record of one visible mask; the same-class objects of an image share ``group``."""
    encoded = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {
        "id": image_id * 100 + position,
        "image_id": image_id,
        "category_id": 1,
        "segmentation": {"size": encoded["size"], "counts": encoded["counts"].decode("utf-8")},
        "bbox": [float(x) for x in rle.toBbox(encoded)],
        "area": int(rle.area(encoded)),
        "iscrowd": 0,
        "group": placed.group,
        "mesh": placed.mesh.name,
    }


def write_depth(path, depth_m):
    """16-bit PNG in millimetres, rounded to DEPTH_STEP_MM."""
    depth_mm = (np.round(depth_m * 1000 / DEPTH_STEP_MM) * DEPTH_STEP_MM).astype(np.uint16)
    candidates = [
        cv2.imencode(".png", depth_mm, [cv2.IMWRITE_PNG_COMPRESSION, 9, cv2.IMWRITE_PNG_STRATEGY, strategy])[1]
        for strategy in (cv2.IMWRITE_PNG_STRATEGY_DEFAULT, cv2.IMWRITE_PNG_STRATEGY_FILTERED)
    ]
    write_atomically(path, min(candidates, key=len))


def write_atomically(path, content):
    """Writes bytes or an encoded buffer, so that a reader sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(bytes(content))
    os.replace(part, path)


def load_records(folder):
    """{image id: (image, annotations)} of the scenes whose files are all there."""
    path = Path(folder) / "annotations.json"
    if not path.exists():
        return {}
    content = json.loads(path.read_text())
    by_image = {}
    for record in content["annotations"]:
        by_image.setdefault(record["image_id"], []).append(record)
    there = {}
    for image in content["images"]:
        files = folder / "images" / image["file_name"], folder / "depth" / image["depth_file_name"]
        if all(f.exists() for f in files):
            there[image["id"]] = (image, by_image[image["id"]])
    return there


def save_records(folder, split, seed, records):
    """Writes annotations.json with one record a line."""
    images = [records[k][0] for k in sorted(records)]
    annotations = [a for k in sorted(records) for a in records[k][1]]
    content = {
        "info": _info(split, seed),
        "licenses": [{"id": 1, "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}],
        "categories": [{"id": 1, "name": "object", "supercategory": "object"}],
        "images": images,
        "annotations": annotations,
    }
    blocks = []
    for key, value in content.items():
        if isinstance(value, list):
            text = "[\n" + ",\n".join(json.dumps(v) for v in value) + "\n]"
        else:
            text = json.dumps(value, indent=1)
        blocks.append(f"{json.dumps(key)}: {text}")
    write_atomically(folder / "annotations.json", ("{\n" + ",\n".join(blocks) + "\n}\n").encode())


def _info(split, seed):
    versions = {
        name: importlib.metadata.version(name)
        for name in ("mitsuba", "pybullet", "numpy", "opencv-python", "pycocotools")
    }
    return {
        "description": f"cuts3d sample, {split}: rendered table tops with visible instance masks and metric depth",
        "version": str(FORMAT_VERSION),
        "script": "python -m scripts.make_sample",
        "seed": seed,
        "versions": versions,
        "license": "Apache-2.0 (renderings); block meshes: pybullet_data/random_urdfs, zlib licence",
        "depth": f"16-bit PNG, mm along the optical axis (z-depth), steps of {DEPTH_STEP_MM} mm, 0 = no reading",
    }
