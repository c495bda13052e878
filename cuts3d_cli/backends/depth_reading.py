"""Reading the values of a depth file, whatever its kind: PNG, TIFF, PGM, PFM, NPY, NPZ or EXR, told by its first bytes.

The headers of NumPy's files are checked before anything is allocated: a damaged one may claim any shape.
"""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from cuts3d_cli.errors import ImageError, first_line
from cuts3d_cli.store.images import MAX_PIXELS, check_regular, exif_orientation, has_deep_colours, opened, upright

KINDS = "a PNG, TIFF, PGM, PFM, NPY, NPZ or EXR file"
"""What a depth map may be, in words."""

_NPY, _ZIP, _EXR = b"\x93NUMPY", (b"PK\x03\x04", b"PK\x05\x06"), b"\x76\x2f\x31\x01"
_CONVERT = "save it with numpy.save, as an array (H, W)"

_DEPTH_CHANNELS = ("z", "depth", "y", "v", "distance")
"""What the channel of depth is called in EXR files, after the last dot, in lower case; the first is meant."""


def read_raw(path: str | Path) -> np.ndarray:
    """Values of a depth file as (H, W) in the type of the file, unchanged; NaN and infinity stay.

    A picture is turned as its own EXIF orientation says. Rows of a PFM file are stored from the bottom up and
    given from the top; its scale is that of its bytes' order alone.

    Raises:
        ImageError: missing, damaged, no numbers, too large, or more than one channel.
        ModuleNotFoundError: an EXR file, and the package that reads it is not installed.
    """
    path = Path(path)
    what = f"depth map {path}"
    check_regular(path, "depth map")
    with _in_one_line(what), path.open("rb") as file:
        start = file.read(8)
    if start.startswith((_NPY, *_ZIP)):
        with _in_one_line(what), path.open("rb") as file:
            raw = _read_npz(file, what) if start.startswith(_ZIP) else _read_npy(file, path.stat().st_size, what)
    elif start.startswith(_EXR):
        with _in_one_line(what):
            raw = _read_exr(path, what)
    elif path.suffix.lower() in (".npy", ".npz"):
        raise ImageError(f"{what} cannot be read", found=f"no {path.suffix[1:].upper()} file" if start
                         else "an empty file")  # fmt: skip
    else:
        raw = _read_picture(path)
    return single_channel(raw, what)


def is_turned(path: Path) -> bool:
    """Whether a depth file has an EXIF orientation of its own, by which `read_raw` turns it."""
    with contextlib.suppress(ImageError):  # no picture
        return exif_orientation(path) != 1
    return False


def single_channel(values: np.ndarray, what: str) -> np.ndarray:
    """Depth values as (H, W): axes of length 1 are dropped, and of grey saved as colour one channel is taken.

    Raises:
        ImageError: other axes, no numbers or nothing; ``what`` names the map.
    """
    shape = values.shape
    if values.dtype.kind not in "fiub":
        raise ImageError(f"{what} does not contain numbers", found=str(values.dtype))
    while values.ndim > 2 and 1 in (values.shape[0], values.shape[-1]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim == 3 and values.shape[2] in (3, 4) and np.all(values[..., :1] == values[..., 1:3]):
        values = values[..., 0]
    if values.ndim != 2 or not values.size:
        coloured = values.ndim == 3 and values.shape[2] in (3, 4)
        raise ImageError(
            f"{what} does not have a single channel",
            expected="(H, W) values",
            found=f"shape {shape}",
            hint="a colour-mapped picture cannot be turned back" if coloured else None,
        )
    return values


@contextlib.contextmanager
def _in_one_line(what: str) -> Iterator[None]:
    """Turn whatever the parsers of other packages raise on damaged bytes into an ImageError."""
    try:
        yield
    except (ImageError, ModuleNotFoundError):
        raise
    except Exception as error:  # not only OSError and ValueError: RecursionError, struct.error, TokenError, ...
        raise ImageError(f"{what} cannot be read", found=first_line(error)) from None


def _read_picture(path: Path) -> np.ndarray:
    with opened(path, "depth map") as picture:
        if has_deep_colours(picture):
            raise ImageError(f"depth map {path}", expected="one channel", found="several channels of 16 bit",
                             hint=_CONVERT)  # fmt: skip
        if picture.mode in ("P", "PA", "CMYK", "YCbCr"):
            picture = picture.convert("RGB")
        elif picture.mode in ("LA", "La"):
            picture = picture.getchannel(0)
        return np.array(upright(picture))


def _read_npy(file: IO[bytes], size: int, what: str) -> np.ndarray:
    """The array of an open NPY file of ``size`` bytes; its header is not trusted."""
    version = np.lib.format.read_magic(file)
    if version not in _NPY_HEADERS:  # later ones are for tables
        raise ImageError(f"{what} does not contain numbers", found=f"NPY version {version[0]}.{version[1]}")
    shape, column_major, dtype = _NPY_HEADERS[version](file)
    if dtype.kind not in "fiub":
        raise ImageError(f"{what} does not contain numbers", found=str(dtype), hint=_CONVERT)
    count = math.prod(shape)
    if min(shape, default=0) < 0 or not 0 < count <= MAX_PIXELS:
        raise ImageError(f"{what} has an impossible size", expected=f"1 to {MAX_PIXELS} values", found=f"shape {shape}")
    needed, left = count * dtype.itemsize, size - file.tell()
    if left < needed:
        raise ImageError(f"{what} is cut off", expected=f"{needed} bytes of shape {shape}", found=f"{max(left, 0)}")
    values = np.frombuffer(file.read(needed), dtype, count)
    return values.reshape(shape, order="F" if column_major else "C")


_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def _read_npz(file: IO[bytes], what: str) -> np.ndarray:
    """The only array of an NPZ file, or the one called depth."""
    with zipfile.ZipFile(file) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        name = "depth" if "depth" in members else next(iter(members), "")
        if len(members) != 1 and name != "depth":
            raise ImageError(f"{what}: which array?", expected="one array, or one called depth",
                             found=", ".join(members) or "none")  # fmt: skip
        with archive.open(members[name]) as array:
            return _read_npy(array, members[name].file_size, what)


def _read_exr(path: Path, what: str) -> np.ndarray:
    """The channel of depth of an EXR file, or the only one it has."""
    import OpenEXR

    left, top, right, bottom = _corners(OpenEXR.File(str(path), header_only=True).header()["dataWindow"])
    if not 0 < (right - left + 1) * (bottom - top + 1) <= MAX_PIXELS:
        raise ImageError(f"{what} has an impossible size", expected=f"1 to {MAX_PIXELS} values",
                         found=f"{bottom - top + 1} x {right - left + 1}")  # fmt: skip
    channels = OpenEXR.File(str(path), separate_channels=True).channels()
    by_end = {name.rpartition(".")[2].lower(): channel for name, channel in channels.items()}
    if {"r", "g", "b"} == set(by_end) - {"a"}:  # grey saved as colour, or not
        return np.stack([by_end[name].pixels for name in "rgb"], axis=2)
    named = next((by_end[name] for name in _DEPTH_CHANNELS if name in by_end), None)
    if named is None and len(channels) != 1:
        raise ImageError(f"{what}: which channel?", expected=f"one channel, or one called {', '.join(_DEPTH_CHANNELS)}",
                         found=", ".join(channels))  # fmt: skip
    return np.asarray((named or next(iter(channels.values()))).pixels)


def _corners(window: tuple[np.ndarray, np.ndarray]) -> tuple[int, ...]:
    """Left, top, right and bottom of a window, both ends included."""
    return tuple(int(value) for corner in window for value in corner)
