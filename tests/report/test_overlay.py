import warnings

import numpy as np
import pytest

from cuts3d_cli.report.overlay import (
    captioned,
    colourise,
    colours,
    dimmed,
    heat_over,
    mark,
    overlay,
    panels,
    resized,
    resized_masks,
)

RNG = np.random.default_rng(0)


@pytest.fixture
def photo():
    return RNG.integers(0, 256, (120, 200, 3), np.uint8)


@pytest.fixture
def masks():
    masks = np.zeros((3, 120, 200), bool)
    masks[0, 10:110, 10:90] = True
    masks[1, 40:60, 30:50] = True  # inside the first
    masks[2, 20:100, 120:190] = True
    return masks


def test_masks_are_tinted_and_the_rest_stays(photo, masks):
    before = photo.copy()
    drawn = overlay(photo, masks, labels=False)
    np.testing.assert_array_equal(photo, before)
    assert drawn.shape == photo.shape and drawn.dtype == np.uint8
    outside = ~masks.any(0)
    outside[8:112, 8:92] = outside[18:102, 118:192] = False  # the contour may reach over
    np.testing.assert_array_equal(drawn[outside], photo[outside])
    inside = np.s_[25:95, 130:180]
    expected = 0.55 * photo[inside] + 0.45 * colours(3)[2]
    np.testing.assert_allclose(drawn[inside], expected, atol=0.51)


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0, 2]])
def test_a_small_mask_shows_on_a_large_one(photo, masks, order):
    drawn = overlay(np.full_like(photo, 255), masks[order], labels=False)
    on_both, on_large = drawn[50, 40], drawn[80, 30]
    assert np.abs(on_both.astype(int) - on_large).sum() > 40


def test_labels_name_number_and_score(photo, masks):
    plain, numbered = overlay(photo, masks, labels=False), overlay(photo, masks)
    scored, other = overlay(photo, masks, [0.9, 0.8, 0.7]), overlay(photo, masks, [0.9, 0.8, 0.6])
    assert (plain != numbered).any() and (numbered != scored).any() and (scored != other).any()
    np.testing.assert_array_equal(scored[:, :100], other[:, :100])


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_draw(photo, n):
    np.testing.assert_array_equal(overlay(photo, np.zeros((n, 120, 200), bool)), photo)


def test_masks_of_a_pixel_at_the_border(photo):
    masks = np.zeros((2, 120, 200), bool)
    masks[0, 0, 0] = masks[1, 119, 199] = True
    assert overlay(photo, masks, [1, 0]).shape == photo.shape


@pytest.mark.parametrize(
    ("masks", "scores", "message"),
    [
        (np.zeros((1, 200, 120), bool), None, r"masks \(N, 120, 200\), found \(1, 200, 120\)"),
        (np.zeros((120, 200), bool), None, "found"),
        (np.zeros((2, 120, 200), bool), [0.5], "2 scores, found 1"),
    ],
)
def test_wrong_shapes_are_named(photo, masks, scores, message):
    with pytest.raises(ValueError, match=message):
        overlay(photo, masks, scores)


def test_colours_differ():
    many = colours(40)
    assert many.shape == (40, 3) and len({tuple(c) for c in many.tolist()}) == 40
    np.testing.assert_array_equal(colours(5), many[:5])
    first = colours(12).astype(int)
    distances = np.abs(first[:, None] - first).sum(-1) + 1000 * np.eye(12)
    assert distances.min() > 80


def test_maps_run_from_dark_to_bright():
    picture = colourise(np.linspace(0, 1, 64).reshape(8, 8)).astype(int)
    assert (np.diff(picture.reshape(-1, 3).sum(1)) > -8).all()
    np.testing.assert_array_equal(colourise(np.array([[-5.0, 9.0]]), 0, 1), colourise(np.array([[0.0, 1.0]]), 0, 1))


