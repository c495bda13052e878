import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as mask_api

from cuts3d_cli.store import segmentations
from cuts3d_cli.store.segmentations import (
    Fault,
    check_box,
    check_codes,
    check_polygons,
    check_runs,
    code_of,
    decode_codes,
)

MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def runs_of(mask):
    """Lengths of the runs of 0 and 1 down the columns, the first of 0."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    return np.diff(np.concatenate([[0], edges])).tolist()


def encoded(mask):
    return mask_api.encode(np.asfortranarray(mask, np.uint8))["counts"]


@given(st.lists(MASKS, min_size=1, max_size=8))
def test_codes_are_decoded_as_pycocotools_encodes_them(masks):
    runs, first = decode_codes([encoded(mask) for mask in masks])
    assert [found.tolist() for found in np.split(runs, first[1:])] == list(map(runs_of, masks))
    assert check_codes([code_of(encoded(mask)) for mask in masks], [mask.size for mask in masks]) == {}


def test_large_runs():
    mask = np.zeros((3000, 4000), bool)
    mask[5:2900, 7:3900] = True
    runs, _ = decode_codes([encoded(mask)])
    assert runs.tolist() == runs_of(mask)


@given(st.binary(max_size=30))
def test_whatever_is_taken_is_what_pycocotools_makes_of_it(code):
    """Any code that passes is a mask, and the mask has that code's runs."""
    try:
        code = code_of(bytes(48 + byte % 64 for byte in code))
    except Fault:
        return
    runs, _ = decode_codes([code])
    if check_codes([code], [12 * 9]):
        return
    mask = mask_api.decode({"size": [12, 9], "counts": code})
    assert runs_of(mask) == runs.tolist() or runs.tolist() == [108]


def test_faults_have_the_place_of_their_code(monkeypatch):
    right = encoded(np.eye(9, dtype=bool))
    codes = [right, encoded(np.eye(8, dtype=bool)), right] * 50
    assert set(check_codes(codes, [81] * 150)) == set(range(1, 150, 3))
    monkeypatch.setattr(segmentations, "_BATCH", 64)
    assert set(check_codes(codes, [81] * 150)) == set(range(1, 150, 3))
    assert set(check_codes([right, right], [81, 80])) == {1}


@pytest.mark.parametrize(
    "counts", ["", "a b", "é", "?é", "0P", "oooooooooooo", "\x01zz~", None, 7, {}, b"\xff", "0" + "\0"]
)
def test_no_codes(counts):
    with pytest.raises(Fault, match="counts"):
        code_of(counts)


def test_a_number_too_long_is_a_fault():
    assert "negative" in check_codes([b"P" * 12 + b"0"], [81])[0].found


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        ([50, 31, 1], "a sum of 82"),
        ([81, 0], "an empty run"),
        ([40, 0, 41], "an empty run"),
        ([91, -10], "a negative run"),
        ([10**30], "a sum beyond any image"),
        ([], "an empty list"),
        ([True, 80], "true"),
        ([81.0], "81.0"),
        (["81"], 'the string "81"'),
        ([None], "null"),
    ],
)
def test_wrong_runs(runs, told):
    check_runs([0, 81], 81)
    check_runs([81], 81)
    with pytest.raises(Fault) as caught:
        check_runs(runs, 81)
    assert told in caught.value.found


def test_how_far_polygons_reach_outside():
    assert check_polygons([[0, 0, 20, 0, 20, 10]], (10, 20)) == 0
    assert check_polygons([[0, 0, 20, 0, 20, 10], [-1.5, 0, 20, 0, 20, 11]], (10, 20)) == 1.5
    for polygon in ([0, -2.1, 20, 0, 20, 10], [0, 0, 22.1, 0, 20, 10], [0, 0, 20, 0, 20, 12.1], [-2.1, 0, 2, 0, 2, 2]):
        with pytest.raises(Fault, match="segmentation") as caught:
            check_polygons([polygon], (10, 20))
        assert "height 10 and width 20" in caught.value.expected
    with pytest.raises(Fault) as caught:
        check_polygons([[0, 0, 10, 0, 10, 20]], (10, 20))
    assert caught.value.hint == "height and width of the image exchanged?"


def test_boxes_may_reach_far():
    for box in ([0, 0, 0, 0], [-150, 5, 300, 3], (1, 2, 3, 4)):
        check_box(box, (10, 20))
    check_box([1e9, 1e9, 1, 1], None)
    for box in (
        [0, 0, 1],
        None,
        [1e9, 0, 1, 1],
        [0, 0, -1, 1],
        [0, 0, math.inf, 1],
        [0, 0, True, 1],
        [10**400, 0, 1, 1],
    ):
        with pytest.raises(Fault, match="bbox"):
            check_box(box, (10, 20))
