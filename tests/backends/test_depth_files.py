"""Depth maps of images: found by their names, and taken with them; or one line that says why not."""

import types

import numpy as np
import pytest
from PIL import Image

from cuts3d_cli.backends import depth_files as df
from cuts3d_cli.backends.depth_values import UNTURNED
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


@pytest.mark.parametrize(
    "name",
    ["b.png", "b.npy", "b.tif", "b.tiff", "b_depth.png", "b-depth.npy", "b.pfm", "b.NPZ", "b_depth.exr", "b.PNG"],
)
def test_found_in_a_folder_under_the_same_relative_path(tmp_path, name):
    save_image(tmp_path / "images/a/b.jpg")
    path = tmp_path / "depth/a" / name
    path.parent.mkdir(parents=True)
    path.touch()
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


@pytest.mark.parametrize(
    "place",
    [
        "images/b.npy",
        "images/b_depth.png",
        "images/b-depth.tif",
        "images/b.depth.png",
        "depth/b.png",
        "images/b.pfm",
        "images/b_depth.exr",
    ],
)
def test_without_a_folder_it_is_looked_for_beside_the_image(tmp_path, place):
    save_image(tmp_path / "images/b.jpg")
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.touch()
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
    save_image(tmp_path / "b.jpg")
    path = save_map(tmp_path / "d.npy", np.ones(hw, np.float32))
    assert df.depth_of_image("b.jpg", tmp_path, path, DepthConfig(size=16)).depth.shape == (16, 16)


def test_another_shape_is_refused_with_both_sizes(tmp_path):
    save_image(tmp_path / "b.jpg")
    path = save_map(tmp_path / "d.npy", np.ones((48, 48), np.float32))
    with pytest.raises(ImageError) as error:
        df.depth_of_image("b.jpg", tmp_path, path, DepthConfig(size=16))
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
    save_image(tmp_path / "b.jpg")
    path = save_map(tmp_path / "zeros.npy", np.zeros((48, 64), np.float32))
    with pytest.raises(ImageError) as error:
        df.depth_of_image("b.jpg", tmp_path, path, DepthConfig(size=16))
    one_line(error, "zeros.npy", "no reading")


def test_a_map_that_may_not_have_been_turned_with_its_image_is_noted(tmp_path):
    sideways = np.tile(np.linspace(1000, 5000, 64).astype(np.uint16), (48, 1))
    upside_down = Image.Exif()
    upside_down[0x0112] = 3
    save_image(tmp_path / "images/b.jpg", exif=upside_down)
    save_map(tmp_path / "depth/b.png", sideways)

    def notes():
        return df.depth_of_image("b.jpg", tmp_path / "images", tmp_path / "depth", DepthConfig(size=16)).notes

    assert notes() == (UNTURNED,)
    Image.fromarray(sideways).save(tmp_path / "depth/b.png", exif=upside_down)
    assert not notes()  # it says itself how it lies, and is turned
    save_image(tmp_path / "images/b.jpg")
    assert not notes()
