from functools import partial

import numpy as np
import pytest

from cuts3d_cli.config import LocalCutConfig, resolve
from cuts3d_cli.core import find_instances as finding
from cuts3d_cli.core import segment
from cuts3d_cli.core.spatial_importance import spatial_importance as importance_of
from cuts3d_cli.core.types import Attempt, Cuts

PAPER = resolve({"preset": "paper"})
"""The paper's numbers (Table 15), which the drawn scenes are made for."""

find_instances, find_instances_batch = (
    partial(function, **PAPER.localcut.model_dump())
    for function in (finding.find_instances, finding.find_instances_batch)
)
spatial_importance = partial(importance_of, **PAPER.spatial_importance.model_dump())

MASKCUT = {"sharpen": False, "local_cut": False, "exclude": "features", "stop_at_rest": False}


def outcomes(found):
    return [attempt.outcome for attempt in found.info]


def is_one_of(mask, boxes):
    return any(np.array_equal(mask, box) for box in boxes)


def test_ncut_joins_boxes_of_one_texture_and_local_cut_parts_them(two_boxes):
    importance = spatial_importance(two_boxes.depth, (24, 24))
    joined = find_instances(two_boxes.features, tau_ncut=0.15, **MASKCUT)
    assert np.array_equal(joined.instance[0], two_boxes.boxes.any(axis=0))
    parted = find_instances(two_boxes.features, two_boxes.depth, importance)
    assert np.array_equal(parted.semantic[0], two_boxes.boxes.any(axis=0))
    assert is_one_of(parted.instance[0], two_boxes.boxes) and is_one_of(parted.instance[1], two_boxes.boxes)
    assert not (parted.instance[0] & parted.instance[1]).any()
    assert outcomes(parted)[:2] == ["kept", "kept"]
    sections = {name: getattr(PAPER, name).model_dump() for name in ("localcut", "confidence")}
    arrays = (parted.semantic, parted.instance, parted.terminals, two_boxes.depth)
    confidence, _ = segment.cut_confidence(*arrays, **sections)
    assert np.array_equal(confidence > 0, parted.instance)


def test_terminals_are_of_the_right_sides(two_boxes):
    found = find_instances(two_boxes.features, two_boxes.depth, sharpen=False)
    for slot in np.flatnonzero(found.found):
        source, sink = found.terminals[slot]
        assert found.instance[slot].flat[source] and not found.semantic[slot].flat[sink]


def test_flat_depth_keeps_the_semantic_mask(two_boxes):
    found = find_instances(two_boxes.features, np.full((96, 96), 0.4), sharpen=False)
    assert np.array_equal(found.instance[0], two_boxes.boxes.any(axis=0))


@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_scaled_depth_and_threshold_give_the_same_instances(two_boxes, factor):
    """All lengths scale together, so the cuts do not change."""
    importance = spatial_importance(two_boxes.depth, (24, 24))
    plain = find_instances(two_boxes.features, two_boxes.depth, importance)
    scaled = find_instances(
        two_boxes.features,
        two_boxes.depth * factor,
        importance,
        tau_knn=0.115 * factor,
        xy_extent=factor,
        background_z=1.5 * factor,
    )
    assert np.array_equal(scaled.instance, plain.instance)


@pytest.mark.parametrize(
    "choice",
    [
        {"maxflow": "networkx"},
        {"eigensolver": "dense"},
        {"eigensolver": "torch"},
        {"exponent": "row"},
        {"exponent": "max"},
    ],
    ids=str,
)
def test_oracles_and_other_exponents_find_the_same_boxes(two_boxes, choice):
    importance = spatial_importance(two_boxes.depth, (24, 24))
    found = find_instances(two_boxes.features, two_boxes.depth, importance, **choice)
    assert is_one_of(found.instance[0], two_boxes.boxes) and is_one_of(found.instance[1], two_boxes.boxes)


