"""COCO JSON: COCO, COCO20K, UVO, Objects365, the class-agnostic files of CutLER, and anything of that form.

``iscrowd`` 1 stays: a detection that lies mostly inside such a region counts neither way. ``ignore`` 1 (not COCO's own
key, written by converters) stays too.
"""

from __future__ import annotations

from dataclasses import replace

from cuts3d_cli.evaluation.readers.common import GroundTruth
from cuts3d_cli.store.coco_document import CocoDocument


def convert(document: CocoDocument) -> GroundTruth:
    """Ground truth of a COCO document."""
    return GroundTruth(replace(document, notes=()), "coco", list(document.notes))
