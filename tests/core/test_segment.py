"""The way from features and depth to masks, in steps and as one call."""

import numpy as np
import pytest

from cuts3d_cli.config import resolve
from cuts3d_cli.core.image_sizes import working_image
from cuts3d_cli.core.quality import contrast
from cuts3d_cli.core.segment import (
    Refined,
    Settings,
    candidates,
    cut_confidence,
    find,
    finish,
    half,
    images_at_once,
    refine,
    segment,
)
from cuts3d_cli.errors import ImageError

SIZE_HW = (72, 96)
NO_DEPTH = {"local_cut": False, "sharpen": False}


def settings_of(**sections):
    values = {"preset": "paper", "crf": {"image_size": 96, "iterations": 3}}
    for name, keys in sections.items():
        values[name] = {**values.get(name, {}), **keys}
    config = resolve(values)
    return Settings(*(getattr(config, n).model_dump() for n in ("spatial_importance", "localcut", "confidence", "crf")))


@pytest.fixture
def scene(two_boxes):
    """Features and depth in half precision, and an image (96, 96, 3) with the boxes in colours of their own."""
    rng = np.random.default_rng(0)
    boxes = np.kron(two_boxes.boxes, np.ones((4, 4))) > 0
    image = np.full((96, 96, 3), 180.0) + rng.normal(0, 2, (96, 96, 3))
    image[boxes[0]], image[boxes[1]] = (200, 40, 40), (180, 60, 40)
    return half(two_boxes.features), half(two_boxes.depth, "depth"), image.astype(np.uint8)


def test_one_call_gives_what_the_steps_give(scene):
    features, depth, image = scene
    settings = settings_of()
    whole = segment(features, depth, image, SIZE_HW, settings)
    found = find(features, depth, settings)
    cuts = found.cuts
    confidence, score = cut_confidence(
        cuts.semantic, cuts.instance, cuts.terminals, found.depth,
        localcut=settings.localcut, confidence=settings.confidence,
    )  # fmt: skip
    chosen = candidates(cuts.instance, confidence, score, cuts.contrast)
    refined = refine([image], [chosen], settings.crf)[0]
    final = finish(chosen, refined, SIZE_HW, crf=settings.crf, confidence=settings.confidence)
    for name in ("slots", "masks", "scores", "quality", "confidence"):
        np.testing.assert_array_equal(getattr(whole.instances, name), getattr(final, name))
    assert final.masks.shape[1:] == SIZE_HW and final.masks.any(axis=(1, 2)).all() and len(final.masks) >= 2
    assert confidence.dtype == np.float16 and np.array_equal(whole.confidence, confidence)
    np.testing.assert_array_equal(final.scores, score[final.slots])


def test_the_two_boxes_are_two_instances(scene, two_boxes):
    result = segment(*scene, (96, 96), settings_of()).instances
    boxes = np.kron(two_boxes.boxes, np.ones((4, 4))) > 0
    ious = [[(m & b).sum() / (m | b).sum() for m in result.masks] for b in boxes]
    assert (np.max(ious, axis=1) > 0.9).all()


def test_without_depth_there_is_no_confidence_and_every_score_is_1(scene):
    features, _, image = scene
    result = segment(features, None, image, SIZE_HW, settings_of(localcut=NO_DEPTH))
    assert result.confidence is None and result.instances.confidence is None and result.found.importance is None
    assert len(result.instances.masks) and (result.instances.scores == 1).all()


def test_the_crf_gives_confidence_and_score_where_asked(scene):
    settings = settings_of(crf={"confidence": "crf"}, confidence={"sc_min": 0.6})
    result = segment(*scene, SIZE_HW, settings)
    final = result.instances
    assert final.confidence.shape == (len(final.masks), 24, 24) and final.confidence[final.confidence > 0].min() >= 0.6
    inside = [c[c > 0].mean() for c in final.confidence]
    np.testing.assert_allclose(final.scores, inside, rtol=1e-5)
    assert not np.array_equal(final.confidence, result.candidates.confidence[: len(final.confidence)])


