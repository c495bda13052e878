"""Values of depth maps: holes found and filled, turned, normalised, and what is odd about them noted."""

import numpy as np
import pytest

from cuts3d_cli.backends import depth_values as dv
from cuts3d_cli.config import DepthConfig
from cuts3d_cli.errors import ImageError

RAMP = np.linspace(1, 5, 48 * 64).reshape(48, 64).astype(np.float32)


def test_metric_is_min_max():
    depth = dv.normalise_depth(RAMP, "metric").depth
    assert depth.dtype == np.float32
    assert np.allclose(depth, (RAMP - 1) / 4, atol=1e-6)
    assert np.allclose(dv.normalise_depth(RAMP * 1000 + 7, "metric").depth, depth, atol=1e-5)


def test_inverse_depth_is_turned_affinely_or_by_reciprocal():
    near_is_large = 1 / RAMP
    affine = dv.normalise_depth(near_is_large, "inverse", "affine").depth
    assert affine.flat[0] == 0 and affine.flat[-1] == 1
    low, high = near_is_large.min(), near_is_large.max()
    assert np.allclose(affine, (high - near_is_large) / (high - low), atol=1e-6)
    assert np.allclose(dv.normalise_depth(near_is_large, "inverse", "reciprocal").depth, (RAMP - 1) / 4, atol=1e-5)
    assert np.abs(affine - (RAMP - 1) / 4).max() > 0.1  # the two are not the same geometry


def test_reciprocal_is_bounded_and_refuses_negative_values():
    disparity = np.array([[0.0, 1e-6, 0.5, 1.0]])
    depth = dv.normalise_depth(disparity, "inverse", "reciprocal").depth
    assert depth[0, 0] == depth[0, 1] == 1
    assert depth[0, 2] == pytest.approx((2 - 1) / (dv.RECIPROCAL_RANGE - 1))
    for wrong in (disparity - 0.2, np.zeros((2, 2)) - 1):
        with pytest.raises(ImageError, match="above 0"):
            dv.normalise_depth(wrong, "inverse", "reciprocal")
    assert dv.normalise_depth(disparity - 0.2, "inverse", "affine").depth[0, 3] == 0


def test_flat_map_is_zero_and_all_holes_is_refused():
    assert (dv.normalise_depth(np.full((4, 5), 3.0), "metric").depth == 0).all()
    for holes, raw in (
        ("zero", np.zeros((4, 5))),
        ("none", np.full((4, 5), np.nan)),
        ("zero", np.full((2, 2), np.inf)),
    ):
        with pytest.raises(ImageError, match="no reading"):
            dv.normalise_depth(raw, "metric", holes=holes)


def test_clip_takes_off_what_a_few_wrong_readings_would_squeeze():
    raw = RAMP.copy()
    raw[0, :2], raw[-1, -1] = 900, 0.001
    squeezed = dv.normalise_depth(raw, "metric").depth
    clipped = dv.normalise_depth(raw, "metric", clip=0.002).depth
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
    whole = dv.normalise_depth(raw, convention, holes="zero").depth
    filled = dv.normalise_depth(holed, convention, holes="zero").depth
    valid = np.ones(raw.shape, bool)
    valid[20:24, 30:36] = False
    assert np.array_equal(filled[valid], whole[valid])
    assert np.abs(filled - whole).max() < 0.1  # the ramp goes on across the hole


def test_holes_beside_an_object_take_the_background():
    depth = np.full((60, 60), 0.9, np.float32)
    depth[20:40, 20:40] = 0.2
    valid = np.ones(depth.shape, bool)
    valid[20:40, 14:20] = False  # the sensor's shadow at the object's left
    filled = dv.fill_holes(np.where(valid, depth, 0), valid)
    assert np.allclose(filled, depth)
    inner = np.ones(depth.shape, bool)
    inner[26:30, 26:34] = False  # a gloss on the object itself
    assert np.allclose(dv.fill_holes(np.where(inner, depth, 0), inner), depth)


