"""The one way every raw depth map becomes [0, 1] with 0 nearest (Sec. 3.1), holes filled.

Any unit will do, since each map is normalised by its own minimum and maximum. What is odd about a map, but no
error, is noted with it: a command says it once for all images (`pipeline.depth_notes`).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from cuts3d_cli.backends.base import Convention, DepthBackend
from cuts3d_cli.backends.depth_reading import single_channel
from cuts3d_cli.config import DepthConfig
from cuts3d_cli.errors import ImageError
from cuts3d_cli.store.map_kinds import is_coarse, is_like_labels, row_trend

RECIPROCAL_RANGE = 50.0
"""Inverse depth below 1/50 of its maximum counts as that far: 1/d of a value near 0 would leave
the rest of the scene no room in [0, 1]."""

NEGATIVE, SENTINEL, LARGEST, CONSTANT, UNTURNED = "negative", "sentinel", "largest", "constant", "unturned"
APART, BELOW, LABELS, COARSE, DIRECTION = "apart", "below", "labels", "coarse", "direction"
NOTES = (NEGATIVE, SENTINEL, LARGEST, APART, BELOW, CONSTANT, UNTURNED, LABELS, COARSE, DIRECTION)
"""What may be noted of a map."""

ASPECT_TOLERANCE = 0.02
"""Largest relative difference between the aspect ratios of an image and its depth map."""

FAR_ABOVE = 2.0
"""The largest value of a type stands for no reading if it is more than this many times the next value."""

MOST_SENTINELS = 0.5
"""Fraction of the readings up to which the largest value of a type is taken for no reading."""

FEW = 0.01
"""Fraction of the readings below which readings that may be none, by their value, are not worth a word."""

NOTHING_HIT = 1e10
"""Depth of the background in Blender's renderings; no distance in any unit is as large."""


class DepthMap(NamedTuple):
    """A normalised depth map.

    Attributes:
        depth: (H, W) float32 in [0, 1], 0 nearest and 1 farthest.
        near_far: (2,) float32, the depths that 0 and 1 stand for, in the unit of the source; NaN for inverse depth
            turned by ``affine``, which knows depth up to a scale and a shift of its inverse.
        reading: (H, W) bool, False where the source has no reading and ``depth`` is filled in.
        notes: of `NOTES`, what a user has to know of the map.
    """

    depth: np.ndarray
    near_far: np.ndarray
    reading: np.ndarray
    notes: tuple[str, ...] = ()


def depth_of_array(
    values: np.ndarray,
    image_hw: tuple[int, int],
    config: DepthConfig,
    *,
    what: str = "given depth map",
    orientation: int = 1,
) -> DepthMap:
    """Normalise a raw depth map with the settings of ``config``.

    Args:
        values: integers or floats, (H, W) but for axes of length 1; what they hold says ``config.kind``, what is no
            reading ``config.holes``. What a masked array masks is no reading.
        image_hw: height and width of its image, upright.
        config: the settings of depth.
        what: names the map in errors.
        orientation: EXIF orientation of the image, if the map may lie as the image does in its file.

    Returns:
        The map, (config.size, config.size).

    Raises:
        ImageError: not a depth map, another shape than its image, or nothing but holes.
    """
    raw = single_channel(np.ma.getdata(values), what)
    _check_aspect(what, raw.shape, image_hw, orientation)
    mask = np.ma.getmask(values)
    masked = None if mask is np.ma.nomask else np.reshape(mask, (*raw.shape, -1)).any(axis=2)  # of any channel
    try:
        whole = normalise_depth(raw, config.kind, config.inverse_to, config.holes, config.clip, masked=masked)
    except ImageError as error:
        raise ImageError(f"{what}: {error.what}", expected=error.expected, found=error.found, hint=error.hint) from None
    if orientation != 1 and _same_aspect(raw.shape, _stored(image_hw, orientation)):
        whole = whole._replace(notes=(*whole.notes, UNTURNED))
    whole = whole._replace(notes=(*whole.notes, *_of_another_kind(raw, whole.reading, config.kind)))
    return _sized(whole, config.size)


def _of_another_kind(raw: np.ndarray, reading: np.ndarray, convention: Convention) -> list[str]:
    """What is to be noted of a map that does not look like depth of this convention."""
    if is_like_labels(raw):
        return [LABELS]
    notes = [COARSE] if is_coarse(raw[reading]) else []
    farther_below = row_trend(raw, reading) == (1 if convention == "metric" else -1)
    return [*notes, DIRECTION] if farther_below else notes