def test_without_the_crf_masks_are_only_enlarged(scene):
    result = segment(*scene, (96, 96), settings_of(crf={"enabled": False}))
    expected = np.kron(result.candidates.masks, np.ones((4, 4))) > 0
    np.testing.assert_array_equal(result.instances.masks, expected)
    assert result.refined.accepted.all() and (result.refined.agreement == 1).all()
    np.testing.assert_array_equal(result.instances.quality, result.found.cuts.contrast[result.instances.slots])


@pytest.mark.parametrize("min_iou", [0, 0.97])
def test_the_crf_may_only_judge(scene, min_iou):
    """The image is half a patch off, so the refined masks differ; those of the grid stay, unless they are rejected."""
    features, depth, image = scene
    moved = np.roll(image, 2, 0)
    off, on, judged = (
        segment(features, depth, moved, (96, 96), settings_of(crf={"min_iou": min_iou, **changes}))
        for changes in ({"enabled": False}, {}, {"outlines": "grid"})
    )
    np.testing.assert_array_equal(judged.refined.masks, off.refined.masks)
    np.testing.assert_array_equal(judged.refined.agreement, on.refined.agreement)
    np.testing.assert_array_equal(judged.refined.probability, on.refined.probability)
    kept = judged.refined.agreement >= min_iou
    np.testing.assert_array_equal(judged.instances.masks, off.instances.masks[kept])
    assert kept.any() == (min_iou == 0) and not (on.refined.masks == off.refined.masks).all()
    assert (judged.instances.quality < off.instances.quality[kept]).all()


def test_a_mask_that_the_crf_would_erase_stays_where_it_only_judges(scene):
    _, _, image = scene
    speck = np.zeros((1, 24, 24), bool)
    speck[0, 2, 2] = True
    crf = settings_of(crf={"outlines": "grid", "min_iou": 0}).crf
    refined = refine([image], [candidates(speck)], crf)[0]
    assert refined.accepted.all() and refined.masks.sum() == 16 and refined.agreement == [0]


@pytest.mark.parametrize("localcut", [{}, NO_DEPTH, NO_DEPTH | {"exclude": "features", "stop_at_rest": False}])
def test_quality_is_the_product_of_its_factors(scene, localcut):
    """By every method; the masks lie inside the image, then at its border, and half a patch below their objects."""
    features, depth, image = scene
    for shift in (0, 6):
        moved = (np.roll(features, -shift, 1), np.roll(depth, -4 * shift, 0), np.roll(image, -2 - 4 * shift, 0))
        result = segment(*moved, SIZE_HW, settings_of(localcut=localcut))
        final, rows = result.instances, np.isin(result.candidates.slots, result.instances.slots)
        assert len(final.quality) >= 1 and ((final.quality > 0) & (final.quality <= 1)).all()
        before = np.kron(result.candidates.masks[rows], np.ones((4, 4))) > 0
        after = result.refined.masks[rows]
        agreement = (before & after).sum((1, 2)) / (before | after).sum((1, 2))
        border = np.array([np.r_[m[0], m[-1], m[1:-1, 0], m[1:-1, -1]].mean() for m in final.masks])
        expected = result.found.cuts.contrast[final.slots] * agreement * (1 - border)
        np.testing.assert_allclose(final.quality, expected, rtol=1e-5)
        assert (border.max() > 0) == bool(shift) and agreement.min() < 1


def test_an_object_ranks_above_the_wall_behind_it(scene, two_boxes):
    """Though the wall's patches are as unlike the rest: the border of the image cuts it off."""
    features, _, image = scene
    boxes = two_boxes.boxes.any(axis=0)
    grids = np.stack([~boxes, boxes])
    chosen = candidates(grids, contrast=contrast(features, grids))
    settings = settings_of(crf={"enabled": False})
    refined = refine([image], [chosen], settings.crf)[0]
    of_wall, of_object = finish(chosen, refined, SIZE_HW, crf=settings.crf, confidence=settings.confidence).quality
    assert of_wall == 0 and of_object > 0.25


