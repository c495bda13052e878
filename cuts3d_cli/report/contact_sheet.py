"""Pictures of final masks to judge them by: one of every image, and all together on contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cuts3d_cli.errors import printable
from cuts3d_cli.pipeline.cache import ImageResult
from cuts3d_cli.pipeline.declarations import LAST
from cuts3d_cli.report.annotations import QUALITY, drawn, number_of, numbers_text, score_name
from cuts3d_cli.report.overlay import captioned, resized
from cuts3d_cli.report.preview import rows
from cuts3d_cli.store.coco import score_of
from cuts3d_cli.store.files import atomic_path
from cuts3d_cli.store.image_files import counted
from cuts3d_cli.store.images import read_image
from cuts3d_cli.store.masks import read_masks
from cuts3d_cli.store.parts import without_specks

LEAST_SIDE, MOST_SIDE = 800, 2400
"""Longer side of a picture in px: a small image is enlarged, so that its numbers can be read."""

JPEG_QUALITY = 90
COLUMNS, ROWS = 4, 5
CELL_WH, GAP, CAPTION = (480, 360), 12, 30
"""Of a contact sheet, in px."""


@dataclass(frozen=True)
class Drawn:
    """A picture that was written, and what to say of it in a few words."""

    path: Path
    words: str


def draw(result: ImageResult, target: Path, *, min_score: float | None = None, min_part: int = 0) -> Drawn:
    """Write an image with its final masks as a JPEG, and below it the quality and score of each.

    Args:
        result: of all stages.
        target: the file.
        min_score: least score of the masks drawn, None for all.
        min_part: least area in px of the parts drawn, see `store.parts.without_specks`.
    """
    masks = read_masks(result.paths[LAST], own=True)
    found, _ = without_specks(masks.annotations, masks.images, min_part)
    shown = [entry for entry in found if min_score is None or score_of(entry) >= min_score]
    score = score_name(masks.provenance.config)
    name, values = number_of(shown, score)
    # The caption says what the usual number is.
    picture = drawn(_scaled(read_image(result.path)), shown, values, name="" if name == QUALITY else name)
    if caption := numbers_text(shown, score):
        picture = captioned(picture, caption)
    with atomic_path(target) as temporary:
        Image.fromarray(picture).save(temporary, "JPEG", quality=JPEG_QUALITY)
    if shown:
        return Drawn(target, counted(len(shown), "object"))
    return Drawn(target, f"none of {counted(len(found), 'object')} above {min_score:g}" if found else
                 f"no object ({rows(LAST, result)[0]['outcome']})")  # fmt: skip


def write_contact_sheets(pictures: Sequence[tuple[str, Path | None, str]], folder: Path) -> list[Path]:
    """Write all pictures, small, on as many sheets as it takes.

    Args:
        pictures: of each image its name, its picture or None where it failed, and what to say of it.
        folder: where ``contact_sheet.jpg`` goes, and ``contact_sheet_2.jpg`` and so on; sheets of an earlier call that
            are too many are deleted.
    """
    size = COLUMNS * ROWS
    paths = []
    for number, start in enumerate(range(0, len(pictures), size), start=1):
        path = sheet_path(folder, number)
        with atomic_path(path) as temporary:
            _sheet(pictures[start : start + size]).save(temporary, "JPEG", quality=JPEG_QUALITY)
        paths.append(path)
    left = len(paths) + 1
    while sheet_path(folder, left).is_file():
        sheet_path(folder, left).unlink()
        left += 1
    return paths


def sheet_path(folder: Path, number: int) -> Path:
    """File of a contact sheet, from 1."""
    return folder / ("contact_sheet.jpg" if number == 1 else f"contact_sheet_{number}.jpg")


def _scaled(rgb: np.ndarray) -> np.ndarray:
    longer = max(rgb.shape[:2])
    scale = min(max(longer, LEAST_SIDE), MOST_SIDE) / longer
    if scale == 1:
        return rgb
    return resized(rgb, *(max(1, round(side * scale)) for side in rgb.shape[:2]))


def _sheet(pictures: Sequence[tuple[str, Path | None, str]]) -> Image.Image:
    columns = min(COLUMNS, len(pictures))
    n_rows = -(-len(pictures) // columns)
    width, height = CELL_WH[0] + GAP, CELL_WH[1] + CAPTION + GAP
    sheet = Image.new("RGB", (columns * width + GAP, n_rows * height + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for place, (name, path, words) in enumerate(pictures):
        left, top = GAP + place % columns * width, GAP + place // columns * height
        if path is None:
            draw.rectangle((left, top, left + CELL_WH[0], top + CELL_WH[1]), fill=(225, 225, 225))
        else:
            with Image.open(path) as picture:
                picture.draft("RGB", CELL_WH)
                small = picture.convert("RGB")
                small.thumbnail(CELL_WH, Image.Resampling.LANCZOS)
            sheet.paste(small, (left + (CELL_WH[0] - small.width) // 2, top + (CELL_WH[1] - small.height) // 2))
        text = _fitted(name, words, font, CELL_WH[0])
        middle = (left + CELL_WH[0] / 2, top + CELL_WH[1] + CAPTION / 2)
        draw.text(middle, text, font=font, fill=(30, 30, 30), anchor="mm")
    return sheet


def _fitted(name: str, words: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """``name: words``, cut to a width in px: the words at their end, a name that takes over half of it at its start."""
    name = printable(name)
    while len(name) > 8 and font.getlength(name) > width / 2:
        name = "…" + name[2:]
    text = f"{name}: {words}"
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-2] + "…"
    return text
