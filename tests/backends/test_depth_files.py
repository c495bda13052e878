"""Depth maps from files: found, read, filled, turned and normalised; or one line that says why not."""

import types

import numpy as np
import pytest
from PIL import Image

from cuts3d_cli.backends import depth_files as df
from cuts3d_cli.config import DepthConfig
from cuts3d_cli.errors import ImageError

RAMP = np.linspace(1, 5, 48 * 64).reshape(48, 64).astype(np.float32)


def save_map(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)
    return path


def save_image(path, hw=(48, 64), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (hw[1], hw[0]), "gray").save(path, **options)
    return path


def one_line(error, *parts):
    line = str(error.value)
    assert "\n" not in line
    for part in parts:
        assert str(part) in line, line


# ---- finding


@pytest.mark.parametrize("name", ["b.png", "b.npy", "b.tif", "b.tiff", "b_depth.png", "b-depth.npy"])
def test_found_in_a_folder_under_the_same_relative_path(tmp_path, name):
    save_image(tmp_path / "images/a/b.jpg")
    path = save_map(tmp_path / "depth/a" / name, RAMP if name[-3:] != "png" else RAMP.astype(np.uint16))
    assert df.find_depth_map("a/b.jpg", tmp_path / "images", tmp_path / "depth") == path
    with pytest.raises(ImageError):
        df.find_depth_map("b.jpg", tmp_path / "images", tmp_path / "depth")


def test_dots_in_names_stay(tmp_path):
    path = save_map(tmp_path / "depth/x.1.npy", RAMP)
    save_map(tmp_path / "depth/x.npy", RAMP)
    assert df.find_depth_map("x.1.jpg", tmp_path, tmp_path / "depth") == path


def test_a_file_is_the_map_itself(tmp_path):
    path = save_map(tmp_path / "any.npy", RAMP)
    assert df.find_depth_map("b.jpg", tmp_path, path) == path


@pytest.mark.parametrize("image", ["0-color.png", "0_rgb.png", "0.png"])
@pytest.mark.parametrize("depth_maps", [None, "."])
def test_a_map_beside_an_image_that_is_marked_as_colour(tmp_path, image, depth_maps):
    path = save_map(tmp_path / "0-depth.png", RAMP.astype(np.uint16))
    save_image(tmp_path / image)
    assert df.find_depth_map(image, tmp_path, depth_maps and tmp_path / depth_maps) == path


@pytest.mark.parametrize("place", ["images/b.npy", "images/b_depth.png", "images/b-depth.tif", "depth/b.png"])
def test_without_a_folder_it_is_looked_for_beside_the_image(tmp_path, place):
    save_image(tmp_path / "images/b.jpg")
    path = save_map(tmp_path / place, RAMP.astype(np.uint16))
    assert df.find_depth_map("b.jpg", tmp_path / "images").samefile(path)


def test_an_image_is_not_its_own_depth_map(tmp_path):
    save_image(tmp_path / "b.png")
    with pytest.raises(ImageError) as error:
        df.find_depth_map("b.png", tmp_path, tmp_path)
    one_line(error, "b.png", "--depth-map FILE", "data.depth_maps", "depth.backend")
    with pytest.raises(ImageError) as error:
        df.find_depth_map("b.png", tmp_path)
    one_line(error, "b_depth.png")


def test_digests_follow_the_content(tmp_path):
    records = [types.SimpleNamespace(file_name=name) for name in ("a.jpg", "b.jpg")]
    save_map(tmp_path / "a.npy", RAMP)
    first = df.depth_map_digests(records, tmp_path, tmp_path)
    assert first["b.jpg"] is None and first["a.jpg"]
    save_map(tmp_path / "a.npy", RAMP + 1)
    assert df.depth_map_digests(records, tmp_path, tmp_path)["a.jpg"] != first["a.jpg"]


# ---- reading


@pytest.mark.parametrize("name", ["d.png", "d.tif", "d.npy"])
def test_formats_give_the_same_values(tmp_path, name):
    values = (RAMP * 1000).astype(np.uint16)
    assert np.array_equal(df.read_raw(save_map(tmp_path / name, values)), values.astype(np.float32))


def test_float_formats_keep_nan(tmp_path):
    values = RAMP.copy()
    values[3, 4] = np.nan
    for name in ("f.tif", "f.npy"):
        assert np.array_equal(df.read_raw(save_map(tmp_path / name, values)), values, equal_nan=True)


