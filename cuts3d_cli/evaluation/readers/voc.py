"""Pascal VOC folders (VOC2007, and Clipart, Watercolor and Comic, which follow its form).

Corners are pixels counted from 1 with the last one inside: a box reaches from ``xmin - 1`` to ``xmax``. ``difficult``
objects are flagged ``ignore``, as VOC's own evaluation neither asks for them nor counts their detections as false;
``truncated`` and ``occluded`` objects are objects like others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cuts3d_cli.errors import CocoError
from cuts3d_cli.evaluation.readers.common import BoxedImage, GroundTruth, Object, ground_truth
from cuts3d_cli.evaluation.readers.voc_xml import read_xml


def read(path: Path, *, splits: Sequence[str] = ()) -> GroundTruth:
    """Read a VOC folder, the one that holds ``Annotations``, or ``Annotations`` itself.

    Args:
        path: the folder.
        splits: lists of ``ImageSets/Main`` whose images count, such as ``trainval`` and ``test``; none: all files.

    Raises:
        CocoError: no annotations, a missing list, or a malformed file.
    """
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    stems = _listed(folder.parent, splits) if splits else sorted(file.stem for file in folder.glob("*.xml"))
    if not stems:
        raise CocoError(f"folder {path}", expected="VOC XML files, or a folder Annotations of them", found="none")
    return ground_truth((_image(folder / f"{stem}.xml") for stem in stems), "voc")


def _image(path: Path) -> BoxedImage:
    found = read_xml(path)
    objects = []
    for item in found.objects:
        left, top, right, bottom = item.corners
        box_xywh = (left - 1, top - 1, right - left + 1, bottom - top + 1)
        objects.append(Object(item.name, box_xywh, ignore=item.difficult))
    named = Path(found.file_name).stem == path.stem and Path(found.file_name).suffix
    return BoxedImage(Path(found.file_name).name if named else f"{path.stem}.jpg", found.size_hw, objects)


def _listed(folder: Path, splits: Sequence[str]) -> list[str]:
    """Ids of the splits' lists, each once, in order; a line may hold a label after the id."""
    stems: dict[str, None] = {}
    for split in splits:
        path = folder / "ImageSets" / "Main" / f"{split}.txt"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise CocoError(f"file {path}", expected="a list of image ids", found="no such file") from None
        stems |= dict.fromkeys(line.split()[0] for line in lines if line.strip())
    return list(stems)
