from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuts3d_cli.config import resolve
from cuts3d_cli.core import confidence as core
from cuts3d_cli.core import localcut
from cuts3d_cli.core.confidence import clamp_confidence, mean_confidence, thresholds
from cuts3d_cli.core.geometry import grid_points
from cuts3d_cli.core.localcut import KnnGraph, semantic_graph
from cuts3d_cli.core.segment import CUT_SETTINGS

PAPER = resolve({"preset": "paper"})
CUT = {name: getattr(PAPER.localcut, name) for name in CUT_SETTINGS}
CUTS = {name: CUT[name] for name in ("tau_knn", "capacity", "maxflow")}
local_cut = partial(localcut.local_cut, **CUTS)
average_cuts = partial(core.average_cuts, **CUTS, **PAPER.confidence.model_dump(exclude={"sc_min"}))
spatial_confidence = partial(core.spatial_confidence, **CUT, **PAPER.confidence.model_dump())


def stairs():
    """A mask over three columns of patches, each deeper by 0.07, 0.1: (depth, semantic) on a 6 x 9 grid."""
    depth, semantic = np.full((6, 9), 1.0), np.zeros((6, 9), dtype=bool)
    semantic[1:5, 1:7] = True
    depth[:, 1:3], depth[:, 3:5], depth[:, 5:7] = 0.3, 0.37, 0.47
    return depth, semantic


KEYS = {"xy_extent": 0.1, "k": 40, "background_z": 1.5, "tau_knn_min": 0.05, "tau_knn": 0.11}


def confidence_of(n_thresholds=6, sc_min=0.1, **more):
    depth, semantic = stairs()
    keys = KEYS | more
    graph = semantic_graph(grid_points(depth, (6, 9), xy_extent=0.1), semantic, k=40, background_z=1.5, longest=0.11)
    instance = local_cut(graph, semantic, 10, 0, tau_knn=0.11)
    found = spatial_confidence(
        semantic[None], instance[None], np.array([[10, 0]]), depth, n_thresholds=n_thresholds, sc_min=sc_min, **keys
    )
    return found[0], instance


def test_thresholds_are_even_and_end_at_both():
    assert np.allclose(thresholds(0.05, 0.115, 6), [0.05, 0.063, 0.076, 0.089, 0.102, 0.115])
    assert thresholds(0.05, 0.115, 1).tolist() == [0.115] and thresholds(0.1, 0.1, 2).tolist() == [0.1, 0.1]
    for wrong in ((0.05, 0.1, 0), (0.2, 0.1, 3)):
        with pytest.raises(ValueError, match="thresholds"):
            thresholds(*wrong)


def test_confidence_is_the_share_of_cuts_that_hold_a_patch():
    """Of 0.05, 0.062, 0.074, 0.086, 0.098, 0.11 four reach the second stair (0.07) and one the third (0.1)."""
    confidence, instance = confidence_of()
    assert np.allclose(confidence[1:5, 1:3], 1)
    assert np.allclose(confidence[1:5, 3:5], 4 / 6) and np.allclose(confidence[1:5, 5:7], 1 / 6)
    assert np.array_equal(confidence > 0, instance)


def test_it_is_the_mean_of_separate_cuts():
    depth, semantic = stairs()
    points = grid_points(depth, (6, 9), xy_extent=0.1)
    cuts = []
    for tau in thresholds(0.05, 0.11, 4):
        graph = semantic_graph(points, semantic, k=40, background_z=1.5, longest=float(tau))
        cuts.append(local_cut(graph, semantic, 10, 0, tau_knn=float(tau)))
    graph = semantic_graph(points, semantic, k=40, background_z=1.5, longest=0.11)
    assert np.allclose(average_cuts(graph, semantic, 10, 0, tau_knn=0.11, n_thresholds=4), np.mean(cuts, axis=0))


@pytest.mark.parametrize(("capacity", "expected"), [("inverse", [0, 0, 1, 1]), ("distance", [0, 1, 1, 1])])
def test_the_capacity_decides_where_the_cuts_have_a_path(capacity, expected):
    """A chain with the sink at its first patch: the longest edge is cheapest, or the shortest."""
    chain = KnnGraph(4, np.array([[0, 1], [1, 2], [2, 3]]), np.array([0.02, 0.05, 0.03]))
    whole = np.ones((1, 4), dtype=bool)
    share = average_cuts(chain, whole, 3, 0, tau_knn=0.06, tau_knn_min=0.055, n_thresholds=2, capacity=capacity)
    assert share.tolist() == [expected]


def test_it_is_clamped_inside_and_zero_outside():
    confidence, instance = confidence_of(sc_min=0.5)
    assert confidence[instance].min() == 0.5 and not confidence[~instance].any()


def test_one_threshold_is_sure_of_the_instance():
    confidence, instance = confidence_of(n_thresholds=1)
    assert np.array_equal(confidence, instance.astype(np.float32))


def test_networkx_gives_the_same():
    assert np.array_equal(confidence_of(maxflow="networkx")[0], confidence_of()[0])


@given(st.floats(0, 1), st.floats(0.01, 1))
def test_clamping_stays_in_range(share, sc_min):
    instance = np.array([[True, False]])
    result = clamp_confidence(np.full((1, 2), share), instance, sc_min=sc_min)
    assert result[0, 0] == pytest.approx(max(share, sc_min)) and result[0, 1] == 0


def test_empty_slots_and_instances_without_a_cut():
    masks = np.zeros((2, 6, 9), dtype=bool)
    masks[1, 2:4, 2:4] = True
    confidence = spatial_confidence(masks, masks, np.full((2, 2), -1), None)
    assert np.array_equal(confidence, masks.astype(np.float32))
    assert mean_confidence(confidence, masks).tolist() == [0, 1]
    with pytest.raises(ValueError, match="depth: expected a map for instance 1"):
        spatial_confidence(masks, masks, np.array([[-1, -1], [20, 0]]), None)


def test_the_score_is_the_mean_inside():
    confidence, instance = confidence_of()
    assert mean_confidence(confidence[None], instance[None])[0] == pytest.approx((1 + 4 / 6 + 1 / 6) / 3)
