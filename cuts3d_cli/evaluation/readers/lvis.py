"""LVIS JSON (v1): like COCO, without ``iscrowd``, and the file name only in ``coco_url``.

LVIS is annotated in parts: an image lists categories that were searched for in vain (``neg_category_ids``) and ones of
which not all objects were marked (``not_exhaustive_category_ids``). LVIS's own evaluation skips detections of the
latter; without classes that is unknown, so every object counts, and detections of unannotated ones are false
positives. CutLER's evaluation does the same (its file is "cocofied"), so the numbers compare.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from cuts3d_cli.evaluation.coco_files import CocoError, Record
from cuts3d_cli.evaluation.readers.coco import read_checked
from cuts3d_cli.evaluation.readers.common import GroundTruth


def read(path: Path) -> GroundTruth:
    """Read an LVIS JSON.

    Raises:
        CocoError: it is missing, is not JSON, or an image has neither ``file_name`` nor ``coco_url``.
    """
    return convert(read_checked(path), path)


def convert(truth: Record, path: Path) -> GroundTruth:
    """Ground truth of LVIS's document; file names become ``<split>/<name>`` (``val2017/000000000139.jpg``).

    Raises:
        CocoError: an image has neither ``file_name`` nor ``coco_url``.
    """
    images = [{**record, "file_name": _file_name(record, path)} for record in truth["images"]]
    annotations = [{"iscrowd": 0, **record} for record in truth["annotations"]]
    n_partial = sum(bool(record.get("not_exhaustive_category_ids")) for record in images)
    notes = []
    if n_partial:
        notes.append(
            f"{n_partial} of {len(images)} images are not annotated exhaustively: detections of unmarked objects count"
            " as false"
        )
    return GroundTruth({**truth, "images": images, "annotations": annotations}, "lvis", notes)


def is_lvis(truth: Record) -> bool:
    """Whether a COCO-like document is LVIS, by its first image."""
    first = next(iter(truth["images"]), {})
    return "not_exhaustive_category_ids" in first or ("coco_url" in first and "file_name" not in first)


def _file_name(record: Record, path: Path) -> str:
    name = record.get("file_name") or "/".join(PurePosixPath(record.get("coco_url") or "").parts[-2:])
    if not name:
        raise CocoError(f"file {path}: image {record.get('id')}", expected="coco_url or file_name", found="neither")
    return name
