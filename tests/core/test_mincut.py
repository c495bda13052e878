from functools import partial

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuts3d_cli.config import resolve
from cuts3d_cli.core import mincut

min_cut = partial(mincut.min_cut, solver=resolve().localcut.maxflow)


def random_problem(seed, n=12, e=30, spread=3.0):
    rng = np.random.default_rng(seed)
    edges = rng.integers(0, n, (e, 2))
    return n, edges, np.exp(rng.uniform(-spread, spread, e))


def crossing(edges, capacities, side):
    return capacities[side[edges[:, 0]] != side[edges[:, 1]]].sum()


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.floats(0, 6))
def test_both_solvers_agree_and_the_cut_has_its_value(seed, spread):
    n, edges, capacities = random_problem(seed, spread=spread)
    side, value = min_cut(n, edges, capacities, 0, n - 1)
    side_nx, value_nx = min_cut(n, edges, capacities, 0, n - 1, solver="networkx")
    assert value == value_nx and np.array_equal(side, side_nx)
    assert side[0] and not side[n - 1]
    assert value == pytest.approx(crossing(edges, capacities, side), abs=1e-7 * capacities.sum())


@pytest.mark.parametrize("seed", range(5))
def test_no_cut_is_cheaper(seed):
    """Against all 2^6 cuts of a small graph."""
    n, edges, capacities = random_problem(seed, n=8, e=16)
    _, value = min_cut(n, edges, capacities, 0, 7)
    sides = (np.arange(64)[:, None] >> np.arange(6) & 1).astype(bool)
    sides = np.hstack([np.ones((64, 1), bool), sides, np.zeros((64, 1), bool)])
    assert value == pytest.approx(min(crossing(edges, capacities, side) for side in sides), rel=1e-6)


def test_value_equals_networkx_on_the_unscaled_graph():
    n, edges, capacities = random_problem(7, n=40, e=200)
    graph = nx.Graph()
    graph.add_nodes_from(range(n))
    for (a, b), c in zip(edges.tolist(), capacities.tolist(), strict=True):
        if a != b:
            graph.add_edge(a, b, capacity=graph.get_edge_data(a, b, {"capacity": 0})["capacity"] + c)
    assert min_cut(n, edges, capacities, 0, 1)[1] == pytest.approx(nx.minimum_cut_value(graph, 0, 1), rel=1e-6)


@pytest.mark.parametrize("solver", ["scipy", "networkx"])
def test_the_weakest_edge_of_a_chain_is_cut(solver):
    edges, capacities = np.array([[0, 1], [1, 2], [2, 3]]), np.array([3.0, 0.5, 2.0])
    side, value = min_cut(4, edges, capacities, 0, 3, solver=solver)
    assert side.tolist() == [True, True, False, False] and value == pytest.approx(0.5)


@pytest.mark.parametrize("solver", ["scipy", "networkx"])
def test_of_equal_cuts_the_smallest_source_side_is_taken(solver):
    edges = np.array([[0, 1], [1, 2], [2, 3]])
    assert min_cut(4, edges, np.ones(3), 0, 3, solver=solver)[0].tolist() == [True, False, False, False]


@pytest.mark.parametrize("solver", ["scipy", "networkx"])
def test_without_a_path_the_side_is_what_the_source_reaches(solver):
    side, value = min_cut(5, np.array([[0, 1], [2, 3]]), np.ones(2), 0, 3, solver=solver)
    assert side.tolist() == [True, True, False, False, False] and value == 0
    side, value = min_cut(2, np.empty((0, 2)), np.empty(0), 0, 1, solver=solver)
    assert side.tolist() == [True, False] and value == 0


def test_many_dear_edges_at_one_node_do_not_overflow():
    """A star of 3000 edges of the largest capacity beside one of the smallest."""
    leaves = np.arange(2, 3002)
    edges = np.concatenate([np.stack([np.zeros_like(leaves), leaves], 1), np.stack([leaves, np.ones_like(leaves)], 1)])
    capacities = np.full(len(edges), 1e6)
    capacities[0] = 1e-3
    _, value = min_cut(3002, edges, capacities, 0, 1)
    assert value == pytest.approx(2999e6, rel=1e-5)


@pytest.mark.parametrize(
    ("source", "sink", "capacity", "solver", "message"),
    [
        (0, 0, 1, "scipy", "two different"),
        (0, 9, 1, "scipy", "two different"),
        (0, 1, 0, "scipy", "positive"),
        (0, 1, 1, "bk", "solver"),
    ],
)
def test_wrong_problems_are_refused(source, sink, capacity, solver, message):
    with pytest.raises(ValueError, match=message):
        min_cut(3, np.array([[0, 1]]), np.array([float(capacity)]), source, sink, solver=solver)
