"""Pictures for people: masks over a photograph, maps in colour, and strips of labelled panels.

Arrays in, arrays out; all pictures are (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Apart from each other in hue and lightness, so that neighbours differ in print and for colour-blind readers.
PALETTE = np.array(
    [
        (230, 85, 13), (31, 119, 210), (255, 200, 0), (148, 52, 196), (0, 158, 115), (233, 30, 99),
        (86, 204, 242), (141, 90, 40), (164, 210, 40), (90, 90, 220), (255, 140, 160), (20, 30, 110),
    ],
    np.uint8,
)  # fmt: skip

LABEL_SHARE = 0.2
"""Fraction of a mask that its label may hide."""


def colours(n: int) -> np.ndarray:
    """(n, 3) uint8 distinct colours; the first twelve are chosen, more go round the hues by the golden ratio."""
    more = [
        colorsys.hsv_to_rgb((0.12 + 0.618034 * i) % 1, 0.55 + 0.35 * (i % 2), 0.95 - 0.3 * (i % 3) / 2)
        for i in range(n)
    ]
    return np.concatenate([PALETTE, np.rint(255 * np.array(more[len(PALETTE) :]).reshape(-1, 3)).astype(np.uint8)])[:n]


def overlay(
    rgb: np.ndarray,
    masks: np.ndarray,
    scores: Sequence[float] | None = None,
    *,
    alpha: float = 0.45,
    labels: bool = True,
    score_name: str = "",
) -> np.ndarray:
    """Draw instance masks over a photograph: a tint, a contour and a label each.

    Small masks are drawn over large ones, so that none is hidden.

    Args:
        rgb: (H, W, 3) uint8.
        masks: (N, H, W) bool; empty masks are skipped but keep their number and colour.
        scores: (N,) written after the number, or None.
        alpha: fraction of the mask's colour in the tint.
        labels: write the number (from 1) and score on each mask.
        score_name: written before the score.

    Returns:
        (H, W, 3) uint8; the input stays as it is.

    Raises:
        ValueError: shapes that do not fit.
    """
    masks = np.asarray(masks, bool)
    if masks.ndim != 3 or masks.shape[1:] != rgb.shape[:2]:
        raise ValueError(f"expected masks (N, {rgb.shape[0]}, {rgb.shape[1]}), found {masks.shape}")
    if scores is not None and len(scores) != len(masks):
        raise ValueError(f"expected {len(masks)} scores, found {len(scores)}")
    result = rgb.copy()
    width = max(1, round(min(rgb.shape[:2]) / 200))
    palette = colours(len(masks))
    areas = masks.sum((1, 2))
    order = [i for i in np.argsort(-areas, kind="stable") if areas[i]]
    for i in order:
        tint = (1 - alpha) * result[masks[i]] + alpha * palette[i]
        result[masks[i]] = np.rint(tint).astype(np.uint8)
    for i in order:
        _contour(result, masks[i], palette[i], width)
    if labels:
        before = f"  {score_name} ".rstrip() + " " if score_name else "  "
        texts = {i: str(i + 1) if scores is None else f"{i + 1}{before}{scores[i]:.2f}" for i in order}
        result = _labelled(result, masks, texts, palette)
    return result


def colourise(
    values: np.ndarray, low: float | None = None, high: float | None = None, scheme: str = "viridis"
) -> np.ndarray:
    """Colour a map (H, W): ``viridis`` from dark to bright, or ``diverging``, from blue over white to red.

    Limits omitted come from the finite values; for ``diverging`` they are made symmetric about 0. Values that are
    not finite are grey.
    """
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    known = values[finite] if finite.any() else np.zeros(1)
    low, high = known.min() if low is None else low, known.max() if high is None else high
    if scheme == "diverging":
        high = max(abs(low), abs(high))
        low = -high
    scaled = np.clip((np.where(finite, values, low) - low) / (high - low or 1), 0, 1)
    if scheme == "diverging":
        from matplotlib import colormaps  # OpenCV has no diverging map; the import takes too long for a command

        picture = colormaps["RdBu_r"](scaled, bytes=True)[..., :3].copy()
    else:
        picture = cv2.applyColorMap(np.rint(255 * scaled).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1].copy()
    picture[~finite] = 128
    return picture


def heat_over(rgb: np.ndarray, values: np.ndarray, low: float, high: float) -> np.ndarray:
    """A map (H, W) in colour where it is above 0, over the dimmed grey photograph elsewhere."""
    result = dimmed(rgb)
    inside = values > 0
    tint = 0.25 * rgb.astype(np.float64) + 0.75 * colourise(values, low, high)
    result[inside] = np.rint(tint).astype(np.uint8)[inside]
    return result


def hatched(picture: np.ndarray, where: np.ndarray) -> np.ndarray:
    """White diagonal lines over a part (H, W) bool of a picture."""
    y, x = np.indices(where.shape)
    result = picture.copy()
    result[where & ((x + y) % 8 < 2)] = 255
    return result


def dimmed(rgb: np.ndarray) -> np.ndarray:
    """The photograph in pale grey, as a background."""
    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    return np.repeat((0.45 * grey + 110)[..., None], 3, -1).astype(np.uint8)


def mark(picture: np.ndarray, points_xy: Sequence[tuple[float, float]], names: Sequence[str]) -> np.ndarray:
    """Mark points (x, y) in px of the picture by a ringed dot, the first red and the second blue, and a name."""
    image, font = Image.fromarray(picture), _font(max(11, min(picture.shape[:2]) // 18))
    radius = max(3, min(picture.shape[:2]) // 45)
    close = len(points_xy) == 2 and abs(points_xy[0][1] - points_xy[1][1]) < 2 * font.size
    top = min(points_xy, key=lambda point: point[1]) if close else None
    for point, name in zip(points_xy, names, strict=True):
        width = font.getlength(name) + font.size
        right = point[0] + 2 * radius + width < image.width
        left = point[0] + 2 * radius if right else point[0] - 2 * radius - width
        apart = (-font.size if point is top else font.size) if close else 0  # names of neighbours must not meet
        _chip(image, name, (left, point[1] + apart), (30, 30, 30), font)
    result = np.array(image)
    for (x, y), colour in zip(points_xy, ((225, 30, 60), (40, 90, 240)), strict=False):
        cv2.circle(result, (round(x), round(y)), radius + 2, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(result, (round(x), round(y)), radius, colour, -1, cv2.LINE_AA)
    return result


def captioned(picture: np.ndarray, text: str) -> np.ndarray:
    """A picture with a line of text below it on white, broken into as many lines as it takes."""
    height, width = picture.shape[:2]
    font = _font(max(11, min(height, width) // 30))
    first, *words = text.split()
    lines = [first]
    for word in words:
        longer = f"{lines[-1]} {word}"
        lines = [*lines[:-1], longer] if font.getlength(longer) <= width - font.size else [*lines, word]
    step = round(1.4 * font.size)
    sheet = Image.new("RGB", (width, height + step * len(lines) + step // 2), "white")
    sheet.paste(Image.fromarray(picture), (0, 0))
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((font.size / 2, height + step * (number + 0.75)), line, font=font, fill=(30, 30, 30), anchor="lm")
    return np.array(sheet)


def panels(items: Sequence[tuple[str, np.ndarray]], *, height: int = 240, gap: int = 8) -> np.ndarray:
    """A strip of pictures side by side on white, each with its label above.

    Args:
        items: label and (H, W, 3) uint8 picture; sizes may differ, all are scaled to ``height``.
        height: of the pictures in px.
        gap: space between and around them in px.

    Raises:
        ValueError: no items.
    """
    if not items:
        raise ValueError("panels needs at least one picture")
    font = _font(max(11, height // 15))
    band = round(1.7 * font.size)
    scaled = [
        resized(picture, height, max(1, round(height * picture.shape[1] / picture.shape[0]))) for _, picture in items
    ]
    total = sum(picture.shape[1] + gap for picture in scaled) + gap
    strip = Image.new("RGB", (total, height + band + gap), "white")
    draw, left = ImageDraw.Draw(strip), gap
    for (label, _), picture in zip(items, scaled, strict=True):
        draw.text((left, band / 2), _fitted(label, font, picture.shape[1]), font=font, fill=(30, 30, 30), anchor="lm")
        strip.paste(Image.fromarray(picture), (left, band))
        left += picture.shape[1] + gap
    return np.array(strip)


def resized(picture: np.ndarray, height: int, width: int, *, smooth: bool = True) -> np.ndarray:
    """A picture or map at another size: averaged when it shrinks; when it grows smooth or in blocks."""
    shrinks = picture.shape[0] >= height and picture.shape[1] >= width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    return cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=method)


def resized_masks(masks: np.ndarray, height: int, width: int) -> np.ndarray:
    """Masks (N, H, W) bool at another size, cut at half."""
    out = [resized(mask.astype(np.float32), height, width, smooth=False) >= 0.5 for mask in masks]
    return np.array(out, bool).reshape(-1, height, width)


def _contour(picture: np.ndarray, mask: np.ndarray, colour: np.ndarray, width: int) -> None:
    """A bright line in the mask's colour on a dark one, readable on any ground."""
    lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    dark, bright = (0.35 * colour).tolist(), np.minimum(255, 0.75 * colour + 64).tolist()
    cv2.drawContours(picture, lines, -1, dark, width + (2 if width > 1 else 1), cv2.LINE_AA)
    cv2.drawContours(picture, lines, -1, bright, width, cv2.LINE_AA)


