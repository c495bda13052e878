from functools import partial

import networkx as nx
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from cuts3d_cli.config import resolve
from cuts3d_cli.core import geometry, localcut, mincut
from cuts3d_cli.core.localcut import edge_capacities, semantic_graph

SETTINGS = resolve({"preset": "paper"}).localcut
local_cut = partial(localcut.local_cut, capacity=SETTINGS.capacity, maxflow=SETTINGS.maxflow)
choose_sink = partial(localcut.choose_sink, sink=SETTINGS.sink)
knn_graph = partial(localcut.knn_graph, k=SETTINGS.k)
grid_points = partial(geometry.grid_points, xy_extent=SETTINGS.xy_extent)
min_cut = partial(mincut.min_cut, solver=SETTINGS.maxflow)


def pairs(edges):
    return {tuple(sorted(pair)) for pair in edges.tolist()}


@pytest.mark.parametrize("k", [1, 5, 50])
def test_edges_are_the_nearest_neighbours_of_either_end(k):
    points = np.random.default_rng(0).random((30, 3))
    graph = knn_graph(points, k=k)
    distance = cdist(points, points)
    nearest = np.argsort(distance, axis=1)[:, 1 : k + 1]
    assert pairs(graph.edges) == {tuple(sorted((i, int(j)))) for i in range(30) for j in nearest[i]}
    assert len(pairs(graph.edges)) == len(graph.edges)
    assert np.allclose(graph.lengths, distance[graph.edges[:, 0], graph.edges[:, 1]])


def test_one_query_serves_all_smaller_thresholds():
    points = np.random.default_rng(0).random((60, 3))
    graph = knn_graph(points, k=8, longest=0.4)
    for tau in (0.1, 0.25, 0.4):
        edges, lengths = graph.up_to(tau)
        own = knn_graph(points, k=8, longest=tau)
        assert pairs(edges) == pairs(own.edges) and (lengths <= tau).all()
    assert len(graph.up_to(0.25)[0]) < len(graph.up_to(0.4)[0])


def test_an_edge_of_exactly_the_threshold_is_kept():
    assert len(knn_graph(np.array([[0, 0, 0], [0, 0, 0.5]]), k=1, longest=0.5).up_to(0.5)[0]) == 1


def test_few_or_equal_points():
    assert len(knn_graph(np.zeros((1, 3))).edges) == 0
    assert pairs(knn_graph(np.zeros((3, 3)), k=2).edges) == {(0, 1), (0, 2), (1, 2)}
    with pytest.raises(ValueError, match="points and k"):
        knn_graph(np.zeros((3, 2)))


def test_capacities():
    lengths = np.array([0.0, 0.02, 0.1])
    assert np.allclose(edge_capacities(lengths, capacity="inverse"), [1000, 50, 10])
    assert np.allclose(edge_capacities(lengths, capacity="distance"), [0.001, 0.02, 0.1])
    assert edge_capacities(lengths, capacity="unit").tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="capacity"):
        edge_capacities(lengths, capacity="square")


def test_the_sink_is_the_least_decided_patch():
    x = np.array([[0.9, 0.1, -0.3], [0.8, -0.2, -0.5]])
    semantic = x > 0
    assert choose_sink(x, semantic, 0) == 4
    assert choose_sink(x, semantic, 0, sink="anywhere") == 1
    assert choose_sink(x, semantic, 0, nodes=np.array([[True, True, True], [True, False, True]])) == 2
    assert choose_sink(x, np.ones_like(semantic), 0) == -1
    assert choose_sink(np.array([[1, -0.1, 0.1 - 1e-9]]), np.array([[True, False, False]]), 0) == 1
    assert choose_sink(np.ones((1, 1)), np.ones((1, 1), dtype=bool), 0, sink="anywhere") == -1
    with pytest.raises(ValueError, match="sink"):
        choose_sink(x, semantic, 0, sink="inside")


def terraces():
    """A mask of two touching terraces at depth 0.3 and 0.6 on a 12 x 12 grid, and the near one."""
    depth, semantic = np.full((12, 12), 0.9), np.zeros((12, 12), dtype=bool)
    semantic[3:9, 2:10] = True
    near = semantic.copy()
    near[:, 6:] = False
    depth[semantic] = 0.6
    depth[near] = 0.3
    return depth, semantic, near


