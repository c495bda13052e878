"""Writing exports and saying what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.export import SPECKS, check_folder, export, least_part
from cuts3d_cli.export.coco import FILE
from cuts3d_cli.log import logger
from cuts3d_cli.store.coco import score_of
from cuts3d_cli.store.files import check_not_input
from cuts3d_cli.store.image_files import counted
from cuts3d_cli.store.layout import DEFAULT_METHOD
from cuts3d_cli.store.masks import MaskFile

FILE_SUFFIXES = frozenset({".csv", ".jpeg", ".jpg", ".json", ".npy", ".png", ".txt", ".xml", ".yaml", ".zip"})
"""Endings that nobody gives to a folder."""


def check_is_folder(out: Path, holds: str) -> None:
    """Check that ``--out`` names a folder; ``holds`` says what will lie in it.

    Raises:
        Cuts3dError: it is a file or is called like one.
    """
    if out.is_dir() or not (out.exists() or out.suffix.lower() in FILE_SUFFIXES):
        return
    folder = out.with_suffix("") if out.suffix else Path(f"{out}_out")
    raise Cuts3dError(
        f"--out {out}",
        expected=f"a folder, which will hold {holds}",
        found="a file" if out.exists() else "the name of a file",
        hint=f"--out {folder}",
    )


def mask_file(path: Path) -> Path:
    """The mask file that a command was given: the file, or that in a folder of `cuts3d masks` or an export as COCO.

    Raises:
        Cuts3dError: a folder without one.
    """
    if not path.is_dir():
        return path
    if (path / FILE).is_file():
        return path / FILE
    found = sorted(path.glob("masks/*/pseudo_masks.json"), key=lambda each: each.parent.name != DEFAULT_METHOD)
    raise Cuts3dError(
        f"masks {path}",
        expected=f"COCO JSON, or a folder of `cuts3d masks` with {FILE}",
        found=f"a folder without {FILE}",
        hint=f"did you mean {found[0]}?" if found else "name the file of the masks",
    )


def write_formats(
    masks: MaskFile,
    places: Mapping[str, Path],
    *,
    min_score: float | None = None,
    min_part: int | None = None,
    source: Path | None = None,
) -> None:
    """Write masks in several formats, by name and folder, each with a line; what was lost is a line each.

    Args:
        masks: the masks.
        places: folder by format.
        min_score: least score of the objects written, None for all.
        min_part: least area in px of the parts written; None for what fits each format (`export.least_part`).
        source: file of the masks, for messages.

    Raises:
        Cuts3dError: a folder cannot be written to; no format is written then.
    """
    for folder in places.values():
        check_is_folder(folder, "the export")
        check_not_input(folder, "folder", [source])
        check_folder(folder)
    kept = sum(min_score is None or score_of(entry) >= min_score for entry in masks.annotations)
    if not kept:
        highest = max(map(score_of, masks.annotations), default=None)
        found = "no object" if highest is None else f"{len(masks.annotations)}, highest score {highest:.2f}"
        logger.warning("%sno object is written%s; found %s", f"{source}: " if source else "",
                       "" if min_score is None else f" with --min-score {min_score:g}", found)  # fmt: skip
    for name, folder in places.items():
        least = least_part(name, masks) if min_part is None else min_part
        called = f"file {source}" if source else "masks"
        lost = export(masks, name, folder, min_score=min_score, min_part=least, source=called)
        logger.info("%s: %s of %s -> %s", name, counted(kept, "object"), counted(len(masks.images), "image"), folder)
        for what, n in lost.items():
            if what == SPECKS.format(least):
                logger.info("%s: %d %s (--min-part)", name, n, what)
            else:
                logger.warning("%s: %d %s", name, n, what)
