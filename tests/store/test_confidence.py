"""A confidence map in an annotation: exact where a byte can name its values, else in 255 levels."""

import base64
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmarks.measuring import peak_gb, reset_peak
from cuts3d_cli.store.confidence import LEVELS, Confidence

shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=20)


@st.composite
def few_values(draw):
    """Maps of float16 values, at most 255 of them inside, such as means over T cuts."""
    inside = draw(st.lists(st.floats(2**-14, 1, width=16), min_size=1, max_size=LEVELS, unique=True))
    codes = draw(hnp.arrays(np.int64, draw(shapes), elements=st.integers(0, len(inside))))
    return np.array([0, *inside], np.float16)[codes]


def through_json(grid, sc_min=0.5):
    return Confidence.decode(json.loads(json.dumps(Confidence(grid, sc_min).encode())))


@given(few_values(), st.floats(0.01, 1))
def test_few_values_come_back_exactly(grid, sc_min):
    found = through_json(grid, sc_min)
    assert found.grid.dtype == np.float32 and found.sc_min == sc_min
    np.testing.assert_array_equal(found.grid, grid.astype(np.float32))


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=20, max_side=40),
                  elements=st.just(0) | st.floats(0.3125, 0.59375, width=32)), st.integers(0, 9))  # fmt: skip
def test_any_map_keeps_its_outline_and_range_and_is_near(grid, seed):
    where = np.random.default_rng(seed).random(grid.shape) < 0.9
    grid = np.where(where, grid + np.linspace(0, 0.4, grid.size).reshape(grid.shape) * (grid > 0), grid)
    found, stored = through_json(grid).grid, grid.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(found > 0, grid > 0)
    if grid.any():
        inside = stored[stored > 0]
        assert found[found > 0].min() == inside.min() and found.max() == inside.max()
        assert np.abs(found - stored).max() <= (inside.max() - inside.min()) / (LEVELS - 1) / 2 + 1e-6


def test_at_most_255_values_are_listed_and_more_are_levels():
    values = np.arange(1, 300, dtype=np.float16) / 512
    exact, levels = (Confidence(values[None, :n], 0.5).encode() for n in (LEVELS, LEVELS + 1))
    assert len(exact["values"]) == LEVELS and "range" not in exact
    assert levels["range"] == [1 / 512, 0.5] and "values" not in levels


def test_the_record():
    grid = np.zeros((4, 6))
    grid[1:3, 2:5] = [[0.5, 0, 1], [0.5, 0.5, 0.75]]
    record = Confidence(grid, 0.5).encode()
    assert record["size"] == [4, 6] and record["box"] == [2, 1, 3, 2] and record["sc_min"] == 0.5
    assert record["values"] == [0.5, 0.75, 1]


def test_a_map_without_anything_inside():
    assert through_json(np.zeros((3, 5))).grid.tolist() == np.zeros((3, 5)).tolist()


@pytest.mark.parametrize("grid", [np.ones(3), np.full((2, 2), np.nan), np.full((2, 2), -0.5)])
def test_what_is_no_confidence_is_refused(grid):
    with pytest.raises(ValueError, match=r"expected \(h, w\) finite and at least 0"):
        Confidence(grid, 0.5).encode()


@pytest.mark.parametrize(
    "change",
    [
        {"codes": "no base64"},
        {"codes": "AAAA"},
        {"size": [3]},
        {"size": [1, 1]},
        {"box": [0, 0, 2, 2]},
        {"values": []},
        {"values": None},
        {"sc_min": None},
        {"codes": 3},
    ],
)
def test_a_damaged_record(change):
    record = Confidence(np.full((3, 4), 0.75), 0.5).encode()
    with pytest.raises(ValueError, match="damaged confidence"):
        Confidence.decode({**record, **change})


@pytest.mark.parametrize(
    "change", [{"values": [7.0]}, {"values": [float("nan")]}, {"values": [-0.5]}, {"values": None}]
)
def test_values_that_are_no_confidence_are_damage(change):
    record = Confidence(np.full((2, 2), 0.5, np.float32), 0.5).encode() | change
    record = {key: value for key, value in record.items() if value is not None}
    with pytest.raises(ValueError, match="damaged confidence"):
        Confidence.decode(record)


@pytest.mark.parametrize(
    "change",
    [
        {"size": [10**6, 10**6]},
        {"size": [10**6, 10**6], "box": [0, 0, 10**6, 10**6]},
        {"size": [3, 10**30]},
        {"size": [-3, 4]},
        {"box": [-1, 0, 4, 3]},
        {"box": [0, -1, 4, 3]},
        {"box": [0, 0, 10**400, 3]},
        {"range": [0, float("inf")], "values": None},
        {"sc_min": float("nan")},
        {"sc_min": 7},
        {"codes": base64.b64encode(zlib.compress(bytes(10**8), 9)).decode()},
        {"codes": base64.b64encode(zlib.compress(bytes(11))).decode()},
        {"codes": base64.b64encode(zlib.compress(bytes(12))[:-2]).decode()},
    ],
)
def test_a_record_that_would_fill_the_memory_is_damage(change):
    record = {**Confidence(np.full((3, 4), 0.75), 0.5).encode(), **change}
    record = {key: value for key, value in record.items() if value is not None}
    reset_peak()
    before = peak_gb()
    with pytest.raises(ValueError, match="damaged confidence"):
        Confidence.decode(record)
    assert peak_gb() < before + 0.05
