"""Masks in the forms that other tools read: a module and a row of `FORMATS` each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cuts3d_cli.errors import Cuts3dError

if TYPE_CHECKING:  # the commands' help reads FORMATS, so no array library is imported
    from cuts3d_cli.store.masks import MaskFile

Lost = Mapping[str, int]
"""What a format could not hold: what happened to it, in words, and to how many objects."""

Writer = Callable[["MaskFile", Path], Lost]
"""Writes masks into a folder that is there and empty, image by image, and returns what was lost."""

FORMATS: dict[str, str] = {
    "coco": "COCO JSON, run-length masks; what cuts3d reads",
    "coco-polygons": "COCO JSON, polygons along the edges of pixels",
    "yolo": "Ultralytics YOLO segmentation: a text file per image, the images, data.yaml",
    "png": "label map per image, 16 bit, 0 where no object is",
    "png-per-object": "mask per object, 8 bit, 0 and 255, in a folder per image",
    "npy": "NumPy array (objects, height, width) of bool per image",
    "labelme": "labelme JSON per image",
    "cvat": "CVAT for images 1.1, XML",
    "label-studio": "Label Studio tasks with brush masks as predictions, and the labelling configuration",
}
"""Formats by name, with what each is; module ``export/NAME.py`` (``-`` as ``_``) has its ``write``."""

SPECKS = "parts of fewer than {} pixels left out"

OUTLINES = ("coco-polygons", "yolo", "labelme", "cvat")
"""Formats of polygons, which people edit corner by corner."""

LEAST_PART = 20
"""Parts of fewer pixels are left out of `OUTLINES` by default."""


def least_part(name: str, masks: MaskFile) -> int:
    """The default of ``min_part``: `LEAST_PART` for `OUTLINES` of masks that cuts3d made, else 0."""
    from cuts3d_cli.store.masks import KINDS

    return LEAST_PART if name in OUTLINES and masks.kind in KINDS else 0


def writer(name: str) -> Writer:
    """The writer of a format."""
    return cast(Writer, import_module(f"cuts3d_cli.export.{name.replace('-', '_')}").write)


def export(
    masks: MaskFile,
    name: str,
    folder: str | Path,
    *,
    min_score: float | None = None,
    min_part: int = 0,
    source: str = "masks",
) -> Lost:
    """Write masks in a format; the folder appears whole or not at all.

    Args:
        masks: pseudo-masks, labels, predictions or ground truth.
        name: one of `FORMATS`.
        folder: new, empty, or that of an earlier export, which is replaced.
        min_score: least score of the objects written, None for all; an object without a score has 1.
        min_part: least area in px of the parts of an object that are written, whose largest part always is; 0 for all.
        source: what errors call the masks.

    Returns:
        What the format could not hold.

    Raises:
        StoreError: a record is wrong, an annotation has no mask, or is of a category that is not listed.
        Cuts3dError: the folder holds something else.
    """
    from cuts3d_cli.store.coco import CATEGORIES, score_of
    from cuts3d_cli.store.coco_document import check_categories, check_coco, check_masks
    from cuts3d_cli.store.files import atomic_path
    from cuts3d_cli.store.image_files import OUTPUT_RECORD
    from cuts3d_cli.store.parts import without_specks

    folder = Path(folder)
    check_folder(folder)
    content = {"images": masks.images, "annotations": masks.annotations, "categories": masks.categories}
    document = check_coco(content, source)  # they need not come from a file
    check_masks(document.annotations, source, hint="boxes alone cannot be exported")
    categories = document.categories or CATEGORIES
    check_categories(document.annotations, categories, source, optional=len(categories) == 1)
    masks = replace(masks, images=document.images, annotations=document.annotations)
    kept = [entry for entry in masks.annotations if min_score is None or score_of(entry) >= min_score]
    kept, dropped = without_specks(kept, masks.images, min_part)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        found = {SPECKS.format(min_part): dropped.parts, **writer(name)(replace(masks, annotations=kept), temporary)}
        lost = {what: int(n) for what, n in found.items() if n}
        record = {
            "format": name, "files": len(_files(temporary)) + 1, "images": len(masks.images), "objects": len(kept),
            "lost": lost,
        }  # fmt: skip
        (temporary / OUTPUT_RECORD).write_text(json.dumps(record, indent=2) + "\n")
    return lost


def check_folder(folder: Path) -> None:
    """Check that an export may be written to a folder.

    Raises:
        Cuts3dError: it is a file, or a folder with something else than an earlier export.
    """
    if not folder.is_dir():
        if folder.exists():
            raise Cuts3dError(f"output {folder}", expected="a folder", found="a file")
        return
    if not any(folder.iterdir()):
        return
    files, written = _files(folder), _n_written(folder)
    if written is None or len(files) > written:
        raise Cuts3dError(
            f"folder {folder}",
            expected="a new or empty folder, or an earlier export, which is replaced",
            found="other files"
            if written is None
            else f"{len(files) - written} files besides those of an earlier export",
            hint="give another folder" if written is None else "move them away, or give another folder",
        )
    if n_edited := _n_edited(folder, files):
        raise Cuts3dError(
            f"folder {folder}",
            expected="an earlier export as it was written, which is replaced",
            found=f"{n_edited} files that were changed since",
            hint="give another folder, or delete this one",
        )


def is_export(folder: Path) -> bool:
    """Whether an export lies in a folder."""
    return folder.is_dir() and _n_written(folder) is not None


def _n_edited(folder: Path, files: list[os.stat_result]) -> int:
    """How many files were changed after an export's record, the last of them, was written; links do not count."""
    from cuts3d_cli.store.image_files import OUTPUT_RECORD

    written = (folder / OUTPUT_RECORD).stat().st_mtime_ns
    return sum(stat.st_mtime_ns > written and stat.st_nlink == 1 for stat in files)


def _files(folder: Path) -> list[os.stat_result]:
    """The files in a folder; the caches that trainings of other tools leave there do not count."""
    return [path.stat() for path in folder.rglob("*") if path.is_file() and path.suffix != ".cache"]


def _n_written(folder: Path) -> int | None:
    """Files that an earlier export wrote to a folder; None where it is not one."""
    from cuts3d_cli.store.image_files import output_record

    record = output_record(folder)
    try:
        return int(record["files"]) if "format" in record else None
    except (ValueError, KeyError, TypeError):
        return None
