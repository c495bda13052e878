import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuts3d_cli.core.affinity import WEAK_EDGE
from cuts3d_cli.core.lanczos import exact_pieces
from cuts3d_cli.core.patch_graph import PatchGraph


def some_graph(n=70, seed=0, removed=0.3):
    rng = np.random.default_rng(seed)
    strong = rng.random((n, n)) < 0.3
    return PatchGraph(strong | strong.T, rng.random(n) >= removed)


def test_weights_are_one_and_weak_among_the_patches_of_the_graph():
    graph = some_graph()
    weights = graph.weights()
    assert weights.shape == (graph.n_nodes,) * 2 and set(np.unique(weights)) == {WEAK_EDGE, 1.0}
    assert np.array_equal(weights == 1, graph.strong[graph.nodes][:, graph.nodes])
    assert (
        np.allclose(graph.degrees[graph.nodes], weights.sum(axis=1), rtol=1e-12)
        and not graph.degrees[~graph.nodes].any()
    )


@pytest.mark.parametrize(("double", "tol"), [(False, 1e-5), (True, 1e-11)])
def test_products_are_those_of_the_weights_whatever_the_blocks(double, tol, monkeypatch):
    graph, v = some_graph(), np.random.default_rng(1).standard_normal(70)
    expected = np.zeros(70)
    expected[graph.nodes] = graph.weights() @ v[graph.nodes]
    for entries in (2**20, 1000, 1):
        monkeypatch.setattr("cuts3d_cli.core.patch_graph._BLOCK", entries)
        assert np.allclose(graph.product(v, double=double), expected, atol=tol, rtol=0)


def test_removing_patches_copies_nothing():
    graph = some_graph()
    assert PatchGraph(graph.strong, np.ones(70, dtype=bool)).strong is graph.strong


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("joined", [True, False])
def test_a_graph_whose_pairs_are_all_alike_is_uniform(joined, own):
    strong = np.full((6, 6), joined)
    np.fill_diagonal(strong, own)
    assert PatchGraph(strong).is_uniform
    strong[0, 1] = strong[1, 0] = not joined
    assert not PatchGraph(strong).is_uniform
    without = np.arange(6) > 0
    assert PatchGraph(strong, without).is_uniform  # the pair that differs is gone


@pytest.mark.parametrize("n_nodes", [0, 1])
def test_no_pair_is_uniform(n_nodes):
    graph = PatchGraph(np.ones((4, 4), dtype=bool), np.arange(4) < n_nodes)
    assert graph.is_uniform and graph.n_nodes == n_nodes


@given(
    st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=20), st.sampled_from([2, 3600, 14400])
)
def test_pieces_are_small_whole_numbers_that_sum_to_the_vector(values, n):
    v = np.array(values)
    pieces = exact_pieces(v, n)
    assert np.abs(sum(factor * piece for factor, piece in pieces) - v).max() <= 2.0**-39 * np.abs(v).max()
    if v.any():
        assert all(np.array_equal(piece, np.rint(piece)) and np.abs(piece).max() * n <= 2**24 for _, piece in pieces)


@pytest.mark.parametrize(
    ("strong", "nodes", "message"),
    [
        (np.ones((2, 3), dtype=bool), None, "strong"),
        (np.ones((2, 2)), None, "strong"),
        (np.ones((2, 2), dtype=bool), np.ones(3, dtype=bool), "nodes"),
    ],
)
def test_wrong_graphs_are_refused(strong, nodes, message):
    with pytest.raises(ValueError, match=message):
        PatchGraph(strong, nodes)