def test_one_wrong_reading_does_not_fill_a_hole():
    depth = np.full((40, 40), 0.5, np.float32)
    depth[9, 20] = 1.0
    valid = np.ones(depth.shape, bool)
    valid[10:20, 15:26] = False
    assert np.abs(dv.fill_holes(depth, valid)[10:20, 15:26] - 0.5).max() == 0


def test_empty_rows_and_columns_are_filled():
    valid = np.zeros((30, 30), bool)
    valid[12, 17] = True
    assert (dv.fill_holes(np.full((30, 30), 0.25, np.float32), valid) == 0.25).all()
    valid = np.ones((30, 30), bool)
    valid[:5] = False
    valid[:, :4] = False
    assert np.isfinite(dv.fill_holes(RAMP[:30, :30], valid)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.float64])
def test_metric_depth_below_zero_is_a_hole_and_told(dtype):
    whole = (RAMP * 1000).astype(dtype)
    marked = whole.copy()
    marked[20:24, 30:36] = -1
    found, expected = dv.normalise_depth(marked, "metric", holes="zero"), np.where(marked == -1, 0, marked)
    zeros = dv.normalise_depth(expected, "metric", holes="zero")
    assert np.array_equal(found.depth, zeros.depth) and np.array_equal(found.reading, zeros.reading)
    assert found.notes == (dv.NEGATIVE,) and not zeros.notes
    assert found.near_far[0] == whole.min()
    assert dv.normalise_depth(marked, "metric", holes="none").reading.all()  # as the setting says
    assert dv.normalise_depth(marked, "inverse", holes="zero").reading.all()  # known up to a shift
    with pytest.raises(ImageError, match=r"no readings; expected finite values above 0.*sign"):
        dv.normalise_depth(-whole, "metric", holes="zero")


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.uint8, np.float16, np.float32])
def test_the_largest_value_of_a_type_far_above_all_others_is_a_hole_and_told(dtype):
    whole = (RAMP * 20).astype(dtype)
    top = dv.NOTHING_HIT if dtype == np.float32 else np.finfo(dtype).max if dtype == np.float16 else np.iinfo(dtype).max
    marked = whole.copy()
    marked[20:24, 30:36] = top
    found = dv.normalise_depth(marked, "metric", holes="zero")
    holed = dv.normalise_depth(np.where(marked == top, 0, marked), "metric", holes="zero")
    assert np.array_equal(found.depth, holed.depth) and np.array_equal(found.reading, holed.reading)
    assert found.notes == (dv.SENTINEL,)
    assert dv.normalise_depth(marked, "metric", holes="none").reading.all()


def test_sixteen_bits_kept_in_more():
    marked = (RAMP * 1000).astype(np.int32)
    marked[:3] = 65535
    assert dv.normalise_depth(marked, "metric", holes="zero").notes == (dv.SENTINEL,)


def test_the_largest_value_may_be_a_distance():
    """It is kept where the scene reaches up to it, or nearly all of the map has it; told only where it is frequent."""
    up_to_it = np.linspace(0, 255, 48 * 64).reshape(48, 64).astype(np.uint8)
    found = dv.normalise_depth(up_to_it, "metric", holes="zero")
    assert not found.notes and found.reading[-1, -1]
    saturated = np.clip(up_to_it.astype(int) * 2, 0, 255).astype(np.uint8)
    background = np.full((48, 64), 255, np.uint8)
    background[10:20, 10:30] = 80
    for values, kind in ((saturated, "metric"), (background, "metric"), (background, "inverse")):
        found = dv.normalise_depth(values, kind, holes="zero")
        assert found.notes == (dv.LARGEST,) and found.reading[values == 255].all()


@pytest.mark.parametrize("raw", [np.full((48, 64), 3.0), np.ones((1, 1)), np.full((4, 4), 65535, np.uint16)])
def test_a_constant_map_is_told(raw):
    assert dv.CONSTANT in dv.normalise_depth(raw, "metric", holes="zero").notes
    assert not dv.normalise_depth(RAMP, "metric", holes="zero").notes


