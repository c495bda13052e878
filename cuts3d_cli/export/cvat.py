"""CVAT for images 1.1: one XML file for all images.

An object of one part without holes is a polygon, whose corners can be moved; any other is a mask, which CVAT's brush
edits, so nothing is lost.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.sax.saxutils import XMLGenerator

import numpy as np

from cuts3d_cli.export.objects import ESCAPED, ImageObjects, Object, class_names, objects_of, xml_text
from cuts3d_cli.export.polygons import edge_parts
from cuts3d_cli.store.masks import MaskFile


def write(masks: MaskFile, folder: Path) -> Counter[str]:
    """Write ``annotations.xml``."""
    lost: Counter[str] = Counter()
    with (folder / "annotations.xml").open("w", encoding="utf-8") as file:
        xml = XMLGenerator(file, encoding="utf-8", short_empty_elements=True)
        xml.startDocument()
        xml.startElement("annotations", {})
        _text(xml, "version", "1.1")
        _labels(xml, class_names(masks))
        for number, image in enumerate(objects_of(masks, lost)):
            lost[ESCAPED] += xml_text(image.file_name) != image.file_name
            _image(xml, number, image)
        xml.endElement("annotations")
        xml.characters("\n")
        xml.endDocument()
    return lost


def _labels(xml: XMLGenerator, names: list[str]) -> None:
    for tag in ("meta", "task", "labels"):
        xml.startElement(tag, {})
    for name in names:
        xml.startElement("label", {})
        _text(xml, "name", name)
        xml.startElement("attributes", {})
        xml.endElement("attributes")
        xml.endElement("label")
    for tag in ("labels", "task", "meta"):
        xml.endElement(tag)


def _image(xml: XMLGenerator, number: int, image: ImageObjects) -> None:
    xml.characters("\n  ")
    height, width = image.size_hw
    name = xml_text(image.file_name)
    xml.startElement("image", {"id": str(number), "name": name, "width": str(width), "height": str(height)})
    for each in image.objects:
        tag, attributes = _shape(each)
        xml.characters("\n    ")
        xml.startElement(
            tag, {"label": xml_text(each.label), "source": "auto", "occluded": "0", **attributes, "z_order": "0"}
        )
        xml.endElement(tag)
    xml.endElement("image")


def _shape(each: Object) -> tuple[str, dict[str, str]]:
    parts = edge_parts(each.mask)
    if len(parts) == len(parts[0]) == 1:
        return "polygon", {"points": ";".join(f"{x:.2f},{y:.2f}" for x, y in parts[0][0].tolist())}
    ys, xs = np.flatnonzero(each.mask.any(1)), np.flatnonzero(each.mask.any(0))
    box = each.mask[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
    return "mask", {
        "rle": ", ".join(map(str, _runs(box))),
        "left": str(xs[0]),
        "top": str(ys[0]),
        "width": str(box.shape[1]),
        "height": str(box.shape[0]),
    }


def _runs(box: np.ndarray) -> list[int]:
    """Lengths of runs row by row, of background first, which may be 0."""
    flat = box.ravel()
    ends = np.r_[np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size]
    runs = np.diff(ends, prepend=0).tolist()
    return [0, *runs] if flat[0] else runs


def _text(xml: XMLGenerator, tag: str, text: str) -> None:
    xml.startElement(tag, {})
    xml.characters(xml_text(text))
    xml.endElement(tag)
