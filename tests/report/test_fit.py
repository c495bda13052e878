import numpy as np
import pytest

from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.report.fit import Fit, best_and_worst, fit
from cuts3d_cli.store.coco import encode_mask


def box(x, width):
    mask = np.zeros((20, 100), bool)
    mask[:, x : x + width] = True
    return encode_mask(mask)


def test_fit_is_the_mean_of_the_best_overlaps():
    truth = [box(0, 10), box(20, 10), box(50, 10)]
    masks = [box(0, 10), box(20, 5), box(20, 2)]
    assert fit(masks, truth) == Fit(pytest.approx((1 + 0.5 + 0) / 3), 2, 3)
    assert str(fit(masks, truth)) == "overlap 0.50, 2 of 3 objects matched"


def test_without_masks_or_objects():
    assert fit([], [box(0, 10)]) == Fit(0, 0, 1)
    assert fit([box(0, 10)], []) is None


def test_masks_of_another_size_are_refused():
    with pytest.raises(Cuts3dError, match="another size"):
        fit([encode_mask(np.ones((3, 3), bool))], [box(0, 10)])


@pytest.mark.parametrize(
    ("n_images", "best", "worst"), [(0, "", ""), (1, "a", ""), (3, "ab", "c"), (4, "ab", "dc"), (9, "abc", "ihg")]
)
def test_best_and_worst_share_no_image(n_images, best, worst):
    scored = [(name, Fit(1 - 0.1 * i, 1, 1)) for i, name in enumerate("abcdefghi"[:n_images])]
    found = best_and_worst(scored[::-1], 3)
    assert ["".join(name for name, _ in some) for some in found] == [best, worst]
