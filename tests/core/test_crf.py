import contextlib
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from cuts3d_cli.config import resolve
from cuts3d_cli.core import crf as core
from cuts3d_cli.core.crf import probability_on_grid
from cuts3d_cli.core.masks import enlarge
from cuts3d_cli.core.segment import dense_crf_settings
from cuts3d_cli.errors import Cuts3dError

CUTLER = resolve({"preset": "maskcut"}).crf.model_dump()
JUDGING = {name: CUTLER[name] for name in ("unary", "fill_holes", "min_iou")}
DenseCrf, DenseCrfs = (partial(made, **dense_crf_settings(CUTLER)) for made in (core.DenseCrf, core.DenseCrfs))
refine, refine_together, refine_images = (
    partial(function, **JUDGING) for function in (core.refine, core.refine_together, core.refine_images)
)
unary_probability = partial(core.unary_probability, unary=CUTLER["unary"])
SAMPLE = Path(__file__).parents[2] / "sample"


def disc_image(size=48):
    """A bright disc on dark ground with a little noise, and the disc."""
    y, x = np.mgrid[:size, :size]
    disc = (y - size / 2) ** 2 + (x - size / 2) ** 2 < (size / 3) ** 2
    noise = np.random.default_rng(0).integers(0, 8, (size, size, 1))
    return (np.where(disc, 200, 40)[..., None] + noise).repeat(3, axis=2).astype(np.uint8), disc


def noisy_blocks(rng, noise=4.0):
    """An image of coloured blocks with noise, 40 x 54."""
    image = np.kron(rng.integers(0, 256, (5, 9, 3)), np.ones((8, 6, 1)))
    return np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(params=["lattice", "torch", "pydensecrf"])
def solver(request):
    """Each solver that can run here."""
    if request.param == "pydensecrf":
        pytest.importorskip("pydensecrf.densecrf", reason="pydensecrf2 is not installed")
    return request.param


def scenes(images, annotations, size, n=None):
    """The first ``n`` images at ``size`` px, and coarse masks of the first three objects of each."""
    from pycocotools.coco import COCO

    from cuts3d_cli.core.image_sizes import working_image
    from cuts3d_cli.store.images import read_image

    with contextlib.redirect_stdout(None):
        truth = COCO(str(annotations))
    for entry in sorted(truth.imgs.values(), key=lambda entry: entry["file_name"])[:n]:
        image = working_image(read_image(images / entry["file_name"]), size)
        objects = truth.loadAnns(truth.getAnnIds(imgIds=entry["id"], iscrowd=False))[:3]
        coarse = [cv2.resize(truth.annToMask(a), (size // 8, size // 8)) > 0 for a in objects]
        yield image, np.array([enlarge(mask, (size, size)) for mask in coarse], bool).reshape(-1, size, size)


@pytest.fixture
def oracle():
    """pydensecrf's own inference of each mask, as the released code calls it."""
    pytest.importorskip("pydensecrf.densecrf", reason="pydensecrf2 is not installed")
    return lambda image, unaries, **settings: DenseCrf(image, solver="pydensecrf", **settings).probabilities(unaries)


@pytest.mark.parametrize("case", ["render0", "render4"])
def test_refined_masks_equal_those_of_the_released_code(golden, case, solver):
    """In one of the two cases the CRF empties the mask."""
    stored = golden(f"crf_{case}_240")
    crf = DenseCrf(stored["image"], solver=solver)
    refined, _, accepted, _ = refine(crf, stored["mask"].astype(bool), fill_holes=False)
    assert np.array_equal(refined, stored["refined"].astype(bool))
    assert not (accepted and not refined.any())


def test_a_coarse_mask_snaps_to_the_edge():
    image, disc = disc_image()
    coarse = np.kron(disc[4::8, 4::8], np.ones((8, 8), dtype=bool))
    refined, probability, accepted, agreement = refine(DenseCrf(image), coarse)
    assert accepted and (refined ^ disc).sum() < (coarse ^ disc).sum() / 2
    assert agreement == pytest.approx((refined & coarse).sum() / (refined | coarse).sum()) and 0.5 < agreement < 1
    assert np.array_equal(probability > 0.5, refined) and probability.min() >= 0 and probability.max() <= 1


def test_one_crf_serves_many_masks():
    image, disc = disc_image()
    crf = DenseCrf(image)
    first = refine(crf, disc)[1]
    refine(crf, ~disc)
    assert np.array_equal(refine(crf, disc)[1], first)
    assert np.array_equal(refine(DenseCrf(image), disc)[1], first)


@pytest.mark.parametrize("solver", ["lattice", "torch"])
@pytest.mark.parametrize(("count", "settings"), [
    (1, {}), (5, {}),
    (2, {"iterations": 1}),
    (2, {"gaussian_sxy": 1.0, "gaussian_compat": 3.0}),
    (2, {"bilateral_sxy": 20.0, "bilateral_srgb": 13.0, "bilateral_compat": 4.0}),
    (2, {"bilateral_srgb": 1.0}),
    (1, {"gaussian_compat": 0.0}),
])  # fmt: skip
def test_probabilities_are_those_of_pydensecrf(oracle, solver, count, settings):
    """With unaries of every strength."""
    rng = np.random.default_rng(count)
    image = noisy_blocks(rng)
    unaries = np.clip(np.kron(rng.random((count, 5, 9)), np.ones((8, 6))), 0.01, 0.99)
    found = DenseCrf(image, solver=solver, **settings).probabilities(unaries)
    expected = oracle(image, unaries, **settings)
    assert np.abs(found - expected).max() < 1e-4
    assert np.array_equal(found > 0.5, expected > 0.5)
    assert 0.05 < (found > 0.5).mean() < 0.95


@pytest.mark.parametrize("solver", ["lattice", "torch"])
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 7), (6, 1), (9, 13)])
@pytest.mark.parametrize("drawn", [False, True])
def test_tiny_and_plain_images_are_those_of_pydensecrf(oracle, solver, size_hw, drawn):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8) if drawn else np.full((*size_hw, 3), 255, np.uint8)
    unaries = unary_probability(np.stack([np.zeros(size_hw, bool), rng.random(size_hw) > 0.5]))
    found = DenseCrf(image, solver=solver).probabilities(unaries)
    assert np.abs(found - oracle(image, unaries)).max() < 1e-5