def test_the_same_input_gives_the_same_result(two_boxes):
    first, second = (find_instances(two_boxes.features, two_boxes.depth, sharpen=False) for _ in range(2))
    for name in ("semantic", "instance", "terminals", "fiedler"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    assert first.info == second.info


@pytest.mark.parametrize("exclude", ["nodes", "features"])
def test_mirrored_patches_give_mirrored_instances(draw_boxes, exclude):
    """Much noise, so that no two patches tie."""
    scene, keys = draw_boxes(noise=1.0), {"sharpen": False, "exclude": exclude}
    plain = find_instances(scene.features, scene.depth, **keys)
    mirrored = find_instances(scene.features[:, :, ::-1], scene.depth[:, ::-1], **keys)
    assert plain.instance[1].any() and np.array_equal(mirrored.instance[:, :, ::-1], plain.instance)


@pytest.mark.parametrize("keys", [{}, MASKCUT], ids=["cuts3d", "maskcut"])
def test_constant_features_find_nothing(keys):
    found = find_instances(np.ones((4, 9, 9)), np.random.default_rng(0).random((9, 9)), np.full((9, 9), 0.5), **keys)
    assert not found.instance.any() and outcomes(found) == ["uniform", "stopped", "stopped"]


def test_patches_without_any_affinity_find_nothing():
    found = find_instances(np.eye(16).reshape(16, 4, 4), **MASKCUT)
    assert not found.found.any() and outcomes(found)[0] == "uniform"


@pytest.mark.parametrize("keys", [{"sharpen": False}, MASKCUT], ids=["cuts3d", "maskcut"])
def test_one_patch_is_too_few(keys):
    found = find_instances(np.ones((3, 1, 1)), np.ones((8, 8)), **keys)
    assert found.instance.shape == (3, 1, 1) and not found.found.any() and outcomes(found)[0] == "few"


def test_the_search_ends_when_all_patches_are_taken():
    """Two halves, each an instance: after them nothing is left. No corner rule, or the second half were background."""
    features = np.zeros((2, 8, 8))
    features[0, :, :4] = features[1, :, 4:] = 1
    found = find_instances(
        features, np.full((8, 8), 0.5), sharpen=False, tau_knn=0.4, corners=5, stop_at_rest=False, n_instances=4
    )
    assert outcomes(found)[0] == "kept" and not found.found[2:].any()
    assert set(outcomes(found)[1:]) <= {"kept", "uniform", "few", "stopped"}


def test_the_rest_of_the_image_ends_the_search():
    """A strip, a block and the ground, the latter two loosely linked: the third cut finds all that is left."""
    rng = np.random.default_rng(0)
    label = np.zeros((12, 12), dtype=int)
    label[:3], label[6:, :5] = 1, 2
    loose = 0.3 * rng.standard_normal((12, 12, 32)) * (label != 1)[..., None]
    features = np.concatenate([np.eye(3)[label], loose], axis=2).transpose(2, 0, 1)
    going_on = find_instances(features, n_instances=4, **MASKCUT)
    ended = find_instances(features, n_instances=4, **(MASKCUT | {"stop_at_rest": True}))
    assert outcomes(going_on)[:3] == ["kept"] * 3 and going_on.instance[:3].sum(axis=0).all()
    assert outcomes(ended) == ["kept", "kept", "rest", "stopped"]
    assert np.array_equal(ended.instance[:2], going_on.instance[:2]) and not ended.instance[2:].any()


def test_small_later_masks_are_rejected_and_the_first_is_not():
    label = np.zeros((20, 20), dtype=int)
    label[3, 3] = 1
    label[9:14, 9:14] = 2
    features = np.eye(3)[label].transpose(2, 0, 1)
    keys = {"sharpen": False, "local_cut": False}
    found = find_instances(features, min_area=0.0, **keys)
    assert np.array_equal(found.instance[:2], [label == 2, label == 1])
    found = find_instances(features, **keys)  # one patch is 1 / 400
    assert outcomes(found) == ["kept", "small", "uniform"]  # the small one leaves the graph, too
    assert not found.instance[1:].any()
    found = find_instances(np.eye(3)[label % 2].transpose(2, 0, 1), **keys)  # without the larger one it is the first
    assert np.array_equal(found.instance[0], label == 1)


def test_removed_nodes_are_in_no_later_mask_and_have_no_value(two_boxes):
    found = find_instances(two_boxes.features, two_boxes.depth, sharpen=False)
    first = found.instance[0]
    assert not (found.semantic[1] & first).any() and not found.fiedler[1][first].any() and found.fiedler[0][first].all()


@pytest.mark.parametrize("seed", range(4))
def test_no_later_try_touches_removed_nodes(draw_boxes, seed):
    """Much noise and no corner rule, so that either side of a cut may be foreground."""
    scene = draw_boxes(noise=1.5, seed=seed)
    found = find_instances(
        scene.features, scene.depth, sharpen=False, corners=1 + seed, n_instances=4, stop_at_rest=False
    )
    taken = np.zeros((24, 24), dtype=bool)
    assert found.found[1]
    for slot in np.flatnonzero(found.found):
        source, sink = found.terminals[slot]
        assert not (found.semantic[slot] & taken).any() and not taken.flat[source]
        assert sink < 0 or not taken.flat[sink]
        taken |= found.instance[slot]


@pytest.mark.parametrize("component", ["seed", "none"])
def test_parts_that_meet_only_in_3d_are_one_instance_unless_the_seed_decides(component):
    """A box in front, split in the image by a column of the same texture far behind it."""
    label = np.zeros((12, 12), dtype=int)
    label[3:9, 2:9] = 1
    depth = np.full((12, 12), 0.9)
    depth[3:9, 2:9] = 0.2
    depth[3:9, 5] = 0.8
    features = np.eye(2)[label].transpose(2, 0, 1)
    found = find_instances(features, depth, sharpen=False, tau_knn=0.2, component=component, n_instances=1)
    front = depth == 0.2
    assert np.array_equal(found.semantic[0], label == 1)
    assert np.array_equal(found.instance[0], front & (np.arange(12) < 5) if component == "seed" else front)


def test_the_exponent_reaches_the_graph(draw_boxes):
    scene = draw_boxes(noise=1.0)
    importance = spatial_importance(scene.depth, (24, 24))
    keys = {"local_cut": False, "n_instances": 1}
    vectors = [
        find_instances(scene.features, None, importance, exponent=e, **keys).fiedler for e in ("mean", "row", "max")
    ]
    assert not any(np.allclose(vectors[a], vectors[b], atol=1e-3) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_the_threshold_of_the_cosine_reaches_the_graph(two_boxes):
    """With one importance everywhere it is the graph without sharpening; the paper's reading is another one."""
    even = np.full((24, 24), 0.45, np.float32)
    keys = {"tau_ncut": 0.15, "local_cut": False}
    noisy = two_boxes.features + np.random.default_rng(0).normal(0, 0.4, two_boxes.features.shape)
    plain = find_instances(noisy, sharpen=False, **keys).fiedler
    assert np.allclose(find_instances(noisy, None, even, tau_ncut_at="cosine", **keys).fiedler, plain, atol=1e-4)
    assert not np.allclose(find_instances(noisy, None, even, **keys).fiedler, plain, atol=1e-2)
    with pytest.raises(ValueError, match="tau_ncut_at: expected sharpened or cosine, got 'row'"):
        find_instances(noisy, None, even, tau_ncut_at="row", **keys)


def test_earlier_masks_are_subtracted(golden):
    stored = golden("maskcut_render1_30")
    found = find_instances(stored["features"], tau_ncut=float(stored["tau"]), **MASKCUT)
    assert (found.semantic[2] & found.instance[0]).any() and (found.instance.sum(axis=0) <= 1).all()


@pytest.mark.parametrize("case", ["render1_30", "render7_30", "render12_30", "render0_60", "render4_60"])
def test_maskcut_equals_the_released_code(golden, case):
    """The cases whose result does not depend on the sign that the released solver happened to give."""
    stored = golden(f"maskcut_{case}")
    found = find_instances(stored["features"], tau_ncut=float(stored["tau"]), **MASKCUT)
    assert np.array_equal(found.instance, stored["masks"].astype(bool))


@pytest.mark.parametrize("case", ["render1_30", "render7_30", "render12_30", "render0_60", "render4_60"])
def test_tokencut_is_the_first_mask_of_maskcut(golden, case):
    stored = golden(f"maskcut_{case}")
    settings = resolve({"preset": "tokencut", "localcut": {"tau_ncut": float(stored["tau"])}}).localcut.model_dump()
    found = find_instances(stored["features"], **settings)
    assert np.array_equal(found.instance, stored["masks"][:1].astype(bool))


@pytest.mark.parametrize(
    ("case", "solver"),
    [*((f"render{i}_30", s) for i in (1, 7, 12) for s in ("torch", "dense")), ("render0_60", "torch")],
)
def test_every_solver_gives_the_released_masks(golden, case, solver):
    stored = golden(f"maskcut_{case}")
    found = find_instances(stored["features"], tau_ncut=float(stored["tau"]), eigensolver=solver, **MASKCUT)
    assert np.array_equal(found.instance, stored["masks"].astype(bool))
    assert {attempt.solver for attempt in found.info} == {solver}


@pytest.mark.parametrize("solver", ["lanczos", "torch"])
def test_a_batch_gives_what_each_image_gives_alone(draw_boxes, solver):
    """One image ends at once, the others after different numbers of attempts."""
    scenes = [draw_boxes(noise=noise, seed=seed) for seed, noise in enumerate((0.15, 1.0, 1.5))]
    images = [(scene.features, scene.depth, None) for scene in scenes]
    images.insert(1, (np.ones((32, 24, 24)), scenes[0].depth, None))
    together = find_instances_batch(images, sharpen=False, eigensolver=solver)
    assert outcomes(together[1])[0] == "uniform" and len(together) == 4
    for image, found in zip(images, together, strict=True):
        alone = find_instances(*image, sharpen=False, eigensolver=solver)
        assert np.array_equal(found.instance, alone.instance) and outcomes(found) == outcomes(alone)
        assert np.allclose(found.fiedler, alone.fiedler, atol=1e-6)
    assert find_instances_batch([]) == []


def test_keywords_are_those_of_the_configuration():
    from inspect import signature

    options = {name for name, p in signature(finding.instance_search).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert options | {"eigensolver"} == set(LocalCutConfig.model_fields)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "importance: sharpening needs"),
        ({"importance": np.ones((3, 3))}, "importance: sharpening needs"),
        ({"sharpen": False}, "depth: the cut in 3D needs"),
        (MASKCUT | {"exclude": "edges"}, "exclude"),
        (MASKCUT | {"eigensolver": "qr"}, "solver"),
    ],
)
def test_wrong_calls_are_refused(two_boxes, keys, message):
    with pytest.raises(ValueError, match=message):
        find_instances(two_boxes.features, **keys)


