"""COCO JSON: COCO, COCO20K, UVO, Objects365, the class-agnostic files of CutLER, and anything of that form.

``iscrowd`` 1 stays: a detection that lies mostly inside such a region counts neither way. ``ignore`` 1 (not COCO's own
key, written by converters) stays too. Pseudo-masks published with CutLER have width and height exchanged in their image
records while masks and annotation records are right: such records are turned round.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cuts3d_cli.evaluation.coco_files import CocoError, Record, read_json
from cuts3d_cli.evaluation.readers.common import GroundTruth
from cuts3d_cli.store.coco import turned_images


def read(path: Path) -> GroundTruth:
    """Read a COCO JSON.

    Raises:
        CocoError: it is missing, is not JSON or has no images and annotations.
    """
    return convert(read_checked(path))


def convert(truth: Record) -> GroundTruth:
    """Ground truth of a COCO document."""
    images, n_turned = turned_images(truth["images"], truth["annotations"])
    notes = []
    if n_turned:
        notes.append(f"{n_turned} image records have width and height exchanged; the annotations' sizes were taken")
    return GroundTruth({**truth, "images": images}, "coco", notes)


def read_checked(path: Path) -> Record:
    """Content of a COCO-like JSON with its two lists.

    Raises:
        CocoError: it is missing, is not JSON or lacks a list of records.
    """
    return checked(read_json(path), path)


def checked(truth: Any, path: Path) -> Record:
    """A JSON's content, if it is COCO-like.

    Raises:
        CocoError: it lacks a list of records.
    """
    for key in ("images", "annotations"):
        records = truth.get(key) if isinstance(truth, dict) else None
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            found = "a list" if isinstance(truth, list) else f"no list of {key}"
            raise CocoError(f"file {path}", expected="COCO JSON with images and annotations", found=found)
    return truth
