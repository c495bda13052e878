"""LVIS JSON (v1): like COCO, without ``iscrowd``, and the file name only in ``coco_url``.

LVIS is annotated in parts: an image lists categories that were searched for in vain (``neg_category_ids``) and ones of
which not all objects were marked (``not_exhaustive_category_ids``). LVIS's own evaluation skips detections of the
latter; without classes that is unknown, so every object counts, and detections of unannotated ones are false
positives. CutLER's evaluation does the same (its file is "cocofied"), so the numbers compare.
"""

from __future__ import annotations

from dataclasses import replace

from cuts3d_cli.evaluation.readers.common import GroundTruth
from cuts3d_cli.store.coco_document import CocoDocument


def convert(document: CocoDocument) -> GroundTruth:
    """Ground truth of an LVIS document; file names are ``<split>/<name>`` (``val2017/000000000139.jpg``)."""
    annotations = [{"iscrowd": 0, **record} for record in document.annotations]
    n_partial = sum(bool(record.get("not_exhaustive_category_ids")) for record in document.images)
    notes = list(document.notes)
    if n_partial:
        notes.append(
            f"{n_partial} of {len(document.images)} images are not annotated exhaustively: detections of unmarked "
            "objects count as false"
        )
    return GroundTruth(replace(document, annotations=annotations, notes=()), "lvis", notes)


def is_lvis(document: CocoDocument) -> bool:
    """Whether a document is LVIS, by its first image."""
    first = next(iter(document.images), {})
    return "not_exhaustive_category_ids" in first
