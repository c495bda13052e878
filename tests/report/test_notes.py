"""What the report warns of, and what it does not."""

import numpy as np
import pytest

from cuts3d_cli.report.notes import curve_notes, result_notes


def curve(losses, **more):
    names = {"loss": losses, **more}
    return [{"iteration": i, **{name: float(values[i]) for name, values in names.items()}} for i in range(len(losses))]


FLAT = 3 + 0.1 * np.sin(np.arange(100))
FALLING = np.linspace(3, 1, 100)


@pytest.mark.parametrize(
    ("number", "points", "note"),
    [
        (0, curve(FLAT), "Detector: the loss ends where it began (3.0"),
        (0, curve(FLAT, loss_rpn_cls=FLAT), "Detector: the loss ends where it began"),
        (0, curve(FALLING), None),
        (0, curve(FLAT, **{"s0.loss_mask": FALLING}), None),  # the sum of a cascade may stay while it learns
        (0, curve(FLAT[:10]), None),  # too short to tell
        (0, curve([*FALLING[:80], *[np.nan] * 20]), "Detector: the loss is not a number at the end"),
        (1, curve(FLAT), None),  # a round goes on from a trained detector
        (1, curve(FALLING[::-1]), "Detector, round 1: the loss ends higher than it began (1."),
    ],
)
def test_losses_that_say_something_went_wrong(number, points, note):
    found = curve_notes({number: points})
    assert (not found) if note is None else (len(found) == 1 and found[0].startswith(note))


@pytest.mark.parametrize(("ap", "weak"), [(0.0, True), (0.009, True), (0.02, False), (None, False)])
def test_an_ap_near_zero_is_told_once_for_a_set(ap, weak):
    result = {"metrics": {"segm": {"AP": ap}, "bbox": {"AP": 0.5}}}
    notes = result_notes({"round0_val": result, "round1_val": result})
    assert [note.startswith("Held-out images: mask AP is near zero") for note in notes] == [True] * weak


def test_a_weak_row_among_others_is_named():
    weak, good = ({"metrics": {"segm": {"AP": value}}} for value in (0.001, 0.5))
    (note,) = result_notes({"round0_val": weak, "cuts3d_val": good})
    assert note.startswith("Held-out images, Detector trained on CutS3D pseudo-masks: mask AP is near zero (below 1)")
