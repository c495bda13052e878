"""Which reader reads a path."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from cuts3d_cli.errors import CocoError
from cuts3d_cli.evaluation.readers import coco, imagenet, kitti, label_maps, labelme, lvis, openimages, voc, yolo
from cuts3d_cli.evaluation.readers.common import GroundTruth
from cuts3d_cli.evaluation.readers.label_files import label_paths
from cuts3d_cli.evaluation.readers.voc_xml import read_xml
from cuts3d_cli.store.coco_document import check_coco
from cuts3d_cli.store.json_files import read_json

FORMATS = ("coco", "lvis", "voc", "imagenet", "kitti", "openimages", "png", "yolo", "labelme")


def read_truth(
    path: str | Path,
    *,
    format_name: str = "auto",
    splits: Sequence[str] = (),
    images: str | Path | None = None,
    ignore_labels: Collection[int] | None = None,
) -> GroundTruth:
    """Read ground truth of any known format.

    Args:
        path: JSON (coco, lvis), CSV (openimages), or a folder of XML (voc, imagenet), text files (kitti, yolo), label
            maps (png) or JSON (labelme).
        format_name: one of :data:`FORMATS`, or ``auto`` to look at the path.
        splits: lists of a VOC folder whose images count; none: all.
        images: folder of the images, for formats with a file per image: it gives the images' names and, where the
            files do not, their sizes.
        ignore_labels: values of label maps that are no object; None: see :mod:`.label_maps`.

    Raises:
        CocoError: nothing there, an unknown format or a malformed file, in one line.
    """
    path, images = Path(path), Path(images) if images else None
    if format_name not in ("auto", *FORMATS):
        raise CocoError("format of the ground truth", expected=f"auto or {', '.join(FORMATS)}", found=format_name)
    if format_name == "auto" and path.is_dir():
        format_name = _folder_format(path)
    elif format_name == "auto" and path.suffix.lower() == ".csv":
        format_name = "openimages"
    if format_name in ("auto", "coco", "lvis"):
        content = read_json(path)
        if format_name == "auto" and labelme.is_labelme(content):
            return labelme.read(path, images=images)
        document = check_coco(content, f"file {path}")
        is_lvis = format_name == "lvis" or (format_name == "auto" and lvis.is_lvis(document))
        return (lvis if is_lvis else coco).convert(document)
    if not path.exists():
        raise CocoError(f"ground truth {path}", expected="a file or folder", found="none")
    if format_name == "voc":
        return voc.read(path, splits=splits)
    if format_name == "imagenet":
        return imagenet.read(path)
    if format_name == "png":
        return label_maps.read(path, images=images, ignore_labels=ignore_labels)
    return _OF_IMAGES[format_name].read(path, images=images)


_OF_IMAGES = {"kitti": kitti, "openimages": openimages, "yolo": yolo, "labelme": labelme}
"""Readers that need the images, or may."""


def _folder_format(path: Path) -> str:
    """Format of a folder, from what it holds first."""
    if (path / "label_2").is_dir():
        return "kitti"
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    first = next(folder.rglob("*.xml"), None)
    if first is not None:
        return "imagenet" if "ILSVRC" in read_xml(first).database or "CLS-LOC" in folder.parts else "voc"
    if any(labelme.is_labelme(read_json(file)) for file in label_paths(path, (".json",))[:1]):
        return "labelme"
    texts = [file for file in label_paths(path, (".txt",)) if file.name.lower() not in yolo.NOT_LABELS]
    maps = label_paths(path, label_maps.SUFFIXES)
    # YOLO's tools may keep images and labels in one folder, or in folders called so.
    if maps and not ({file.stem for file in texts} & {file.stem for file in maps}):
        return "png"
    if texts:
        words = [word for file in texts if (word := _first_word(file))]
        return (
            "kitti" if 2 * sum(word[0].isalpha() for word in words) > len(words) else "yolo"
        )  # a wrong line is no other format
    raise CocoError(
        f"ground truth {path}",
        expected="VOC or ImageNet XML, KITTI or YOLO text files, labelme's JSON, label maps (PNG), or a COCO JSON",
        found="none of them",
    )


def _first_word(file: Path) -> str:
    """First word of a text file; empty where it has none."""
    with open(file, encoding="utf-8", errors="replace") as opened:
        return next(iter(opened.readline().split()), "")