def test_without_contrast_no_quality_is_known():
    grids = np.ones((1, 4, 4), bool)
    chosen, settings = candidates(grids), settings_of(crf={"enabled": False})
    refined = refine([np.zeros((96, 96, 3), np.uint8)], [chosen], settings.crf)[0]
    final = finish(chosen, refined, (8, 8), crf=settings.crf, confidence=settings.confidence)
    assert np.isnan(final.quality).all() and len(final.quality) == 1


@pytest.mark.parametrize("solver", ["lattice", "torch"])
def test_images_refined_together_give_what_each_gives_alone(scene, solver):
    """The second has no instance, the third another number of them."""
    _, _, image = scene
    grids = np.zeros((3, 24, 24), bool)
    grids[0, 6:18, 4:12], grids[2, 6:18, 12:20] = True, True
    chosen = [candidates(grids), candidates(grids[1:2]), candidates(grids[:1])]
    images = [image, image[::-1].copy(), image[:, ::-1].copy()]
    crf = settings_of(crf={"solver": solver}).crf
    together = refine(images, chosen, crf)
    assert [len(one.masks) for one in together] == [2, 0, 1] and chosen[0].slots.tolist() == [0, 2]
    for one, own, result in zip(images, chosen, together, strict=True):
        alone = refine([one], [own], crf)[0]
        np.testing.assert_array_equal(alone.masks, result.masks)
        np.testing.assert_array_equal(alone.accepted, result.accepted)


def test_the_unary_of_confidence_needs_one(scene):
    features, depth, image = scene
    sections = {"crf": {"unary": "confidence"}}
    sure = segment(features, depth, image, SIZE_HW, settings_of(**sections))
    plain = segment(features, depth, image, SIZE_HW, settings_of())
    assert not np.array_equal(sure.refined.probability, plain.refined.probability)
    with pytest.raises(ValueError, match="confidence: expected a map for each mask"):
        segment(
            features, None, image, SIZE_HW, settings_of(**sections, localcut={"local_cut": False, "sharpen": False})
        )


def test_masks_that_are_rejected_or_vanish_are_left_out():
    grids = np.zeros((3, 4, 4), bool)
    grids[0, :2], grids[1, 2:], grids[2, :, :1] = True, True, True
    masks = np.kron(grids, np.ones((4, 4))) > 0
    masks[1] = False  # as the CRF may leave it where nothing is rejected
    settings = settings_of()
    refined = Refined(masks, masks.astype(np.float32), np.array([False, True, True]), np.array([0.9, 0, 0.5]))
    chosen = candidates(grids, contrast=np.array([0.1, 0.2, 0.3]))
    final = finish(chosen, refined, (8, 8), crf=settings.crf, confidence=settings.confidence)
    assert final.slots.tolist() == [2] and final.masks.shape == (1, 8, 8)
    assert final.quality == pytest.approx([0.3 * 0.5 * (1 - 10 / 28)])


def test_missing_depth_is_named():
    features = np.zeros((3, 4, 4), np.float16)
    with pytest.raises(ValueError, match="depth: sharpening needs a map"):
        find(features, None, settings_of())
    with pytest.raises(ValueError, match="depth: the cut in 3D needs a map"):
        find(features, None, settings_of(localcut={"sharpen": False}))


def test_half_precision_refuses_what_it_cannot_hold():
    assert half(np.array([1.0, 65504.0])).dtype == np.float16
    with pytest.raises(
        ImageError, match=r"2 of 3 values are not finite; expected numbers within half precision, 65504"
    ):
        half(np.array([1e5, np.nan, 0.5]), "values")


def test_only_torch_takes_several_images_at_once():
    assert images_at_once(480, "lattice") == 1 and images_at_once(480, "torch") > 1
    assert working_image(np.zeros((4, 6, 3), np.uint8), 8).shape == (8, 8, 3)