def predicted_depth(model: DepthBackend, rgb: np.ndarray, config: DepthConfig) -> DepthMap:
    """Depth of an image (H, W, 3) uint8 by a model, normalised, (config.size, config.size)."""
    raw = model.predict(rgb, config.size)
    return normalise_depth(raw, model.convention, config.inverse_to, holes="none", clip=config.clip)


def normalise_depth(
    raw: np.ndarray,
    convention: Convention,
    inverse_to: Literal["affine", "reciprocal"] = "affine",
    holes: Literal["zero", "none"] = "none",
    clip: float = 0.0,
    *,
    masked: np.ndarray | None = None,
) -> DepthMap:
    """Turn a raw depth map into [0, 1], 0 nearest and 1 farthest, by its minimum and maximum (Sec. 3.1).

    Args:
        raw: (H, W), metric depth or inverse depth.
        convention: ``metric`` (far is large) or ``inverse`` (near is large).
        inverse_to: how inverse depth is turned: ``affine`` keeps the geometry of the disparity
            (1 - d after normalisation), ``reciprocal`` is 1/d, at most RECIPROCAL_RANGE times as
            far as the nearest point.
        holes: ``zero`` if 0 means no reading, and of metric depth what is below 0 and the largest value of the type,
            if it is more than FAR_ABOVE times all others. NaN and infinity always do.
        clip: fraction of the readings, at either end, beyond which values are clipped first. 0 is the
            paper's minimum and maximum; sensors have a few readings far off that would leave the
            scene itself a small part of [0, 1].
        masked: (H, W) bool, True where there is no reading whatever the value.

    Returns:
        The map, (H, W). A flat one is 0 everywhere.

    Raises:
        ImageError: nothing but holes, or negative inverse depth with ``reciprocal``.
    """
    raw = np.asarray(raw)
    with np.errstate(over="ignore"):  # what exceeds 32 bit is infinite
        values = raw.astype(np.float32).astype(np.float64)
    valid = np.isfinite(values) if masked is None else np.isfinite(values) & ~masked
    notes: list[str] = []
    if holes == "zero":
        valid, notes = _readings(values, valid, raw.dtype, convention)
    if not valid.any():
        above = holes == "zero" and convention == "metric"
        raise ImageError("the map has no readings", expected=f"finite values {'above' if above else 'other than'} 0",
                         hint="turn the sign of the values" if NEGATIVE in notes else None)  # fmt: skip
    depth = np.where(valid, values, 0.0)
    if convention == "inverse":
        depth = _turned(depth, valid, inverse_to)
    low, high = np.quantile(depth[valid], [clip, 1 - clip])
    relative = convention == "inverse" and inverse_to == "affine"
    near_far = np.array([np.nan, np.nan] if relative else [low, high], np.float32)
    if high <= low:
        return DepthMap(np.zeros(raw.shape, np.float32), near_far, valid, (*notes, CONSTANT))
    depth = np.clip((depth - low) / (high - low), 0, 1).astype(np.float32)
    return DepthMap(depth if valid.all() else fill_holes(depth, valid), near_far, valid, tuple(notes))


def _readings(
    values: np.ndarray, valid: np.ndarray, dtype: np.dtype, convention: Convention
) -> tuple[np.ndarray, list[str]]:
    """Where a map of finite values has readings, if 0 means none; and what is to be noted.

    A sensor that reports -1 or 65535 means no distance by it; normalised, it would be the nearest or farthest point.
    A value that many pixels share, far from all others, may mean the same or be a distance: it is only noted.
    """
    notes: list[str] = []
    if convention == "metric":
        if np.any(values[valid] < 0):
            notes.append(NEGATIVE)
        valid = valid & (values > 0)
    else:
        valid = valid & (values != 0)
    readings = values[valid]
    if not readings.size:
        return valid, notes
    lowest, highest = readings.min(), readings.max()
    if convention == "inverse" and lowest < 0:
        share = np.count_nonzero(readings == lowest) / readings.size
        if FEW <= share <= MOST_SENTINELS and np.all(readings[readings > lowest] > 0):
            notes.append(BELOW)
    below = readings[readings < highest]
    share = 1 - below.size / readings.size
    apart = share <= MOST_SENTINELS and highest > FAR_ABOVE * max(below.max(), 0)
    if not _is_largest(highest, dtype):
        return valid, [*notes, APART] if apart and share >= FEW else notes
    if apart and convention == "metric":
        return valid & (values < highest), [*notes, SENTINEL]
    return valid, [*notes, LARGEST] if share >= FEW else notes


def _is_largest(value: float, dtype: np.dtype) -> bool:
    """Whether a value is the largest of a type; 16 bits are often kept in more, and half precision ends at 65504."""
    if dtype.kind in "iu":
        limits = (np.iinfo(dtype).max, np.iinfo(np.uint16).max)
        return np.float32(value) in [np.float32(limit) for limit in limits]
    return dtype.kind == "f" and (value >= NOTHING_HIT or value == np.finfo(dtype).max)