def test_values_beyond_single_precision_are_holes_without_a_warning():
    raw = RAMP.astype(np.float64)
    raw[3, 4] = 1e300
    assert not dv.normalise_depth(raw, "metric", holes="zero").reading[3, 4]


def test_what_an_array_masks_is_a_hole():
    mask = np.zeros(RAMP.shape, bool)
    mask[10:20, 5:9] = True
    config = DepthConfig(size=48, clip=0)
    wrong = np.where(mask, 900, RAMP)
    masked = dv.depth_of_array(np.ma.array(wrong, mask=mask), (48, 64), config)
    holed = dv.depth_of_array(np.where(mask, np.nan, RAMP), (48, 64), config)
    for ours, theirs in zip(masked[:3], holed[:3], strict=True):
        assert np.array_equal(ours, theirs)
    colours = np.ma.array(np.stack([wrong] * 3, axis=2), mask=np.stack([mask, mask & False, mask], axis=2))
    assert np.array_equal(dv.depth_of_array(colours, (48, 64), config).depth, masked.depth)
    for plain in (np.ma.array(RAMP), np.ma.array(RAMP[None], mask=False)):
        assert np.array_equal(dv.depth_of_array(plain, (48, 64), config).depth,
                              dv.depth_of_array(RAMP, (48, 64), config).depth)  # fmt: skip


@pytest.mark.parametrize(("orientation", "hw"), [(3, (48, 64)), (2, (48, 64)), (6, (48, 48)), (8, (48, 48))])
def test_an_exif_rotation_that_the_shape_does_not_tell_is_noted(orientation, hw):
    values = RAMP[::-1, : hw[1]]
    config = DepthConfig(size=16)
    assert dv.depth_of_array(values, hw, config, orientation=orientation).notes == (dv.UNTURNED,)
    assert not dv.depth_of_array(values, hw, config).notes
    upright = np.rot90(RAMP)
    assert not dv.depth_of_array(upright, (64, 48), config, orientation=6).notes  # the shape tells


def kinds(values, kind="metric"):
    return dv.depth_of_array(values, values.shape, DepthConfig(size=16, kind=kind)).notes


def test_depth_of_the_other_direction_is_told():
    """The bottom of an image is nearer than its top, with few exceptions."""
    metric = RAMP[::-1]
    assert not kinds(metric) and kinds(metric, "inverse") == (dv.DIRECTION,)
    assert not kinds(1 / metric, "inverse") and kinds(1 / metric) == (dv.DIRECTION,)
    sideways = np.tile(np.linspace(1, 5, 64), (48, 1))
    assert not kinds(sideways) and not kinds(sideways, "inverse")


def test_depth_in_a_coarse_unit_is_told():
    assert kinds(np.rint(RAMP[::-1]).astype(np.uint16) + 1) == (dv.COARSE,)
    assert kinds(np.ones((48, 64), np.uint8)) == (dv.CONSTANT, dv.COARSE)
    assert kinds(np.full((48, 64), 700)) == (dv.CONSTANT,)  # a wall, in millimetres


@pytest.mark.parametrize(
    ("marker", "convention", "note"),
    [
        (60000, "metric", dv.APART),
        (1e9, "metric", dv.APART),
        (1e9, "inverse", dv.APART),
        (-1, "inverse", dv.BELOW),
        (1900, "metric", None),
    ],
)
def test_a_value_that_many_pixels_share_far_from_all_others_is_noted(marker, convention, note):
    values = np.linspace(500, 1000, 2500).reshape(50, 50)
    values[10:20, 10:20] = marker
    found = dv.normalise_depth(values, convention, holes="zero")
    assert found.notes == (() if note is None else (note,)) and found.reading.all()
    values[10:20, 11:] = 700  # ten pixels alone
    assert dv.normalise_depth(values, convention, holes="zero").notes == ()
    assert dv.normalise_depth(values, convention, holes="none").notes == ()