def test_diverging_maps_are_white_at_zero_and_symmetric():
    picture = colourise(np.array([[-1.0, 0.0, 4.0]]), scheme="diverging").astype(int)
    assert (picture[0, 1] > 240).all()
    blue, red = picture[0, 0], picture[0, 2]
    assert blue[2] > blue[0] and red[0] > red[2]
    assert blue.sum() > red.sum()  # -1 of 4 is pale


@pytest.mark.parametrize("scheme", ["viridis", "diverging"])
@pytest.mark.parametrize("values", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.full((4, 4), 7.0)])
def test_flat_and_empty_maps(values, scheme):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert colourise(values, scheme=scheme).shape == (4, 4, 3)


def test_values_that_are_none_are_grey():
    picture = colourise(np.array([[0.0, np.nan, 1.0]]))
    assert picture[0, 1].tolist() == [128, 128, 128] != picture[0, 0].tolist()


def test_confidence_lies_over_a_grey_photograph(photo):
    values = np.zeros((120, 200))
    values[30:60, 30:60] = 0.8
    drawn = heat_over(photo, values, 0.5, 1)
    np.testing.assert_array_equal(drawn[values == 0], dimmed(photo)[values == 0])
    assert (drawn[values > 0] != dimmed(photo)[values > 0]).any()


def test_marks_lie_at_their_points(photo):
    white = np.full_like(photo, 255)
    drawn = mark(white, [(50, 60), (150, 20)], ["source", "sink"]).astype(int)
    assert drawn[60, 50, 0] > 200 > drawn[60, 50, 2] and drawn[20, 150, 2] > 200 > drawn[20, 150, 0]
    assert (white == 255).all()


def test_close_marks_stay_visible(photo):
    drawn = mark(np.full_like(photo, 255), [(195, 60), (180, 60)], ["source", "sink"]).astype(int)
    assert drawn[60, 195, 0] > 200 > drawn[60, 195, 2] and drawn[60, 180, 2] > 200 > drawn[60, 180, 0]


def test_a_strip_holds_every_picture(photo):
    tall = np.full((200, 100, 3), (255, 0, 0), np.uint8)
    strip = panels([("photograph", photo), ("a very long label that cannot fit", tall)], height=60, gap=5)
    assert strip.shape[1] == 5 + 100 + 5 + 30 + 5
    red = (strip == (255, 0, 0)).all(-1)
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    assert (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1) == (60, 30)
    assert (strip[: rows[0], :110] < 128).any()  # a label
    with pytest.raises(ValueError, match="at least one"):
        panels([])


@pytest.mark.parametrize("text", ["short", "a caption " * 12, "averylongwordthatfitsnowhere" * 3])
def test_a_caption_is_below_the_picture(photo, text):
    made = captioned(photo, text)
    np.testing.assert_array_equal(made[:120], photo)
    caption = made[120:]
    assert made.shape[1] == 200 and (caption < 100).any() and (caption[[0, -1]] == 255).all()
    assert (len(caption) > 60) == (text.count(" ") > 10)  # in several lines


def test_resizing_keeps_blocks_and_masks():
    grid = np.eye(4, dtype=np.float32)
    blocks = resized(grid, 40, 80, smooth=False)
    assert blocks.shape == (40, 80) and set(np.unique(blocks)) == {0.0, 1.0}
    again = resized_masks(resized_masks(grid[None] > 0, 40, 80), 4, 4)
    np.testing.assert_array_equal(again[0], grid > 0)
    assert resized_masks(np.zeros((0, 9, 9), bool), 3, 3).shape == (0, 3, 3)


def test_a_label_does_not_hide_a_small_mask():
    photo, masks = np.full((200, 200, 3), 90, np.uint8), np.zeros((1, 200, 200), bool)
    masks[0, 100:130, 100:130] = True
    plain, labelled = overlay(photo, masks, [0.9], labels=False), overlay(photo, masks, [0.9])
    changed = (plain != labelled).any(2)
    assert changed.any() and not changed[104:130].any()
