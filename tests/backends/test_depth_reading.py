"""Depth files: every kind gives its values as they are, or one line that says why not; no header is trusted."""

import struct
import zipfile

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cuts3d_cli.backends import depth_reading as dr
from cuts3d_cli.errors import ImageError

RAMP = np.linspace(1, 5, 48 * 64).reshape(48, 64).astype(np.float32)


def save_map(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez_compressed(path, values)
    elif path.suffix == ".pfm":
        path.write_bytes(pfm(values))
    else:
        Image.fromarray(values).save(path)
    return path


def pfm(values, order="<", scale=1.0):
    """A PFM file: a negative scale says little-endian; rows from the bottom up."""
    height, width = values.shape
    sign = "-" if order == "<" else ""
    return f"Pf\n{width} {height}\n{sign}{scale}\n".encode() + values[::-1].astype(f"{order}f4").tobytes()


def npy_header(text, data=b""):
    """An NPY file with this text as its header."""
    header = text.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def one_line(error, *parts):
    line = str(error.value)
    assert "\n" not in line
    for part in parts:
        assert str(part) in line, line


@pytest.mark.parametrize("name", ["d.png", "d.tif", "d.npy"])
def test_formats_give_the_same_values(tmp_path, name):
    values = (RAMP * 1000).astype(np.uint16)
    assert np.array_equal(dr.read_raw(save_map(tmp_path / name, values)), values.astype(np.float32))


def test_float_formats_keep_nan(tmp_path):
    values = RAMP.copy()
    values[3, 4] = np.nan
    for name in ("f.tif", "f.npy"):
        assert np.array_equal(dr.read_raw(save_map(tmp_path / name, values)), values, equal_nan=True)


@pytest.mark.parametrize("name", ["rgb.png", "rgba.png", "rgb.tif"])
def test_colours_of_16_bit_are_refused_as_they_lose_their_lower_half(tmp_path, name):
    grey = (np.arange(600).reshape(20, 30) * 100).astype(np.uint16)
    cv2.imwrite(str(tmp_path / name), np.stack([grey] * (4 if "rgba" in name else 3), axis=2))
    with pytest.raises(ImageError) as error:
        dr.read_raw(tmp_path / name)
    one_line(error, name, "several channels of 16 bit", "numpy.save")


def test_grey_saved_as_colour_is_read_and_a_colour_map_is_not(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(dr.read_raw(save_map(tmp_path / "g.png", np.repeat(grey[..., None], 3, 2))), grey)
    assert np.array_equal(dr.read_raw(save_map(tmp_path / "n.npy", grey[..., None])), grey)
    coloured = np.stack([grey, grey[::-1], grey], axis=2)
    with pytest.raises(ImageError) as error:
        dr.read_raw(save_map(tmp_path / "c.png", coloured))
    one_line(error, "c.png", "single channel", "colour-mapped")
    Image.fromarray(coloured).quantize(32).save(tmp_path / "palette.png")
    with pytest.raises(ImageError):
        dr.read_raw(tmp_path / "palette.png")


def test_damaged_files(tmp_path):
    for name in ("d.png", "d.npy"):
        path = save_map(tmp_path / name, np.random.default_rng(0).integers(0, 65535, (64, 64), dtype=np.uint16))
        path.write_bytes(path.read_bytes()[:600])
        with pytest.raises(ImageError) as error:
            dr.read_raw(path)
        one_line(error, name)
        with pytest.raises(ImageError, match="does not exist"):
            dr.read_raw(tmp_path / "none" / name)
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "s.npy", np.array(["text"]))
    np.save(tmp_path / "v.npy", np.zeros((2, 3, 4, 5)))
    for name in ("o.npy", "s.npy", "v.npy"):
        with pytest.raises(ImageError) as error:
            dr.read_raw(tmp_path / name)
        one_line(error, name)


def test_float_kinds_give_the_same_values(tmp_path):
    for name in ("d.npz", "d.pfm", "d.tif"):
        assert np.array_equal(dr.read_raw(save_map(tmp_path / name, RAMP)), RAMP)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_pfm_has_its_rows_from_the_bottom_and_its_order_in_the_sign(tmp_path, order, scale):
    values = RAMP.copy()
    values[3, 4] = np.inf  # unknown, as in Middlebury's files
    (tmp_path / "d.pfm").write_bytes(pfm(values, order, scale))
    assert np.array_equal(dr.read_raw(tmp_path / "d.pfm"), values)


def test_the_kind_is_told_by_the_first_bytes(tmp_path):
    save_map(tmp_path / "d.npz", RAMP).rename(tmp_path / "renamed.npy")
    save_map(tmp_path / "e.npy", RAMP).rename(tmp_path / "renamed.png")
    for name in ("renamed.npy", "renamed.png"):
        assert np.array_equal(dr.read_raw(tmp_path / name), RAMP)


def test_sixteen_bit_pgm(tmp_path):
    values = (RAMP * 1000).astype(np.uint16)
    (tmp_path / "d.pgm").write_bytes(b"P5\n64 48\n65535\n" + values.astype(">u2").tobytes())
    assert np.array_equal(dr.read_raw(tmp_path / "d.pgm"), values)


@pytest.mark.parametrize("shape", [(1, 48, 64), (48, 64, 1), (1, 48, 64, 1), (1, 1, 48, 64)])
def test_axes_of_length_one_are_dropped(tmp_path, shape):
    assert np.array_equal(dr.read_raw(save_map(tmp_path / "d.npy", RAMP.reshape(shape))), RAMP)


@pytest.mark.parametrize("shape", [(2, 48, 32), (48, 32, 2), (3072,), ()])
def test_other_axes_are_refused(tmp_path, shape):
    with pytest.raises(ImageError) as error:
        dr.read_raw(save_map(tmp_path / "d.npy", RAMP.reshape(shape) if shape else np.float32(1)))
    one_line(error, "d.npy", "(H, W)", f"shape {shape}")


def test_npz_of_several_arrays(tmp_path):
    np.savez(tmp_path / "one.npz", depth=RAMP, mask=RAMP > 2)
    assert np.array_equal(dr.read_raw(tmp_path / "one.npz"), RAMP)
    np.savez(tmp_path / "two.npz", a=RAMP, b=RAMP)
    np.savez(tmp_path / "none.npz")
    for name, found in (("two.npz", "found a, b"), ("none.npz", "none")):
        with pytest.raises(ImageError) as error:
            dr.read_raw(tmp_path / name)
        one_line(error, name, "one called depth", found)


def test_a_picture_is_turned_by_its_own_exif_rotation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("d.png", "d.tif"):
        Image.fromarray((RAMP * 1000).astype(np.uint16)).save(tmp_path / name, exif=exif)
        turned = np.rot90((RAMP * 1000).astype(np.uint16), -1)
        assert np.array_equal(dr.read_raw(tmp_path / name), turned) and dr.is_turned(tmp_path / name)
    assert not dr.is_turned(save_map(tmp_path / "d.npy", RAMP))


HEADERS = {
    "terabytes": "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }",
    "more than a number": "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 9), }",
    "negative": "{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -4), }",
    "none": "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 64), }",
    "cut off": "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 4), }",
    "text": "{'descr': '<U9', 'fortran_order': False, 'shape': (4, 4), }",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (4, 4), }",
    "a table": "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4, 4), }",
    "no type": "{'descr': '<zz', 'fortran_order': False, 'shape': (4, 4), }",
    "no dictionary": "[1, 2]",
    "half a dictionary": "{'descr': '<f4', 'fortran",
    "nested": "(" * 3000,
    "empty": "",
}


