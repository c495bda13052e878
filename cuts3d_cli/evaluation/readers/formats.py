"""Which reader reads a path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cuts3d_cli.evaluation.coco_files import CocoError
from cuts3d_cli.evaluation.readers import coco, imagenet, kitti, lvis, openimages, voc
from cuts3d_cli.evaluation.readers.common import GroundTruth
from cuts3d_cli.evaluation.readers.voc_xml import read_xml

FORMATS = ("coco", "lvis", "voc", "imagenet", "kitti", "openimages")


def read_truth(
    path: str | Path, *, format_name: str = "auto", splits: Sequence[str] = (), images: str | Path | None = None
) -> GroundTruth:
    """Read ground truth of any known format.

    Args:
        path: JSON (coco, lvis), a folder of XML (voc, imagenet) or text files (kitti), or CSV (openimages).
        format_name: one of :data:`FORMATS`, or ``auto`` to look at the path.
        splits: lists of a VOC folder whose images count; none: all.
        images: folder of the images, for formats without image sizes (kitti, openimages).

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
    if format_name == "auto":
        truth = coco.read_checked(path)
        return lvis.convert(truth, path) if lvis.is_lvis(truth) else coco.convert(truth)
    if format_name in ("coco", "lvis"):
        return (coco if format_name == "coco" else lvis).read(path)
    if not path.exists():
        raise CocoError(f"ground truth {path}", expected="a file or folder", found="none")
    if format_name == "voc":
        return voc.read(path, splits=splits)
    if format_name == "imagenet":
        return imagenet.read(path)
    return (kitti if format_name == "kitti" else openimages).read(path, images=images)


def _folder_format(path: Path) -> str:
    """Format of a folder, from what it holds first."""
    if (path / "label_2").is_dir():
        return "kitti"
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    first = next(folder.rglob("*.xml"), None)
    if first is not None:
        return "imagenet" if "ILSVRC" in read_xml(first).database or "CLS-LOC" in folder.parts else "voc"
    if next(folder.glob("*.txt"), None) is not None:
        return "kitti"
    raise CocoError(
        f"ground truth {path}", expected="VOC or ImageNet XML, KITTI text files, or a COCO JSON", found="none of them"
    )
