"""Depth maps from files, and the one way every raw depth map becomes [0, 1] with 0 nearest.

Any unit will do, since each map is normalised by its own minimum and maximum (Sec. 3.1). Where the
map of an image lies is said by ``find_depth_map``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from cuts3d_cli.backends.base import WITHOUT_MODEL, Convention, DepthBackend
from cuts3d_cli.errors import ImageError
from cuts3d_cli.store.files import digest_file
from cuts3d_cli.store.images import COLOUR_MARKS, DEPTH_MARKS, image_size, opened, stored_size

if TYPE_CHECKING:
    from cuts3d_cli.config import DepthConfig
    from cuts3d_cli.store.manifest import ImageRecord

DEPTH_SUFFIXES = (".png", ".npy", ".tif", ".tiff")
"""File name endings of depth maps, in the order they are looked for."""

ASPECT_TOLERANCE = 0.02
"""Largest relative difference between the aspect ratios of an image and its depth map."""

RECIPROCAL_RANGE = 50.0
"""Inverse depth below 1/50 of its maximum counts as that far: 1/d of a value near 0 would leave
the rest of the scene no room in [0, 1]."""


class DepthMap(NamedTuple):
    """A normalised depth map.

    Attributes:
        depth: (H, W) float32 in [0, 1], 0 nearest and 1 farthest.
        near_far: (2,) float32, the depths that 0 and 1 stand for, in the unit of the source; NaN for inverse depth
            turned by ``affine``, which knows depth up to a scale and a shift of its inverse.
        reading: (H, W) bool, False where the source has no reading and ``depth`` is filled in.
    """

    depth: np.ndarray
    near_far: np.ndarray
    reading: np.ndarray


def find_depth_map(file_name: str, image_root: str | Path, depth_maps: str | Path | None = None) -> Path:
    """Where the depth map of an image lies.

    Args:
        file_name: the image's path relative to ``image_root``, with ``/``.
        image_root: folder of the images.
        depth_maps: a folder, where ``a/b.jpg`` has ``a/b.png`` (or ``.npy``, ``.tif``, ``.tiff``;
            ``b_depth`` and ``b-depth`` do as well as ``b``, and for ``b-color.jpg`` or ``b_rgb.jpg``
            too); or a file, the map of this image; or
            None: ``b.npy``, ``b_depth.*`` or ``b-depth.*`` beside the image, or ``b.*`` in a
            folder ``depth`` beside the folder of the image.

    Raises:
        ImageError: there is none.
    """
    image = Path(image_root) / file_name
    if depth_maps is None:
        candidates = [image.with_suffix(".npy"), *_with_suffixes(*_marked(image.parent, image.stem))]
        candidates += _with_suffixes(Path(os.path.abspath(image)).parent.parent / "depth" / image.stem)
    elif Path(depth_maps).is_file():
        candidates = [Path(depth_maps)]
    else:
        place = (Path(depth_maps) / file_name).parent
        candidates = _with_suffixes(place / image.stem, *_marked(place, image.stem))
    for path in candidates:
        if path.is_file() and not (image.exists() and path.samefile(image)):
            return path
    where = f"beside it ({image.stem}_depth.png, {image.stem}.npy)" if depth_maps is None else f"in {depth_maps}"
    raise ImageError(
        f"image {image} has no depth map",
        expected=f"a PNG, NPY or TIFF {where}",
        found="none",
        hint=f"give it with --depth-map FILE or set data.depth_maps to their folder, {WITHOUT_MODEL}",
    )


def has_depth_map(file_name: str, image_root: str | Path, depth_maps: str | Path | None = None) -> bool:
    """Whether `find_depth_map` finds one."""
    try:
        find_depth_map(file_name, image_root, depth_maps)
    except ImageError:
        return False
    return True


def _marked(place: Path, stem: str) -> list[Path]:
    """What a depth map may be called, up to the suffix, that carries a mark: its image may carry one of colour."""
    bare = next((stem.removesuffix(mark) for mark in COLOUR_MARKS if stem.endswith(mark)), stem)
    return [place / (name + mark) for name in dict.fromkeys((stem, bare)) for mark in DEPTH_MARKS]


def depth_map_digests(
    records: Sequence[ImageRecord], image_root: str | Path, depth_maps: str | Path | None = None
) -> dict[str, str | None]:
    """Hash of each image's depth map by the image's file name; None where there is none."""
    digests: dict[str, str | None] = {}
    for record in records:
        try:
            digests[record.file_name] = digest_file(find_depth_map(record.file_name, image_root, depth_maps))
        except ImageError:
            digests[record.file_name] = None
    return digests


def depth_of_image(
    file_name: str, image_root: str | Path, depth_maps: str | Path | None, config: DepthConfig
) -> DepthMap:
    """Find, read and normalise the depth map of an image with the settings of ``config``.

    Returns:
        The map, (config.size, config.size).

    Raises:
        ImageError: see ``find_depth_map`` and ``load_depth_map``.
    """
    image = Path(image_root) / file_name
    return load_depth_map(
        find_depth_map(file_name, image_root, depth_maps),
        image_hw=image_size(image),
        stored_hw=stored_size(image),
        size=config.size,
        kind=config.kind,
        inverse_to=config.inverse_to,
        holes=config.holes,
        clip=config.clip,
    )


def load_depth_map(
    path: str | Path,
    *,
    image_hw: tuple[int, int],
    size: int,
    kind: Convention = "metric",
    inverse_to: Literal["affine", "reciprocal"] = "affine",
    holes: Literal["zero", "none"] = "zero",
    clip: float = 0.0,
    stored_hw: tuple[int, int] | None = None,
) -> DepthMap:
    """Read a depth map and normalise it; the keywords after ``size`` are those of ``config.depth``.

    Args:
        path: PNG or TIFF with one channel, or NPY with (H, W).
        image_hw: height and width of its image, upright.
        size: height and width of the result.
        stored_hw: height and width of the image as stored, to explain a map that was not turned
            with it.

    Returns:
        The map, (size, size).

    Raises:
        ImageError: not a depth map, another shape than its image, or nothing but holes.
    """
    raw = read_raw(path)
    check_aspect(path, raw.shape, image_hw, stored_hw)
    try:
        return _sized(normalise_depth(raw, kind, inverse_to, holes, clip), size)
    except ImageError as error:
        raise ImageError(f"depth map {path}: {error.what}", expected=error.expected, found=error.found) from None


def depth_of_array(values: np.ndarray, image_hw: tuple[int, int], config: DepthConfig) -> DepthMap:
    """Normalise the depth map of an image that is at hand as an array, as one from a file with the same values.

    Args:
        values: (H, W) integers or floats; what they hold says ``config.kind``, what is no reading ``config.holes``.
        image_hw: height and width of its image.
        config: the settings of depth.

    Returns:
        The map, (config.size, config.size).

    Raises:
        ImageError: not a depth map, another shape than its image, or nothing but holes.
    """
    if values.ndim != 2 or not values.size or values.dtype.kind not in "fiub":
        raise ImageError("depth", expected="(H, W) numbers", found=f"shape {values.shape} of {values.dtype}")
    check_aspect("given", values.shape, image_hw)
    whole = normalise_depth(values.astype(np.float32), config.kind, config.inverse_to, config.holes, config.clip)
    return _sized(whole, config.size)


def predicted_depth(model: DepthBackend, rgb: np.ndarray, config: DepthConfig) -> DepthMap:
    """Depth of an image (H, W, 3) uint8 by a model, normalised, (config.size, config.size)."""
    raw = model.predict(rgb, config.size)
    return normalise_depth(raw, model.convention, config.inverse_to, holes="none", clip=config.clip)


def read_raw(path: str | Path) -> np.ndarray:
    """Values of a depth file as (H, W) float32, unchanged; NaN and infinity stay.

    Raises:
        ImageError: missing, damaged, or more than one channel.
    """
    path = Path(path)
    raw = _read_npy(path) if path.suffix.lower() == ".npy" else _read_picture(path)
    if raw.ndim == 3 and raw.shape[2] in (3, 4) and np.ptp(raw[..., :3], axis=2).max() == 0:
        raw = raw[..., 0]  # grey saved as colour
    if raw.ndim == 3 and raw.shape[2] in (1, 2):
        raw = raw[..., 0]  # one channel, or grey with alpha
    if raw.ndim != 2 or not raw.size:
        hint = "a colour-mapped picture cannot be turned back" if raw.ndim == 3 else None
        raise ImageError(
            f"depth map {path} does not have a single channel",
            expected="(H, W) values",
            found=f"shape {raw.shape}",
            hint=hint,
        )
    return raw.astype(np.float32)


def check_aspect(
    path: str | Path, depth_hw: tuple[int, int], image_hw: tuple[int, int], stored_hw: tuple[int, int] | None = None
) -> None:
    """Raise ImageError unless a depth map has the aspect ratio of its image within ASPECT_TOLERANCE."""
    if _same_aspect(depth_hw, image_hw):
        return
    hint = "depth maps may be larger or smaller than their image, but must cover the same view"
    if stored_hw not in (None, image_hw) and _same_aspect(depth_hw, stored_hw):
        hint = "it matches the image before its EXIF rotation: rotate the depth map as the image is shown"
    raise ImageError(
        f"depth map {path} has a different shape from its image",
        expected=f"the aspect ratio of {image_hw[0]} x {image_hw[1]} (height x width)",
        found=f"{depth_hw[0]} x {depth_hw[1]}",
        hint=hint,
    )


def normalise_depth(
    raw: np.ndarray,
    convention: Convention,
    inverse_to: Literal["affine", "reciprocal"] = "affine",
    holes: Literal["zero", "none"] = "none",
    clip: float = 0.0,
) -> DepthMap:
    """Turn a raw depth map into [0, 1], 0 nearest and 1 farthest, by its minimum and maximum (Sec. 3.1).

    Args:
        raw: (H, W), metric depth or inverse depth.
        convention: ``metric`` (far is large) or ``inverse`` (near is large).
        inverse_to: how inverse depth is turned: ``affine`` keeps the geometry of the disparity
            (1 - d after normalisation), ``reciprocal`` is 1/d, at most RECIPROCAL_RANGE times as
            far as the nearest point.
        holes: ``zero`` if 0 means no reading. NaN and infinity always do.
        clip: fraction of the readings, at either end, beyond which values are clipped first. 0 is the
            paper's minimum and maximum; sensors have a few readings far off that would leave the
            scene itself a small part of [0, 1].

    Returns:
        The map, (H, W). A flat one is 0 everywhere.

    Raises:
        ImageError: nothing but holes, or negative inverse depth with ``reciprocal``.
    """
    raw = np.asarray(raw, np.float64)
    valid = np.isfinite(raw)
    if holes == "zero":
        valid &= raw != 0
    if not valid.any():
        raise ImageError("the map has no readings", expected="finite values that are not all 0")
    depth = np.where(valid, raw, 0.0)
    if convention == "inverse":
        depth = _turned(depth, valid, inverse_to)
    low, high = np.quantile(depth[valid], [clip, 1 - clip])
    relative = convention == "inverse" and inverse_to == "affine"
    near_far = np.array([np.nan, np.nan] if relative else [low, high], np.float32)
    if high <= low:
        return DepthMap(np.zeros(raw.shape, np.float32), near_far, valid)
    depth = np.clip((depth - low) / (high - low), 0, 1).astype(np.float32)
    return DepthMap(depth if valid.all() else fill_holes(depth, valid), near_far, valid)


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


def _read_npy(path: Path) -> np.ndarray:
    try:
        raw = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ImageError(f"depth map {path} does not exist") from None
    except (OSError, ValueError, EOFError) as error:
        raise ImageError(f"depth map {path} cannot be read", found=str(error) or type(error).__name__) from None
    if not isinstance(raw, np.ndarray) or raw.dtype.kind not in "fiub":
        raise ImageError(
            f"depth map {path} does not contain numbers", found=f"{getattr(raw, 'dtype', type(raw).__name__)}"
        )
    return raw


def _read_picture(path: Path) -> np.ndarray:
    with opened(path, "depth map") as picture:
        return np.array(picture.convert("RGB") if picture.mode in ("P", "PA", "CMYK", "YCbCr") else picture)


def _sized(whole: DepthMap, size: int) -> DepthMap:
    reading = resize(whole.reading.astype(np.float32), size) >= 0.5
    return DepthMap(resize(whole.depth, size), whole.near_far, reading)


def _with_suffixes(*stems: Path) -> list[Path]:
    return [stem.with_name(stem.name + suffix) for stem in stems for suffix in DEPTH_SUFFIXES]


def _same_aspect(a_hw: tuple[int, int], b_hw: tuple[int, int]) -> bool:
    ratio = (a_hw[0] / a_hw[1]) / (b_hw[0] / b_hw[1])
    # A small map rounds its sides: half a pixel on either is no other shape.
    slack = max(ASPECT_TOLERANCE, 1.0 / min(a_hw))
    return abs(ratio - 1) <= slack


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