def _labelled(picture: np.ndarray, masks: np.ndarray, texts: dict[int, str], palette: np.ndarray) -> np.ndarray:
    image = Image.fromarray(picture)
    font = _font(max(11, min(picture.shape[:2]) // 22))
    for i, text in texts.items():
        depth = cv2.distanceTransform(np.pad(masks[i], 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        room = LABEL_SHARE * np.count_nonzero(masks[i])
        if depth[y, x] < font.size or font.size * font.getlength(text) > room:  # the label would hide it: above it
            y = np.flatnonzero(masks[i].any(1))[0] - font.size
        _chip(image, text, (x, y), tuple((0.45 * palette[i]).astype(int)), font, centred=True)
    return np.array(image)


def _chip(
    image: Image.Image, text: str, xy: tuple, fill: tuple, font: ImageFont.FreeTypeFont, centred: bool = False
) -> None:
    """White text on a rounded plate, moved to lie inside the picture."""
    draw = ImageDraw.Draw(image, "RGBA")
    pad = max(2, round(font.size / 4))
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font, anchor="lm")
    width, height = right - left + 2 * pad, max(bottom - top, 0.72 * font.size) + 2 * pad
    x = xy[0] - width / 2 if centred else xy[0]
    x = min(max(0, x), max(0, image.width - width))
    y = min(max(0, xy[1] - height / 2), max(0, image.height - height))
    draw.rounded_rectangle((x, y, x + width - 1, y + height - 1), radius=pad, fill=(*map(int, fill), 215))
    draw.text((x + pad - left, y + height / 2), text, font=font, fill=(255, 255, 255), anchor="lm")


def _fitted(label: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    while len(label) > 1 and font.getlength(label) > width:
        label = label[:-2] + "…"
    return label


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
