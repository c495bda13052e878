"""The embedded features: kernel values, background drawn together, objects apart."""

import cv2
import numpy as np
import pytest

from cuts3d_cli.backends import features_kernel as fk
from cuts3d_cli.backends.base import feature_backend
from cuts3d_cli.config import FeaturesConfig

SIZE, PATCH = 240, 8
GRID = SIZE // PATCH
RED, GREEN = (200, 30, 30), (30, 160, 40)


@pytest.fixture(scope="module")
def scene():
    """A grey wall over a brown table; two red boxes and a green one on it."""
    rng = np.random.default_rng(0)
    image = np.full((SIZE, SIZE, 3), (170, 175, 180), np.uint8)
    image[96:] = (150, 110, 70)
    image = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    for (top, left), colour in {(80, 40): RED, (120, 100): RED, (100, 170): GREEN}.items():
        image[top : top + 48, left : left + 40] = colour
    return image


def backend(**changes):
    return feature_backend(FeaturesConfig(image_size=SIZE, patch_size=PATCH, **changes))


def affinity(features):
    flat = features.reshape(features.shape[0], -1).T
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    return flat @ flat.T


def at(y, x):
    """Flat index of the patch that holds a pixel."""
    return y // PATCH * GRID + x // PATCH


def test_shape_dtype_and_determinism(scene):
    features = backend(kernel_dims=32).extract(scene)
    assert features.shape == (32, GRID, GRID)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert np.array_equal(features, backend(kernel_dims=32).extract(scene.copy()))


def test_cosine_is_the_gaussian_kernel_of_the_descriptors(scene):
    width = 7.0
    one = backend(kernel_width=width)
    points = one.descriptors(scene).reshape(GRID * GRID, -1).astype(np.float64)
    squared = ((points[:, None] - points[None]) ** 2).sum(-1)
    assert np.abs(affinity(one.extract(scene)) - np.exp(-squared / (2 * width**2))).max() < 0.02


def test_same_objects_are_alike_and_unlike_ones_are_not(scene):
    weights = affinity(backend().extract(scene))
    red, red_too, green, wall, table = at(100, 60), at(140, 120), at(120, 190), at(30, 120), at(220, 120)
    assert weights[red, red_too] > 0.9
    assert weights[wall, table] > 0.9  # background, whatever its colour
    assert max(weights[red, green], weights[red, wall], weights[red, table], weights[green, table]) < 0.05


def test_background_is_drawn_together_only_when_asked(scene):
    wall, table = at(30, 120), at(220, 120)
    assert affinity(backend(kernel_background=0.0).extract(scene))[wall, table] < 0.1
    colour = backend(kernel_background=0.0, kernel_lightness=1.0).descriptors(scene)
    plain = fk.patch_colour(scene, GRID)
    differences = np.linalg.norm(colour[..., :3] - colour[0, 0, :3], axis=2)
    assert np.allclose(differences, np.linalg.norm(plain - plain[0, 0], axis=2), atol=1e-3)


def test_foreground_is_what_the_border_does_not_reach(scene):
    far = fk.foreground(fk.patch_colour(scene, GRID))
    assert far.min() == 0 and far.max() == 1
    boxes = np.zeros((SIZE, SIZE), np.uint8)
    for top, left in ((80, 40), (120, 100), (100, 170)):
        boxes[top : top + 48, left : left + 40] = 1
    inside = cv2.resize(cv2.erode(boxes, np.ones((17, 17))), (GRID, GRID), interpolation=cv2.INTER_NEAREST) > 0
    outside = cv2.resize(cv2.dilate(boxes, np.ones((33, 33))), (GRID, GRID), interpolation=cv2.INTER_NEAREST) == 0
    assert far[inside].min() > 0.9
    assert np.median(far[outside]) < 0.05
    assert far[outside].mean() < 0.1


def test_an_object_cut_off_by_the_border_stays_foreground():
    image = np.full((SIZE, SIZE, 3), 128, np.uint8)
    image[180:, 100:150] = RED  # 6 of 116 border patches
    assert fk.foreground(fk.patch_colour(image, GRID))[-1, 15] > 0.9
    image[120:] = RED  # half of the border: a floor
    assert fk.foreground(fk.patch_colour(image, GRID))[-1, 15] == 0


def test_ncut_finds_an_object_first(scene):
    """What the features are for: NCut's foreground is boxes, not wall or table, and its seed's part is one box."""
    from cuts3d_cli.config import resolve
    from cuts3d_cli.core.find_instances import find_instances

    large = cv2.resize(scene, (2 * SIZE, 2 * SIZE), interpolation=cv2.INTER_NEAREST)
    features = backend().extract(large)
    boxes = np.zeros((3, 2 * GRID, 2 * GRID), bool)
    for box, (top, left) in zip(boxes, [(80, 40), (120, 100), (100, 170)], strict=True):
        box[top // 4 : top // 4 + 12, left // 4 : left // 4 + 10] = True
    settings = resolve({"preset": "maskcut", "localcut": {"n_instances": 1, "exclude": "nodes"}}).localcut.model_dump()
    everything = find_instances(features, **settings | {"component": "none"}).instance[0]
    assert (everything & boxes.any(axis=0)).sum() > 0.8 * everything.sum()
    one = find_instances(features, **settings | {"component": "seed"}).instance[0]
    assert max((one & box).sum() / (one | box).sum() for box in boxes) > 0.7


@pytest.mark.parametrize("value", [0, 255])
def test_a_flat_image_is_one_surface(value):
    features = backend().extract(np.full((SIZE, SIZE, 3), value, np.uint8))
    assert np.allclose(affinity(features), 1, atol=1e-5)


def test_mirrored_image_gives_mirrored_affinity(scene):
    index = np.arange(GRID * GRID).reshape(GRID, GRID)[:, ::-1].ravel()
    mirrored = affinity(backend().extract(np.ascontiguousarray(scene[:, ::-1])))
    assert np.abs(mirrored[np.ix_(index, index)] - affinity(backend().extract(scene))).max() < 0.05


@pytest.mark.parametrize("grid", [1, 2, 3])
def test_tiny_grids(grid):
    image = np.random.default_rng(0).integers(0, 256, (grid * 16, grid * 16, 3), dtype=np.uint8)
    features = feature_backend(FeaturesConfig(image_size=grid * 16, patch_size=16, kernel_dims=16)).extract(image)
    assert features.shape == (16, grid, grid)
    assert np.isfinite(features).all()
    assert (np.linalg.norm(features, axis=0) > 0.5).all()


def test_factor_is_exact_at_full_rank_and_never_far_off():
    points = np.random.default_rng(0).normal(size=(80, 3))
    kernel = np.exp(-0.5 * ((points[:, None] - points[None]) ** 2).sum(-1))
    full = fk.gaussian_factor(points, 80)
    assert np.allclose(full @ full.T, kernel, atol=1e-5)
    errors = [np.abs(f @ f.T - kernel).max() for f in (fk.gaussian_factor(points, r) for r in (5, 20, 60))]
    assert errors[0] > errors[1] > errors[2]
    few = fk.gaussian_factor(np.repeat(points[:4], 20, axis=0), 30)
    assert (few[:, 4:] == 0).all()
