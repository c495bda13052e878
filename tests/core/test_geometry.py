from functools import partial

import numpy as np
import pytest

from cuts3d_cli.config import resolve
from cuts3d_cli.core import geometry
from cuts3d_cli.core.geometry import depth_to_grid, nearest_indices, to_background

grid_points = partial(geometry.grid_points, xy_extent=resolve().localcut.xy_extent)


def test_points_span_the_cube_and_carry_the_depth():
    depth = np.kron(np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]), np.ones((4, 4)))
    points = grid_points(depth, (2, 3), xy_extent=2.0)
    assert points.shape == (6, 3)
    assert np.allclose(points[:, 0], [0, 1, 2, 0, 1, 2]) and np.allclose(points[:, 1], [0, 0, 0, 2, 2, 2])
    assert np.allclose(points[:, 2], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def test_a_patch_on_a_depth_edge_takes_one_of_its_surfaces():
    depth = np.zeros((4, 4))
    depth[:, 1:] = 1  # one column of four is near
    assert depth_to_grid(depth, (1, 1)) == 1


@pytest.mark.parametrize("shape", [(8, 12), (7, 11), (2, 3), (3, 5), (9, 2)])
def test_any_size_reduces_to_the_grid(shape):
    """A ramp keeps its order, whatever the size; the grid's own size is kept as it is."""
    depth = np.tile(np.linspace(0, 1, shape[1]), (shape[0], 1))
    grid = depth_to_grid(depth, (2, 3))
    assert grid.shape == (2, 3) and grid.dtype == np.float32
    assert (np.diff(grid, axis=1) >= 0).all() and np.allclose(grid[0], grid[1])
    if shape == (2, 3):
        assert np.allclose(grid, depth)


def test_half_precision_depth_is_read():
    assert np.allclose(depth_to_grid(np.full((8, 8), 0.25, dtype=np.float16), (2, 2)), 0.25)


def test_points_outside_the_mask_go_to_the_plane():
    points = grid_points(np.full((2, 2), 0.5), (2, 2))
    inside = np.array([[True, False], [False, True]])
    moved = to_background(points, inside, background_z=2)
    assert moved[:, 2].tolist() == [0.5, 2, 2, 0.5]
    assert np.array_equal(moved[:, :2], points[:, :2]) and (points[:, 2] == 0.5).all()


def test_one_patch():
    assert grid_points(np.full((4, 4), 0.5), (1, 1)).tolist() == [[0, 0, 0.5]]


@pytest.mark.parametrize("bad", [np.zeros(4), np.zeros((0, 4)), np.full((4, 4), np.nan)])
def test_wrong_depth_is_refused(bad):
    with pytest.raises(ValueError, match="depth: expected"):
        grid_points(bad, (2, 2))


@pytest.mark.parametrize(("height", "grid"), [(480, 34), (100, 60), (60, 34), (480, 60), (7, 3)])
def test_a_mirrored_map_gives_a_mirrored_grid_without_a_shift(height, grid):
    ramp = np.repeat(np.arange(height, dtype=np.float32)[:, None], height, axis=1)
    found = depth_to_grid(ramp, (grid, grid))[:, 0]
    centres = (np.arange(grid) + 0.5) * height / grid - 0.5
    assert abs(np.mean(found - centres)) < 0.02 * height / grid + 1e-6
    if (height // grid) % 2:  # an even number of pixels may have its median on either side of a tie
        np.testing.assert_allclose(found[::-1], height - 1 - found, atol=0.5)


@pytest.mark.parametrize(("length", "new"), [(480, 192), (80, 30), (60, 60), (10, 25), (1, 4)])
def test_nearest_indices_are_centred(length, new):
    at = nearest_indices(length, new)
    exact = (np.arange(new) + 0.5) * length / new - 0.5
    assert at.min() >= 0 and at.max() < length and np.abs(at - exact).max() <= 0.5 + 1e-9