CHOICES = [
    {"tau_knn": 0.2},
    {"tau_knn": 0.2, "maxflow": "networkx"},
    {"tau_knn": 0.2, "capacity": "distance"},
    {"tau_knn": 0.2, "capacity": "unit"},
]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@pytest.mark.parametrize("sink", [-1, 0])
def test_a_step_in_depth_longer_than_the_threshold_parts_the_mask(choice, sink):
    depth, semantic, near = terraces()
    points = grid_points(depth, (12, 12))
    graph = semantic_graph(points, semantic, k=20, background_z=1.5, longest=0.2)
    assert np.array_equal(local_cut(graph, semantic, 3 * 12 + 2, sink, **choice), near)


def test_a_threshold_above_the_step_keeps_the_mask_whole():
    depth, semantic, _ = terraces()
    graph = semantic_graph(grid_points(depth, (12, 12)), semantic, k=40, background_z=1.5, longest=0.4)
    assert np.array_equal(local_cut(graph, semantic, 3 * 12 + 2, 0, tau_knn=0.4), semantic)


def test_the_instance_stays_within_the_mask_where_the_plane_touches_it():
    _, semantic, _ = terraces()
    points = grid_points(np.full((12, 12), 0.5), (12, 12))
    graph = semantic_graph(points, semantic, k=20, background_z=0.5, longest=0.2)
    assert np.array_equal(local_cut(graph, semantic, 3 * 12 + 2, -1, tau_knn=0.2), semantic)


def test_a_bridge_is_cut_where_it_is_cheapest():
    """Two plateaus joined by one row of patches, the sink on the far one: flow, not connectivity, decides."""
    semantic = np.zeros((7, 13), dtype=bool)
    semantic[1:6, 1:5] = semantic[1:6, 8:12] = semantic[3, 4:9] = True
    graph = semantic_graph(
        grid_points(np.full((7, 13), 0.5), (7, 13), xy_extent=1), semantic, k=8, background_z=5, longest=0.2
    )
    source, sink = 1 * 13 + 1, 5 * 13 + 11
    for maxflow in ("scipy", "networkx"):
        cut = local_cut(graph, semantic, source, sink, tau_knn=0.2, capacity="unit", maxflow=maxflow)
        assert cut[1:6, 1:5].all() and not cut[1:6, 9:12].any()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("capacity", ["inverse", "distance"])
def test_solvers_cut_the_same_instance(seed, capacity):
    rng = np.random.default_rng(seed)
    semantic = rng.random((8, 8)) < 0.7
    graph = semantic_graph(grid_points(rng.random((8, 8)), (8, 8)), semantic, k=8, background_z=1.0, longest=0.5)
    source, sink = (int(i) for i in rng.choice(np.flatnonzero(semantic), 2, replace=False))
    cuts = [
        local_cut(graph, semantic, source, sink, tau_knn=0.5, capacity=capacity, maxflow=m)
        for m in ("scipy", "networkx")
    ]
    assert np.array_equal(*cuts) and cuts[0].flat[source] and not cuts[0].flat[sink]


def test_empty_full_and_single_masks():
    points = grid_points(np.full((4, 4), 0.5), (4, 4))
    empty, full, one = np.zeros((4, 4), dtype=bool), np.ones((4, 4), dtype=bool), np.zeros((4, 4), dtype=bool)
    one[1, 1] = True
    for mask, expected in ((empty, empty), (full, full), (one, one)):
        graph = semantic_graph(points, mask, k=20, background_z=1.5, longest=0.5)
        assert np.array_equal(local_cut(graph, mask, 5, -1, tau_knn=0.5), expected)
    single = np.ones((1, 1), dtype=bool)
    graph = semantic_graph(np.zeros((1, 3)), single, k=20, background_z=1.5, longest=0.5)
    assert local_cut(graph, single, 0, -1, tau_knn=0.5).all()


def test_permuted_points_give_the_permuted_instance():
    rng = np.random.default_rng(0)
    points, semantic, order = rng.random((50, 3)), rng.random(50) < 0.8, rng.permutation(50)
    source, sink = np.flatnonzero(semantic)[[0, -1]]
    back = np.argsort(order)

    def cut(points, semantic, source, sink):
        graph = semantic_graph(points, semantic, k=6, background_z=1.5, longest=0.4)
        return local_cut(graph, semantic, int(source), int(sink), tau_knn=0.4)

    assert np.array_equal(
        cut(points[order], semantic[order], back[source], back[sink]), cut(points, semantic, source, sink)[order]
    )


