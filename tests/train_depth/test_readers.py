"""Readers of depth datasets: units, holes, mirrored files, calibration, on drawn files."""

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from cuts3d_cli.errors import Cuts3dError
from scripts.train_depth import readers
from scripts.train_depth.readers import pairs_of, project, sky


def draw(folder, image, depth_file, depth):
    """An image that is bright on the left, and its depth map."""
    rgb = np.zeros((12, 16, 3), np.uint8)
    rgb[:, :8] = 200
    for path, values in ((image, rgb), (depth_file, depth)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / path), values)


def test_nyu_is_metres_of_eight_bits_and_keeps_the_official_split(tmp_path):
    depth = np.full((12, 16), 101, np.uint8)
    for name in ("0001", "0002", "0003"):
        draw(tmp_path, f"rgb/{name}.jpg", f"depth/{name}.png", depth)
    (tmp_path / "train.txt").write_text("\n".join(["0001"] + ["0002"] * readers.NYU_HELD))
    (tmp_path / "test.txt").write_text("0003\n")
    train, held, test = (pairs_of(f"nyu={tmp_path}", part) for part in ("train", "held", "test"))
    assert [pair.key for pair in train] == ["nyu/0001"]
    assert {pair.key for pair in held} == {"nyu/0002"} and len(held) == readers.NYU_HELD
    assert [pair.key for pair in test] == ["nyu/0003"]
    np.testing.assert_allclose(1 / train[0].inverse(), 101.5 * 10 / 255, rtol=1e-6)


def test_mirrored_files_are_turned_back_in_picture_and_depth(tmp_path):
    depth = np.full((12, 16), 200, np.uint8)
    depth[:, :8] = 50
    draw(tmp_path, "nyu_images/0.jpg", "nyu_depths/0.png", depth)
    (tmp_path / "test.txt").write_text("1")
    (pair,) = pairs_of(f"nyu-mirrored={tmp_path}", "test")
    assert pair.rgb()[:, 12:].mean() > 150 > 50 > pair.rgb()[:, :4].mean()
    assert (pair.inverse()[:, 8:] > pair.inverse()[:, :8]).all()


@pytest.mark.parametrize(
    ("source", "image", "depth_file"),
    [
        ("renders", "images/a.jpg", "depth/a.png"),
        ("frames", "a.color.jpg", "a.depth.png"),
        ("frames", "a.jpg", "a_depth.png"),
        ("frames", "rgb/a.jpg", "depth/a.png"),
        ("frames", "query/rgb/a.jpg", "depth/a.png"),
    ],
)
def test_millimetres_become_inverse_metres_and_zero_a_hole(tmp_path, source, image, depth_file):
    depth = np.full((12, 16), 2000, np.uint16)
    depth[0] = 0
    draw(tmp_path, image, depth_file, depth)
    (pair,) = pairs_of(f"{source}={tmp_path}", "train")
    found = pair.inverse()
    assert np.isnan(found[0]).all() and found.dtype == np.float32
    np.testing.assert_allclose(found[1:], 0.5)
    assert pairs_of(f"{source}={tmp_path}", "test") == []


def test_middlebury_is_disparity_and_holds_scenes_back(tmp_path):
    disparity = np.full((12, 16), 640, np.uint16)
    disparity[0] = 0
    for name in ("Aloe", readers.MIDDLEBURY_HELD[0]):
        draw(tmp_path, f"rgb/{name}.jpg", f"disparity/{name}.png", disparity)
    (train,), (test,) = (pairs_of(f"middlebury={tmp_path}", part) for part in ("train", "test"))
    assert (train.key, test.key) == ("middlebury/Aloe", f"middlebury/{readers.MIDDLEBURY_HELD[0]}")
    assert np.isnan(train.inverse()[0]).all() and (train.inverse()[1:] == 10).all()


def test_mosd_is_for_testing_only(tmp_path):
    draw(tmp_path, "rgb/1.jpg", "depth_mm/1.png", np.full((12, 16), 1000, np.uint16))
    assert pairs_of(f"mosd={tmp_path}", "train") == []
    assert len(pairs_of(f"mosd={tmp_path}", "test")) == 1


def test_street_knows_no_far_value_and_sets_the_sky_farthest(tmp_path):
    image = np.full((120, 160, 3), (30, 60, 60), np.uint8)
    image[:40] = (230, 180, 140)
    depth = np.full((120, 160), 50, np.uint8)
    depth[:40] = 10  # the sky is filled with near values
    depth[-5:] = 255
    for path, values in (("left_img/1.png", image), ("depth256/1.png", depth)):
        (tmp_path / path).parent.mkdir()
        cv2.imwrite(str(tmp_path / path), values)
    (pair,) = pairs_of(f"street={tmp_path}", "train")
    found = pair.inverse()
    assert (found[:30] < np.nanmin(found[60:])).all()
    assert np.isnan(found[-5:]).all() and np.isfinite(found[60:-5]).all()


def test_sky_is_only_what_reaches_the_top():
    image = np.full((120, 160, 3), (30, 60, 60), np.uint8)
    image[80:100] = (230, 180, 140)
    assert not sky(image).any()


def test_points_project_to_cells_and_the_nearest_counts(tmp_path):
    points = np.array([[10, 0, 0, 0], [5, 0, 0, 0], [-5, 0, 0, 0], [10, 100, 0, 0]], np.float32)
    points.tofile(tmp_path / "points.bin")
    # the scanner looks along x, the camera along z; focal length 10 px, centre (8, 6)
    camera = np.array([[10, 0, 8, 0], [0, 10, 6, 0], [0, 0, 1, 0]], float)
    axes = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], float)
    found = project(tmp_path / "points.bin", camera @ axes, (12, 16), step=4)
    assert found.shape == (3, 4) and np.isfinite(found).sum() == 1
    assert found[1, 2] == pytest.approx(0.2)


def test_every_thins_and_unknown_names_are_one_line(tmp_path):
    for name in "abcd":
        draw(tmp_path, f"{name}.jpg", f"{name}_depth.png", np.full((12, 16), 1000, np.uint16))
    assert len(pairs_of(f"frames={tmp_path}:2", "train")) == 2
    for wrong in ("nowhere=x", "nyu", f"nyu={tmp_path}/missing"):
        with pytest.raises(Cuts3dError, match="dataset"):
            pairs_of(wrong, "train")
