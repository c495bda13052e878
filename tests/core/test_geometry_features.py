"""Parts by geometry: scenes drawn in perspective, whose answer is known."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.sparse import csr_array

from cuts3d_cli.core import geometry_features as gf
from cuts3d_cli.core.geometry import to_distance

GRID, FOCAL, ASPECT = 60, 0.82, 4 / 3
HEIGHT, TILT = 0.6, np.deg2rad(40)
"""Of the camera over the table, in metres, and how far it looks down."""


@dataclass(frozen=True)
class Drawn:
    """Distance (h, w) in metres and the object of each patch (h, w), 0 for the table."""

    distance: np.ndarray
    objects: np.ndarray

    @property
    def camera(self):
        return {"focal": FOCAL, "aspect": ASPECT}


def draw(*boxes):
    """Cast a ray through each patch at a table and boxes on it: (left, right), (bottom, top), (front, back) in metres,
    forward counted along the table from below the camera."""
    v, u = np.mgrid[0:GRID, 0:GRID]
    x, y = ((u + 0.5) / GRID - 0.5) / FOCAL, ((v + 0.5) / GRID - 0.5) / ASPECT / FOCAL
    ray = np.stack([x, -np.sin(TILT) - y * np.cos(TILT), np.cos(TILT) - y * np.sin(TILT)], axis=2)
    camera = np.array([0, HEIGHT, 0])
    distance = -HEIGHT / ray[..., 1]
    objects = np.zeros((GRID, GRID), int)
    for number, box in enumerate(boxes, start=1):
        low, high = np.array(box).T
        ends = np.stack([(low - camera) / ray, (high - camera) / ray])
        enter, leave = ends.min(axis=0).max(axis=2), ends.max(axis=0).min(axis=2)
        hit = (enter < leave) & (enter < distance)
        distance = np.where(hit, enter, distance)
        objects[hit] = number
    return Drawn(distance, objects)


APART = draw(((-0.25, -0.1), (0, 0.12), (0.6, 0.75)), ((0.08, 0.2), (0, 0.08), (0.55, 0.7)))
STACKED = draw(((-0.15, 0.15), (0, 0.08), (0.55, 0.85)), ((-0.06, 0.06), (0.08, 0.22), (0.68, 0.78)))
BEHIND = draw(((-0.15, 0.05), (0, 0.1), (0.5, 0.58)), ((-0.05, 0.15), (0, 0.2), (0.7, 0.78)))
BESIDE = draw(((-0.15, 0), (0, 0.1), (0.6, 0.75)), ((0, 0.15), (0, 0.1), (0.6, 0.75)))
ONE_BOX = draw(((-0.15, 0.05), (0, 0.15), (0.55, 0.75)))


def ious(parts, objects):
    """(objects, parts) IoU."""
    a = objects == np.arange(1, objects.max() + 1)[:, None, None]
    b = parts == np.arange(1, parts.max() + 1)[:, None, None]
    both = (a[:, None] & b[None]).sum(axis=(2, 3))
    return both / (a[:, None] | b[None]).sum(axis=(2, 3))


@pytest.mark.parametrize("scene", [APART, STACKED, BEHIND, ONE_BOX], ids=["apart", "stacked", "behind", "one box"])
def test_each_box_is_one_part(scene):
    parts = gf.scene_parts(scene.distance, **scene.camera)
    found = ious(parts, scene.objects)
    assert parts.max() == scene.objects.max()
    assert (found.max(axis=1) > 0.75).all()
    sizes = np.bincount(parts.ravel())[1:]
    assert (np.diff(sizes) <= 0).all()  # large ones first


@pytest.mark.parametrize("unit", [1000, 0.001, 3.28])
def test_the_unit_does_not_matter(unit):
    for scene in (APART, STACKED):
        ours = gf.scene_parts(scene.distance, **scene.camera)
        assert (gf.scene_parts(unit * scene.distance, **scene.camera) == ours).all()


def test_noise_of_a_sensor_does_not_matter():
    rng = np.random.default_rng(0)
    for scene in (APART, STACKED, BEHIND):
        noisy = scene.distance * (1 + 0.0005 * rng.standard_normal(scene.distance.shape))
        assert (ious(gf.scene_parts(noisy, **scene.camera), scene.objects).max(axis=1) > 0.7).all()


@pytest.mark.parametrize("assumed", [1.8, 3.0, 5.0])
def test_inverse_depth_of_unknown_scale_and_shift_will_do(assumed):
    inverse = 1 / STACKED.distance
    depth = (inverse.max() - inverse) / (inverse.max() - inverse.min())
    distance = to_distance(depth, np.array([np.nan, np.nan]), relative_range=assumed)
    assert distance.min() == pytest.approx(1) and distance.max() == pytest.approx(assumed)
    assert (ious(gf.scene_parts(distance, **STACKED.camera), STACKED.objects).max(axis=1) > 0.7).all()


def test_holes_are_background_and_leave_the_rest():
    distance = APART.distance.copy()
    distance[:, :6] = np.nan
    distance[APART.objects == 2] = np.nan
    parts = gf.scene_parts(distance, **APART.camera)
    assert (parts[np.isnan(distance)] == 0).all()
    assert parts.max() == 1 and ious(parts, APART.objects)[0, 0] > 0.75


def test_a_scene_without_objects_or_readings_has_no_part():
    for distance in (draw().distance, np.full((20, 30), 2.0), np.full((20, 30), np.nan)):
        assert (gf.scene_parts(distance, **APART.camera) == 0).all()
    few = np.full((20, 30), np.nan)
    few[3, 4:6] = 1.0
    assert (gf.scene_parts(few, **APART.camera) == 0).all()


def test_without_a_main_plane_everything_stands():
    rough = 1 + np.random.default_rng(0).random((20, 20))
    points = gf.unproject(rough, focal=FOCAL, aspect=1)
    assert gf.main_plane(points.reshape(-1, 3)) is None
    assert gf.scene_parts(rough, focal=FOCAL, aspect=1).shape == rough.shape


def test_features_are_one_channel_a_part():
    features = gf.geometry_features(APART.distance, **APART.camera, channels=8)
    assert features.shape == (8, GRID, GRID) and features.dtype == np.float32
    assert (features.sum(axis=0) == 1).all()
    assert (features.argmax(axis=0) == gf.scene_parts(APART.distance, **APART.camera)).all()
    largest = gf.geometry_features(APART.distance, **APART.camera, channels=2)
    assert (largest[1] == features[1]).all() and (largest.sum(axis=0) == 1).all()


def test_what_a_vit_tells_apart_is_parted_where_geometry_cannot():
    """Two boxes side by side, whose faces go on in one another."""
    assert gf.scene_parts(BESIDE.distance, **BESIDE.camera).max() == 1
    kinds = np.eye(3)[BESIDE.objects].transpose(2, 0, 1)
    parts = gf.scene_parts(BESIDE.distance, **BESIDE.camera, likeness=kinds)
    assert (ious(parts, BESIDE.objects).max(axis=1) > 0.75).all()
    alike = gf.scene_parts(BESIDE.distance, **BESIDE.camera, likeness=np.ones((4, GRID, GRID)))
    assert (alike == gf.scene_parts(BESIDE.distance, **BESIDE.camera)).all()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"distance": np.ones((4, 4, 1))}, "distance"),
        ({"focal": 0.0}, "focal"),
        ({"aspect": -1.0}, "aspect"),
        ({"distance": np.zeros((4, 4))}, "above 0"),
        ({"likeness": np.ones((3, 5, 4))}, "likeness"),
    ],
)
def test_wrong_input_is_named(changes, named):
    with pytest.raises(ValueError, match=named):
        gf.scene_parts(**{"distance": np.ones((4, 4)), "focal": 0.8, "aspect": 1.0, **changes})


# ---- the steps


def test_main_plane_is_the_table_towards_the_camera():
    for scene in (APART, STACKED):
        points = gf.unproject(scene.distance, **scene.camera)
        plane = gf.main_plane(points.reshape(-1, 3))
        assert np.allclose(plane.normal, [0, -np.cos(TILT), -np.sin(TILT)], atol=1e-3)
        assert plane.offset == pytest.approx(-HEIGHT, abs=1e-3)
        assert 0.6 < plane.share < 1
        assert plane.height(np.zeros(3)) == pytest.approx(HEIGHT, abs=1e-3)
        again = gf.main_plane(points.reshape(-1, 3))
        assert (again.normal == plane.normal).all()


def test_points_without_any_plane():
    assert gf.main_plane(np.ones((2, 3))) is None
    assert gf.main_plane(np.ones((50, 3))) is None


def test_unprojected_points_lie_on_their_rays():
    points = gf.unproject(np.full((2, 4), 2.0), focal=0.5, aspect=2.0)
    assert np.allclose(points[0, 0], [-0.375 * 2 / 0.5, -0.125 * 2 / 0.5, 2])
    tall = gf.unproject(np.full((4, 2), 2.0), focal=0.5, aspect=0.5)
    assert np.allclose(tall[0, 0, :2], points[0, 0, 1::-1])


def test_normals_are_those_of_the_planes():
    points = gf.unproject(draw().distance, **APART.camera)
    normals = gf.patch_normals(points, np.ones((GRID, GRID), bool))
    assert np.allclose(normals, [0, -np.cos(TILT), -np.sin(TILT)], atol=1e-6)


def blocks(sizes, between):
    """Graph of full blocks, neighbouring ones joined by one edge of weight ``between``."""
    n = sum(sizes)
    weights = np.zeros((n, n))
    start = 0
    for size in sizes:
        weights[start : start + size, start : start + size] = 1 - np.eye(size)
        if start:
            weights[start - 1, start] = weights[start, start - 1] = between
        start += size
    return weights


@pytest.mark.parametrize("sizes", [(12, 9), (200, 150)], ids=["dense solver", "sparse solver"])
def test_cheapest_cut_is_between_the_blocks_and_its_value_the_normalised_cut(sizes):
    weights = blocks(sizes, 0.1)
    side, value = gf.cheapest_cut(csr_array(weights), 2)
    assert sorted([side.sum(), (~side).sum()]) == sorted(sizes)
    cut, degrees = weights[side][:, ~side].sum(), weights.sum(axis=1)
    assert value == pytest.approx(cut / degrees[side].sum() + cut / degrees[~side].sum())


def test_a_side_has_the_least_size():
    side, _ = gf.cheapest_cut(csr_array(blocks((3, 30), 0.01)), 8)
    assert 8 <= side.sum() <= 25
