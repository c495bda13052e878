"""Boxes of ImageNet's localisation set, to score pseudo-masks on ImageNet itself (Table 14).

The XML is that of VOC without ``difficult`` objects. It does not say where pixels are counted from, and both 0 and the
image's width occur, so corners are taken as edges: a box reaches from ``xmin`` to ``xmax``, cut to the image. Only the
image's class is annotated, so detections of other objects count as false: recall says more than precision here.
"""

from __future__ import annotations

from pathlib import Path

from cuts3d_cli.errors import CocoError
from cuts3d_cli.evaluation.readers.common import BoxedImage, GroundTruth, Object, ground_truth
from cuts3d_cli.evaluation.readers.voc_xml import read_xml


def read(path: Path) -> GroundTruth:
    """Read the XML files below a folder (``Annotations/CLS-LOC/val``, or ``train`` with a folder per class).

    Image names are the files' paths relative to it with the suffix ``.JPEG``, as below ``Data/CLS-LOC/val``.

    Raises:
        CocoError: no files, or a malformed one.
    """
    files = sorted(path.rglob("*.xml"))
    if not files:
        raise CocoError(f"folder {path}", expected="XML files of ImageNet's localisation set", found="none")
    return ground_truth((_image(file, path) for file in files), "imagenet")


def _image(file: Path, folder: Path) -> BoxedImage:
    found = read_xml(file)
    objects = []
    for item in found.objects:
        left, top, right, bottom = item.corners
        objects.append(Object(item.name, (left, top, right - left, bottom - top)))
    return BoxedImage(file.relative_to(folder).with_suffix(".JPEG").as_posix(), found.size_hw, objects)