def test_grey_saved_as_colour_is_read_and_a_colour_map_is_not(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(df.read_raw(save_map(tmp_path / "g.png", np.repeat(grey[..., None], 3, 2))), grey)
    assert np.array_equal(df.read_raw(save_map(tmp_path / "n.npy", grey[..., None])), grey)
    coloured = np.stack([grey, grey[::-1], grey], axis=2)
    with pytest.raises(ImageError) as error:
        df.read_raw(save_map(tmp_path / "c.png", coloured))
    one_line(error, "c.png", "single channel", "colour-mapped")
    Image.fromarray(coloured).quantize(32).save(tmp_path / "palette.png")
    with pytest.raises(ImageError):
        df.read_raw(tmp_path / "palette.png")


def test_damaged_files(tmp_path):
    for name in ("d.png", "d.npy"):
        path = save_map(tmp_path / name, np.random.default_rng(0).integers(0, 65535, (64, 64), dtype=np.uint16))
        path.write_bytes(path.read_bytes()[:600])
        with pytest.raises(ImageError) as error:
            df.read_raw(path)
        one_line(error, name)
        with pytest.raises(ImageError, match="does not exist"):
            df.read_raw(tmp_path / "none" / name)
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "s.npy", np.array(["text"]))
    np.save(tmp_path / "v.npy", np.zeros((2, 3, 4, 5)))
    for name in ("o.npy", "s.npy", "v.npy"):
        with pytest.raises(ImageError) as error:
            df.read_raw(tmp_path / name)
        one_line(error, name)


# ---- normalising


def test_metric_is_min_max():
    depth = df.normalise_depth(RAMP, "metric").depth
    assert depth.dtype == np.float32
    assert np.allclose(depth, (RAMP - 1) / 4, atol=1e-6)
    assert np.allclose(df.normalise_depth(RAMP * 1000 + 7, "metric").depth, depth, atol=1e-5)


def test_inverse_depth_is_turned_affinely_or_by_reciprocal():
    near_is_large = 1 / RAMP
    affine = df.normalise_depth(near_is_large, "inverse", "affine").depth
    assert affine.flat[0] == 0 and affine.flat[-1] == 1
    low, high = near_is_large.min(), near_is_large.max()
    assert np.allclose(affine, (high - near_is_large) / (high - low), atol=1e-6)
    assert np.allclose(df.normalise_depth(near_is_large, "inverse", "reciprocal").depth, (RAMP - 1) / 4, atol=1e-5)
    assert np.abs(affine - (RAMP - 1) / 4).max() > 0.1  # the two are not the same geometry


def test_reciprocal_is_bounded_and_refuses_negative_values():
    disparity = np.array([[0.0, 1e-6, 0.5, 1.0]])
    depth = df.normalise_depth(disparity, "inverse", "reciprocal").depth
    assert depth[0, 0] == depth[0, 1] == 1
    assert depth[0, 2] == pytest.approx((2 - 1) / (df.RECIPROCAL_RANGE - 1))
    for wrong in (disparity - 0.2, np.zeros((2, 2)) - 1):
        with pytest.raises(ImageError, match="above 0"):
            df.normalise_depth(wrong, "inverse", "reciprocal")
    assert df.normalise_depth(disparity - 0.2, "inverse", "affine").depth[0, 3] == 0


def test_flat_map_is_zero_and_all_holes_is_refused():
    assert (df.normalise_depth(np.full((4, 5), 3.0), "metric").depth == 0).all()
    for holes, raw in (
        ("zero", np.zeros((4, 5))),
        ("none", np.full((4, 5), np.nan)),
        ("zero", np.full((2, 2), np.inf)),
    ):
        with pytest.raises(ImageError, match="no reading"):
            df.normalise_depth(raw, "metric", holes=holes)


def test_clip_takes_off_what_a_few_wrong_readings_would_squeeze():
    raw = RAMP.copy()
    raw[0, :2], raw[-1, -1] = 900, 0.001
    squeezed = df.normalise_depth(raw, "metric").depth
    clipped = df.normalise_depth(raw, "metric", clip=0.002).depth
    inside = np.s_[1:-1]
    assert np.ptp(squeezed[inside]) < 0.01
    assert np.ptp(clipped[inside]) > 0.9
    assert clipped.min() == 0 and clipped.max() == 1