def test_positions_on_the_borders_of_simplices_fall_where_pydensecrf_puts_them(oracle):
    """Grey levels with equal differences lie on borders by thousands; one vertex more or less changes all around."""
    y, x = np.mgrid[:60, :90]
    image = np.stack([x // 3 * 5 % 256, y // 2 * 5 % 256, (x + y) * 5 % 256], axis=2).astype(np.uint8)
    unaries = unary_probability(np.random.default_rng(2).random((1, 60, 90)) > 0.5)
    found = DenseCrf(image, iterations=1).probabilities(unaries)
    assert np.abs(found - oracle(image, unaries, iterations=1)).max() < 1e-5


def differing_pixels(oracle, some_scenes, solver):
    """How many pixels of the masks differ from pydensecrf's, having asserted that all have a probability of 0.5."""
    count = n_masks = 0
    for image, masks in some_scenes:
        unaries = unary_probability(masks)
        found, expected = DenseCrf(image, solver=solver).probabilities(unaries), oracle(image, unaries)
        differ = (found > 0.5) != (expected > 0.5)
        assert (np.abs(expected - 0.5)[differ] < 1e-4).all()
        assert np.abs(found - expected).max(initial=0) < 1e-3
        count, n_masks = count + np.count_nonzero(differ), n_masks + len(masks)
    return count, n_masks


@pytest.mark.parametrize(("solver", "n"), [("lattice", None), ("torch", 6)])
@pytest.mark.parametrize("split", ["train", "val"])
def test_images_of_the_sample_get_the_masks_of_pydensecrf(oracle, split, solver, n):
    """All of them with ``lattice``, the first with the slower ``torch``."""
    folder = SAMPLE / split
    some = scenes(folder / "images", folder / "annotations.json", 240, n)
    differ, n_masks = differing_pixels(oracle, some, solver)
    assert differ <= 3 and n_masks == 3 * (n or len(list((folder / "images").iterdir())))


@pytest.mark.parametrize("solver", ["lattice", "torch"])
def test_photographs_get_the_masks_of_pydensecrf(oracle, coco_photographs, solver):
    some = scenes(coco_photographs / "images", coco_photographs / "annotations.json", 240, 12)
    differ, n_masks = differing_pixels(oracle, some, solver)
    assert differ <= 3 and n_masks >= 12


def test_the_same_image_gives_the_same_bits(solver):
    image = noisy_blocks(np.random.default_rng(3))
    unaries = np.random.default_rng(4).uniform(0.2, 0.8, (2, 40, 54))
    first, again = (DenseCrf(image, solver=solver).probabilities(unaries) for _ in range(2))
    assert np.array_equal(first, again)


@pytest.mark.parametrize("solver", ["lattice", "torch"])
def test_several_images_at_once_give_what_each_gives_alone(solver):
    """Images of other colours, with other numbers of masks; one without any."""
    rng = np.random.default_rng(5)
    images = [noisy_blocks(rng, noise=noise) for noise in (1, 4, 30)]
    masks = [rng.random((count, 40, 54)) > 0.5 for count in (2, 0, 3)]
    together = refine_images(DenseCrfs(images, solver=solver), masks)
    for image, mask, result in zip(images, masks, together, strict=True):
        alone = refine_together(DenseCrf(image, solver=solver), mask)
        assert np.array_equal(result[0], alone[0]) and np.abs(result[1] - alone[1]).max(initial=0) < 1e-5


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
    refined, probability, accepted, agreement = refine_together(DenseCrf(image), np.zeros((0, 48, 48), bool))
    assert refined.shape == probability.shape == (0, 48, 48) and accepted.shape == agreement.shape == (0,)


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
        DenseCrf(image).probabilities(np.full((1, 4, 4), 0.5))
    with pytest.raises(ValueError, match="within \\(0, 1\\)"):
        DenseCrf(image).probabilities(disc[None].astype(float))
    with pytest.raises(ValueError, match="solver: expected lattice, torch or pydensecrf, got 'grid'"):
        DenseCrf(image, solver="grid")
    for solver in ("lattice", "torch"):
        with pytest.raises(Cuts3dError, match=r"too narrow .* -> use larger standard deviations"):
            DenseCrf(image, solver=solver, bilateral_srgb=1e-4)


def test_a_missing_pydensecrf_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(Cuts3dError, match=r"pip install pydensecrf2 .* or crf\.solver = lattice"):
        DenseCrf(disc_image()[0], solver="pydensecrf")