def test_cuts_check_their_arrays():
    masks, fiedler = np.zeros((2, 3, 4), dtype=bool), np.zeros((2, 3, 4), dtype=np.float32)
    attempts, terminals = (Attempt("stopped"),) * 2, np.zeros((2, 2), dtype=np.int32)
    contrast = np.zeros(2, dtype=np.float32)
    assert not Cuts(masks, masks, terminals, fiedler, contrast, attempts).found.any()
    with pytest.raises(ValueError, match=r"semantic: expected \(2, 3, 4\) bool, got \(2, 4, 3\) bool"):
        Cuts(masks.swapaxes(1, 2), masks, terminals, fiedler, contrast, attempts)
    with pytest.raises(ValueError, match="fiedler"):
        Cuts(masks, masks, terminals, masks, contrast, attempts)
    with pytest.raises(ValueError, match=r"contrast: expected \(2,\) float32, got \(1,\) float32"):
        Cuts(masks, masks, terminals, fiedler, contrast[:1], attempts)
    with pytest.raises(ValueError, match="info"):
        Cuts(masks, masks, terminals, fiedler, contrast, attempts[:1])


def test_alike_parts_objects_that_ncut_takes_together():
    """Two parts that touch, of like size, and a large background: one eigenvector holds both."""
    parts = np.zeros((24, 24), int)
    parts[6:14, 4:10], parts[6:14, 10:15] = 1, 2
    features = (parts == np.arange(3)[:, None, None]).astype(np.float32)
    settings = {"sharpen": False, "local_cut": False, "tau_ncut": 0.5, "n_instances": 4}
    together = find_instances(features, component="seed", **settings)
    assert together.instance[0].sum() == (parts > 0).sum()
    apart = find_instances(features, component="alike", **settings)
    assert sorted(parts[mask].min() for mask in apart.instance if mask.any()) == [1, 2]
    for mask in apart.instance[apart.found]:
        assert (mask == (parts == parts[mask][0])).all()
    with pytest.raises(ValueError, match="component"):
        find_instances(features, component="like", **settings)