@pytest.mark.parametrize("text", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_a_header_that_is_damaged_or_claims_what_is_not_there(tmp_path, text, kind):
    data = npy_header(text, bytes(20))
    if kind == "npz":
        with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
            archive.writestr("arr_0.npy", data)
    else:
        (tmp_path / "d.npy").write_bytes(data)
    with pytest.raises(ImageError) as error:
        dr.read_raw(tmp_path / f"d.{kind}")
    one_line(error, f"d.{kind}")
    assert len(str(error.value)) < 500


def test_an_npz_that_would_fill_the_memory_is_not_unpacked(tmp_path):
    header = npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (30000, 30000), }")
    with zipfile.ZipFile(tmp_path / "d.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arr_0.npy", header + bytes(10**7))
    with pytest.raises(ImageError, match="impossible size"):
        dr.read_raw(tmp_path / "d.npz")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "empty.npy").touch()
    (tmp_path / "text.npy").write_text("some text")
    (tmp_path / "empty.pfm").touch()
    for name in ("pipe.npy", "folder.npy", "empty.npy", "text.npy", "empty.pfm"):
        with pytest.raises(ImageError) as error:
            dr.read_raw(tmp_path / name)
        one_line(error, name)


@pytest.mark.parametrize("kind", ["npy", "npz", "pfm", "png", "tif"])
def test_damaged_bytes_give_values_or_one_line(tmp_path, kind):
    path = save_map(tmp_path / f"d.{kind}", (RAMP[:6, :8] * 1000).astype(np.uint16))
    whole = path.read_bytes()

    @given(st.data())
    @settings(max_examples=150, deadline=None, derandomize=True)
    def damaged(data):
        content = bytearray(whole)
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
        try:
            assert dr.read_raw(path).ndim == 2
        except ImageError as error:
            assert "\n" not in str(error)

    damaged()


def test_exr(tmp_path):
    exr = pytest.importorskip("OpenEXR")
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}

    def write(name, channels):
        exr.File(header, channels).write(str(tmp_path / name))
        return tmp_path / name

    grey = np.repeat(RAMP[..., None], 3, axis=2).copy()
    colours = grey * np.float32([1, 2, 3])
    for name, channels in {
        "z.exr": {"Z": RAMP},
        "any.exr": {"whatever": RAMP},
        "layer.exr": {"RGB": colours, "ViewLayer.Depth.Z": RAMP},
        "grey.exr": {"RGB": grey},
    }.items():
        assert np.array_equal(dr.read_raw(write(name, channels)), RAMP), name
    half = dr.read_raw(write("half.exr", {"Z": RAMP.astype(np.float16)}))
    assert half.dtype == np.float16
    for name, channels, found in (("rgb.exr", {"RGB": colours}, "single"), ("two.exr", {"a": RAMP, "b": RAMP}, "a, b")):
        with pytest.raises(ImageError) as error:
            dr.read_raw(write(name, channels))
        one_line(error, name, found)
    (tmp_path / "cut.exr").write_bytes((tmp_path / "z.exr").read_bytes()[:300])
    with pytest.raises(ImageError) as error:
        dr.read_raw(tmp_path / "cut.exr")
    one_line(error, "cut.exr")


def test_exr_without_its_package_says_what_to_do(tmp_path, monkeypatch):
    import sys

    from cuts3d_cli.errors import missing_package

    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    (tmp_path / "d.exr").write_bytes(b"\x76\x2f\x31\x01" + bytes(20))
    with pytest.raises(ModuleNotFoundError) as error:
        dr.read_raw(tmp_path / "d.exr")
    assert "EXR" in (line := str(missing_package(error.value))) and "cuts3d[exr]" in line and "TIFF" in line
