import sys

import numpy as np
import pytest

from cuts3d_cli.core.crf import DenseCrf, refine, unary_probability
from cuts3d_cli.errors import Cuts3dError


def disc_image(size=48):
    """A bright disc on dark ground with a little noise, and the disc."""
    y, x = np.mgrid[:size, :size]
    disc = (y - size / 2) ** 2 + (x - size / 2) ** 2 < (size / 3) ** 2
    noise = np.random.default_rng(0).integers(0, 8, (size, size, 1))
    return (np.where(disc, 200, 40)[..., None] + noise).repeat(3, axis=2).astype(np.uint8), disc


@pytest.mark.parametrize("case", ["render0", "render4"])
def test_refined_masks_equal_those_of_the_released_code(golden, case):
    """In one of the two cases the CRF empties the mask."""
    stored = golden(f"crf_{case}_240")
    refined, _, accepted = refine(DenseCrf(stored["image"]), stored["mask"].astype(bool), fill_holes=False)
    assert np.array_equal(refined, stored["refined"].astype(bool))
    assert not (accepted and not refined.any())


def test_a_coarse_mask_snaps_to_the_edge():
    image, disc = disc_image()
    coarse = np.kron(disc[4::8, 4::8], np.ones((8, 8), dtype=bool))
    refined, probability, accepted = refine(DenseCrf(image), coarse)
    assert accepted and (refined ^ disc).sum() < (coarse ^ disc).sum() / 2
    assert np.array_equal(probability > 0.5, refined) and probability.min() >= 0 and probability.max() <= 1


def test_one_crf_serves_many_masks():
    image, disc = disc_image()
    crf = DenseCrf(image)
    first = refine(crf, disc)[1]
    refine(crf, ~disc)
    assert np.array_equal(refine(crf, disc)[1], first)
    assert np.array_equal(refine(DenseCrf(image), disc)[1], first)


def test_unaries():
    mask = np.array([[True, False]])
    assert np.allclose(unary_probability(mask), [[0.7310586, 0.2689414]])
    assert np.allclose(unary_probability(mask, unary="hard"), [[0.99, 0.01]])
    sure = np.array([[0.8, 0.7]])
    assert np.allclose(unary_probability(mask, unary="confidence", confidence=sure), [[0.8, 0.01]])
    with pytest.raises(ValueError, match="confidence: expected a map"):
        unary_probability(mask, unary="confidence")
    with pytest.raises(ValueError, match="unary"):
        unary_probability(mask, unary="soft")


def test_a_hard_unary_stays_closer_to_the_mask_than_a_soft_one():
    image, disc = disc_image()
    wrong = np.roll(disc, 6, axis=1)
    crf = DenseCrf(image, gaussian_compat=1, bilateral_compat=2)  # at full weight the image decides either way
    changed = {
        unary: (refine(crf, wrong, unary=unary, fill_holes=False)[0] ^ wrong).sum() for unary in ("softmax", "hard")
    }
    assert changed["hard"] < changed["softmax"]


def test_holes_and_rejection():
    image, disc = disc_image()
    holed = image.copy()
    holed[20:28, 20:28] = 40
    crf = DenseCrf(holed)
    mask = disc.copy()
    mask[20:28, 20:28] = False
    assert not refine(crf, mask, unary="hard", fill_holes=False)[0][24, 24]
    assert refine(crf, mask, unary="hard")[0][24, 24]
    speck = np.zeros_like(disc)
    speck[0, 0] = True
    assert not refine(DenseCrf(image), speck)[2]
    assert not refine(DenseCrf(image), np.zeros_like(disc), min_iou=0)[2]


def test_wrong_inputs_are_refused():
    image, disc = disc_image()
    with pytest.raises(ValueError, match="image: expected"):
        DenseCrf(image[..., 0])
    with pytest.raises(ValueError, match="unary: expected \\(48, 48\\)"):
        DenseCrf(image).probability(np.full((4, 4), 0.5))
    with pytest.raises(ValueError, match="within \\(0, 1\\)"):
        DenseCrf(image).probability(disc.astype(float))


def test_a_missing_pydensecrf_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(Cuts3dError, match="pip install pydensecrf2"):
        DenseCrf(disc_image()[0])
