"""One annotation file in Pascal VOC's XML, as VOC and ImageNet's localisation set write it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from cuts3d_cli.errors import CocoError
from cuts3d_cli.evaluation.readers.common import number

CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class XmlObject:
    """An object as written: its name, the corners' values (left, top, right, bottom), the flag ``difficult``."""

    name: str
    corners: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True)
class XmlImage:
    """An annotation file's content; ``file_name`` and ``database`` are empty where it has none."""

    file_name: str
    database: str
    size_hw: tuple[int, int]
    objects: list[XmlObject]


def read_xml(path: Path) -> XmlImage:
    """Read one file.

    Raises:
        CocoError: it is missing, is not XML, or a size, name or corner is missing or no number.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise CocoError(f"file {path}", expected="VOC XML", found="no such file") from None
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # an unknown encoding too
        raise CocoError(f"file {path}", expected="VOC XML", found=f"something else ({error})") from None
    if root.tag != "annotation":
        raise CocoError(f"file {path}", expected="VOC XML with the root <annotation>", found=f"<{root.tag}>")
    height, width = (_value(root, f"size/{key}", path) for key in ("height", "width"))
    if min(height, width) < 1:
        raise CocoError(f"file {path}: size", expected="at least 1 x 1 px", found=f"{height:g} x {width:g}")
    objects = [_object(element, path) for element in root.findall("object")]
    return XmlImage(_text(root, "filename"), _text(root, "source/database"), (int(height), int(width)), objects)


def _object(element: ElementTree.Element, path: Path) -> XmlObject:
    name = _text(element, "name")
    if not name:
        raise CocoError(f"file {path}: an object without name")
    corners = tuple(_value(element, f"bndbox/{key}", path) for key in CORNERS)
    return XmlObject(name, corners, _text(element, "difficult") == "1")


def _text(element: ElementTree.Element, key: str) -> str:
    return (element.findtext(key) or "").strip()


def _value(element: ElementTree.Element, key: str, path: Path) -> float:
    return number(element.findtext(key), f"file {path}: {key.replace('/', '.')}")