def smallest_and_largest_side(n, edges, capacities, source, sink):
    """The source's side of the cheapest cut with the fewest and with the most nodes; equal where the cut is unique."""
    smallest, value = min_cut(n, edges, capacities, source, sink)
    return smallest, ~min_cut(n, edges, capacities, sink, source)[0], value


@pytest.mark.parametrize("capacity", ["inverse", "distance", "unit"])
@pytest.mark.parametrize("background_z", [1.0, 1.5])
def test_networkx_finds_the_same_cut_in_a_scene(draw_boxes, capacity, background_z):
    """On the graph of a drawn scene, the sink anywhere: the value always, the instance where the cut is unique."""
    unique = 0
    for seed in range(6):
        scene = draw_boxes(grid=12, seed=seed)
        semantic = scene.boxes.any(axis=0)
        rng = np.random.default_rng(seed)
        x = np.where(semantic, 1, -1) * rng.uniform(0.3, 1, semantic.shape)
        x[scene.boxes[1]] *= 0.2  # the least decided patch is on the farther box, which its edges join to the other
        source = int(np.argmax(x))
        sink = choose_sink(x, semantic, source, sink="anywhere")
        points = grid_points(scene.depth, semantic.shape) + rng.normal(0, 0.01, (semantic.size, 3))
        graph = semantic_graph(points, semantic, k=30, background_z=background_z, longest=0.9)
        joined = graph.reached(source, 0.9)
        assert joined[sink], "no flow to compare"
        capacities = edge_capacities(graph.lengths, capacity=capacity)
        smallest, largest, value = smallest_and_largest_side(graph.n, graph.edges, capacities, source, sink)
        flow = nx.Graph()
        flow.add_weighted_edges_from(zip(*graph.edges.T.tolist(), capacities.tolist(), strict=True), weight="capacity")
        expected, (side, _) = nx.minimum_cut(flow, source, sink, flow_func=nx.algorithms.flow.dinitz)
        assert value == pytest.approx(expected, rel=1e-5)
        if np.array_equal(smallest, largest & joined):  # what hangs on neither terminal is on no side
            unique += 1
            assert set(np.flatnonzero(smallest).tolist()) == side & set(np.flatnonzero(joined).tolist())
            found = local_cut(graph, semantic, source, sink, tau_knn=0.9, capacity=capacity)
            assert np.array_equal(found, smallest.reshape(semantic.shape) & semantic)
    assert unique or capacity == "unit"


@pytest.mark.parametrize("seed", range(3))
def test_what_is_reached_is_the_connected_part(seed):
    points = np.random.default_rng(seed).random((60, 3))
    points[7] = points[8]  # an edge of no length is an edge
    graph = knn_graph(points, k=5, longest=0.3)
    for tau in (0.0, 0.1, 0.2, 0.3):
        whole = nx.Graph(graph.up_to(tau)[0].tolist())
        whole.add_nodes_from(range(60))
        for node in (0, 7, 59):
            found = set(np.flatnonzero(graph.reached(node, tau)).tolist())
            assert found == nx.node_connected_component(whole, node)


@pytest.mark.parametrize("factor", [0.5, 7.0])
@pytest.mark.parametrize("capacity", ["inverse", "distance", "unit"])
def test_scaled_points_and_threshold_give_the_same_instance(factor, capacity):
    """Lengths of scene and threshold alike; the depth alone is another scene (below)."""
    depth, semantic, _ = terraces()
    points = grid_points(depth, (12, 12)) + np.random.default_rng(0).normal(0, 0.02, (144, 3))
    source, sink = 3 * 12 + 2, 7 * 12 + 9

    def cut(points, background_z, tau):
        graph = semantic_graph(points, semantic, k=20, background_z=background_z, longest=tau)
        return local_cut(graph, semantic, source, sink, tau_knn=tau, capacity=capacity)

    assert np.array_equal(cut(points * factor, 1.5 * factor, 0.45 * factor), cut(points, 1.5, 0.45))


def test_depth_scaled_alone_changes_what_a_threshold_parts():
    depth, semantic, near = terraces()
    for factor, expected in ((1, near), (0.5, semantic)):  # steps of 0.3 and 0.15 against 0.2
        graph = semantic_graph(grid_points(depth * factor, (12, 12)), semantic, k=40, background_z=1.5, longest=0.2)
        assert np.array_equal(local_cut(graph, semantic, 3 * 12 + 2, 0, tau_knn=0.2), expected)
