import sys

import numpy as np
import pytest

from cuts3d_cli.core.crf import DenseCrf, probability_on_grid, refine, refine_together, unary_probability
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


def apart(image, unary, iterations=10):
    """pydensecrf's own inference of a single mask, as the released code calls it."""
    from pydensecrf.densecrf import DenseCRF2D

    crf = DenseCRF2D(image.shape[1], image.shape[0], 2)
    crf.addPairwiseGaussian(sxy=3, compat=7)
    crf.addPairwiseBilateral(sxy=50, srgb=5, rgbim=image, compat=10)
    both = np.stack([1 - unary, unary]).reshape(2, -1)
    crf.setUnaryEnergy(np.ascontiguousarray(-np.log(both), dtype=np.float32))
    return np.array(crf.inference(iterations))[1].reshape(unary.shape)


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_masks_side_by_side_are_those_of_inferences_apart(count):
    """On an image whose width is not its height, with unaries of every strength."""
    rng = np.random.default_rng(count)
    image = np.repeat(np.repeat(rng.integers(0, 256, (5, 9, 3)), 8, axis=0), 6, axis=1)
    image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    unaries = np.clip(np.kron(rng.random((count, 5, 9)), np.ones((8, 6))), 0.01, 0.99)
    found = DenseCrf(image).probabilities(unaries)
    expected = np.array([apart(image, unary) for unary in unaries])
    assert np.abs(found - expected).max() < 1e-4
    assert np.array_equal(found > 0.5, expected > 0.5)
    assert 0.05 < (found > 0.5).mean() < 0.95


def test_the_probability_of_a_mask_does_not_depend_on_its_companions():
    image, disc = disc_image()
    masks = np.stack([disc, np.roll(disc, 6, axis=1), ~disc, np.roll(disc, 9, axis=0), disc & ~np.roll(disc, 9)])
    crf = DenseCrf(image)
    together = refine_together(crf, masks)
    for number, mask in enumerate(masks):
        alone = refine(crf, mask)
        assert all(np.array_equal(a, b[number]) for a, b in zip(alone, together, strict=True))


def test_no_mask_at_all():
    image, _ = disc_image()
    refined, probability, accepted = refine_together(DenseCrf(image), np.zeros((0, 48, 48), bool))
    assert refined.shape == probability.shape == (0, 48, 48) and accepted.shape == (0,)


def test_the_probability_as_a_map_of_confidence():
    """Patches: outside, half covered, inside, inside but unsure."""
    mask = np.zeros((8, 8), bool)
    mask[4:, :] = mask[:2, 4:] = True
    probability = np.where(mask, 0.9, 0.2)
    probability[4:, 4:] = 0.3
    found = probability_on_grid(probability, mask, (2, 2), sc_min=0.5)
    assert found == pytest.approx(np.array([[0, 0.9], [0.9, 0.5]])) and found.dtype == np.float32


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