def fill_holes(depth: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Fill pixels without a reading from the background side.

    Sensors lose readings mostly beside object borders, where one of the two views is covered: what
    is hidden there belongs to the farther surface. Each hole pixel takes the second farthest of the
    nearest readings to its left, right, top and bottom: the background where an object borders one
    side, the object where it surrounds the hole, and no single outlier decides. Filled pixels are
    then smoothed among their neighbours, against the streaks of a scan by lines.

    Args:
        depth: (H, W) float32, far is large; values at holes are ignored.
        valid: (H, W) bool, at least one True.

    Returns:
        (H, W) float32, equal to ``depth`` where ``valid``.
    """
    import cv2

    around = np.stack([_last_seen(depth, valid, axis, flip) for axis in (0, 1) for flip in (False, True)])
    seen = np.isfinite(around)
    # Of four or three directions the second farthest, of two or one the farthest.
    ranked = -np.sort(-np.where(seen, around, -np.inf), axis=0)
    fill = np.where(seen.sum(0) >= 3, ranked[1], ranked[0])
    missed = ~np.isfinite(fill)
    if missed.any():  # no reading in the pixel's whole row and column
        from scipy.ndimage import distance_transform_edt

        nearest = distance_transform_edt(missed, return_distances=False, return_indices=True)
        fill = fill[tuple(nearest)]
    filled = np.where(valid, depth, fill).astype(np.float32)
    return np.where(valid, depth, cv2.medianBlur(filled, 5))


def resize(depth: np.ndarray, size: int) -> np.ndarray:
    """(H, W) float32 to (size, size): by area where it shrinks, bilinear where it grows."""
    import cv2

    shrinks = depth.shape[0] >= size and depth.shape[1] >= size
    return cv2.resize(depth, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _check_aspect(what: str, depth_hw: tuple[int, ...], image_hw: tuple[int, int], orientation: int) -> None:
    """Raise ImageError unless a depth map has the aspect ratio of its image within ASPECT_TOLERANCE."""
    if _same_aspect(depth_hw, image_hw):
        return
    hint = "depth maps may be larger or smaller than their image, but must cover the same view"
    if orientation != 1 and _same_aspect(depth_hw, _stored(image_hw, orientation)):
        hint = "it matches the image before its EXIF rotation: rotate the depth map as the image is shown"
    raise ImageError(
        f"{what} has a different shape from its image",
        expected=f"the aspect ratio of {image_hw[0]} x {image_hw[1]} (height x width)",
        found=f"{depth_hw[0]} x {depth_hw[1]}",
        hint=hint,
    )


def _stored(image_hw: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Height and width of an image as it lies in its file, from those upright and its EXIF orientation."""
    return image_hw if orientation < 5 else (image_hw[1], image_hw[0])


def _same_aspect(a_hw: tuple[int, ...], b_hw: tuple[int, ...]) -> bool:
    ratio = (a_hw[0] / a_hw[1]) / (b_hw[0] / b_hw[1])
    # A small map rounds its sides: half a pixel on either is no other shape.
    slack = max(ASPECT_TOLERANCE, 1.0 / min(a_hw))
    return abs(ratio - 1) <= slack


def _sized(whole: DepthMap, size: int) -> DepthMap:
    reading = resize(whole.reading.astype(np.float32), size) >= 0.5
    return whole._replace(depth=resize(whole.depth, size), reading=reading)


def _turned(inverse: np.ndarray, valid: np.ndarray, inverse_to: str) -> np.ndarray:
    if inverse_to == "affine":
        return -inverse
    lowest, nearest = inverse[valid].min(), inverse[valid].max()
    if lowest < 0 or nearest <= 0:
        raise ImageError("inverse depth cannot be converted", expected="values above 0", found=f"{lowest:g}")
    return 1.0 / np.maximum(inverse, nearest / RECIPROCAL_RANGE)


def _last_seen(depth: np.ndarray, valid: np.ndarray, axis: int, flip: bool) -> np.ndarray:
    """At each pixel the value of the last valid pixel before it along ``axis``; -inf where there is none."""
    if flip:
        depth, valid = np.flip(depth, axis), np.flip(valid, axis)
    index = np.arange(depth.shape[axis]).reshape((-1, 1) if axis == 0 else (1, -1))
    last = np.maximum.accumulate(np.where(valid, index, -1), axis=axis)
    seen = np.where(last >= 0, np.take_along_axis(depth, np.maximum(last, 0), axis), -np.inf)
    return np.flip(seen, axis) if flip else seen