@pytest.mark.parametrize("marker", [0.0, np.nan, np.inf])
@pytest.mark.parametrize("convention", ["metric", "inverse"])
def test_holes_are_filled_and_change_nothing_else(marker, convention):
    raw = RAMP if convention == "metric" else 1 / RAMP
    holed = raw.copy()
    holed[20:24, 30:36] = marker
    whole = df.normalise_depth(raw, convention, holes="zero").depth
    filled = df.normalise_depth(holed, convention, holes="zero").depth
    valid = np.ones(raw.shape, bool)
    valid[20:24, 30:36] = False
    assert np.array_equal(filled[valid], whole[valid])
    assert np.abs(filled - whole).max() < 0.1  # the ramp goes on across the hole


def test_holes_beside_an_object_take_the_background():
    depth = np.full((60, 60), 0.9, np.float32)
    depth[20:40, 20:40] = 0.2
    valid = np.ones(depth.shape, bool)
    valid[20:40, 14:20] = False  # the sensor's shadow at the object's left
    filled = df.fill_holes(np.where(valid, depth, 0), valid)
    assert np.allclose(filled, depth)
    inner = np.ones(depth.shape, bool)
    inner[26:30, 26:34] = False  # a gloss on the object itself
    assert np.allclose(df.fill_holes(np.where(inner, depth, 0), inner), depth)


def test_one_wrong_reading_does_not_fill_a_hole():
    depth = np.full((40, 40), 0.5, np.float32)
    depth[9, 20] = 1.0
    valid = np.ones(depth.shape, bool)
    valid[10:20, 15:26] = False
    assert np.abs(df.fill_holes(depth, valid)[10:20, 15:26] - 0.5).max() == 0


def test_empty_rows_and_columns_are_filled():
    valid = np.zeros((30, 30), bool)
    valid[12, 17] = True
    assert (df.fill_holes(np.full((30, 30), 0.25, np.float32), valid) == 0.25).all()
    valid = np.ones((30, 30), bool)
    valid[:5] = False
    valid[:, :4] = False
    assert np.isfinite(df.fill_holes(RAMP[:30, :30], valid)).all()


# ---- the whole way


def test_depth_of_image(tmp_path):
    save_image(tmp_path / "images/b.jpg")
    save_map(tmp_path / "depth/b.png", (RAMP * 1000).astype(np.uint16))
    depth = df.depth_of_image("b.jpg", tmp_path / "images", tmp_path / "depth", DepthConfig(size=32)).depth
    assert depth.shape == (32, 32)
    assert depth.dtype == np.float32
    assert 0 <= depth.min() < 0.05 and 0.95 < depth.max() <= 1
    assert (np.diff(depth, axis=0) > 0).all()
    turned = df.depth_of_image(
        "b.jpg", tmp_path / "images", tmp_path / "depth", DepthConfig(size=32, kind="inverse", clip=0.0)
    ).depth
    assert (np.diff(turned, axis=0) < 0).all()


@pytest.mark.parametrize("hw", [(24, 32), (480, 640), (47, 63)])
def test_another_resolution_of_the_same_view_is_taken(tmp_path, hw):
    path = save_map(tmp_path / "d.npy", np.ones(hw, np.float32))
    assert df.load_depth_map(path, image_hw=(48, 64), size=16).depth.shape == (16, 16)


def test_another_shape_is_refused_with_both_sizes(tmp_path):
    path = save_map(tmp_path / "d.npy", np.ones((48, 48), np.float32))
    with pytest.raises(ImageError) as error:
        df.load_depth_map(path, image_hw=(48, 64), size=16)
    one_line(error, "d.npy", "48 x 48", "48 x 64", "same view")


def test_a_map_that_was_not_turned_with_its_image_says_so(tmp_path):
    block = Image.Exif()
    block[0x0112] = 6
    save_image(tmp_path / "images/b.jpg", exif=block)  # stored 48 x 64, shown 64 x 48
    save_map(tmp_path / "depth/b.npy", RAMP)
    with pytest.raises(ImageError) as error:
        df.depth_of_image("b.jpg", tmp_path / "images", tmp_path / "depth", DepthConfig(size=16))
    one_line(error, "EXIF", "48 x 64", "64 x 48")
    save_map(tmp_path / "depth/b.npy", np.rot90(RAMP, -1).copy())
    assert df.depth_of_image("b.jpg", tmp_path / "images", tmp_path / "depth", DepthConfig(size=16)).depth.shape == (
        16,
        16,
    )


def test_errors_of_the_values_name_the_file(tmp_path):
    path = save_map(tmp_path / "zeros.npy", np.zeros((48, 64), np.float32))
    with pytest.raises(ImageError) as error:
        df.load_depth_map(path, image_hw=(48, 64), size=16)
    one_line(error, "zeros.npy", "no reading")
