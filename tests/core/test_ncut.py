from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigh

from cuts3d_cli.config import resolve
from cuts3d_cli.core import affinity, ncut
from cuts3d_cli.core.ncut import TINY, canonical_sign, first_largest
from cuts3d_cli.core.patch_graph import PatchGraph

SETTINGS = resolve({"preset": "maskcut"}).localcut
bipartition = partial(ncut.bipartition, corners=SETTINGS.corners, component=SETTINGS.component)
second_eigenvector, second_eigenvectors = (
    partial(function, solver=SETTINGS.eigensolver) for function in (ncut.second_eigenvector, ncut.second_eigenvectors)
)
strong_pairs = partial(affinity.strong_pairs, exponent=SETTINGS.exponent)


def cosine_of(a, b):
    a, b = np.ravel(a).astype(float), np.ravel(b).astype(float)
    return abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b)


def clusters(sizes, weak=1e-5):
    """Graph of fully joined groups."""
    label = np.repeat(np.arange(len(sizes)), sizes)
    return np.where(label[:, None] == label[None, :], 1, weak).astype(np.float32)


def random_graph(n, seed=0, share=0.3):
    weights = (np.random.default_rng(seed).random((n, n)) < share).astype(np.float32)
    return np.maximum(np.maximum(weights, weights.T), np.float32(1e-5))


@pytest.mark.parametrize("solver", ["lanczos", "torch", "dense"])
@pytest.mark.parametrize("n", [2, TINY, 90, 200])
def test_the_vector_solves_the_generalised_problem(solver, n):
    weights = random_graph(n)
    x, used = second_eigenvector(weights, solver=solver)
    assert used.startswith("dense" if n <= TINY else solver)
    w = weights.astype(float)
    z = np.diag(w.sum(axis=1))
    values = eigh(z - w, z, eigvals_only=True)
    assert np.abs((z - w) @ x - values[1] * z @ x).max() < 2e-4 * np.abs(z @ x).max()
    assert abs(x @ z.sum(axis=1)) < 1e-5 * np.abs(z @ x).sum()  # Z-orthogonal to the first eigenvector, 1
    assert np.abs(x).max() == 1


@pytest.mark.parametrize("solver", ["lanczos", "torch"])
@pytest.mark.parametrize("seed", range(3))
def test_iterations_equal_dense(seed, solver):
    weights = random_graph(300, seed)
    (a, used), (b, _) = second_eigenvector(weights, solver=solver), second_eigenvector(weights, solver="dense")
    assert used.startswith(solver)
    assert cosine_of(a, b) > 0.99999 and np.array_equal(np.sign(a[np.abs(a) > 0.01]), np.sign(b[np.abs(a) > 0.01]))


@pytest.mark.parametrize(("solver", "name"), [("lanczos", "lanczos float64"), ("torch", "torch")])
def test_a_small_gap_is_solved_in_double_precision(solver, name):
    """Three groups joined by weak edges: the second and third eigenvalue are about 1e-5 apart."""
    weights = clusters([80, 100, 140])
    b, _ = second_eigenvector(weights, solver="dense")
    for graph in (weights, PatchGraph(weights == 1)):
        a, used = second_eigenvector(graph, solver=solver)
        assert used == name and cosine_of(a, b) > 0.999999


def test_torch_solves_graphs_of_any_sizes_together_as_each_alone():
    """One of them has its subspace exhausted after two steps, one is too small to iterate on, one has no structure."""
    graphs = [random_graph(100), clusters([60, 40]), random_graph(100, 1), random_graph(150), random_graph(20)]
    graphs += [np.ones((100, 100))]
    found = second_eigenvectors(graphs, solver="torch")
    assert [used for _, used in found] == ["torch"] * 4 + ["dense"] * 2
    for graph, (x, _) in zip(graphs[:5], found, strict=False):
        assert cosine_of(x, second_eigenvector(graph, solver="dense")[0]) > 0.9999
        assert np.allclose(x, second_eigenvector(graph, solver="torch")[0], atol=1e-9)


def test_removed_patches_are_as_good_as_dropped_rows_and_columns():
    strong = random_graph(150) == 1
    nodes = np.random.default_rng(0).random(150) < 0.7
    expected, _ = second_eigenvector(np.where(strong, 1, 1e-5)[np.ix_(nodes, nodes)], solver="dense")
    for solver in ("lanczos", "torch", "dense"):
        x, _ = second_eigenvector(PatchGraph(strong, nodes), solver=solver)
        assert not x[~nodes].any() and np.allclose(x[nodes], expected, atol=1e-4)


@pytest.mark.parametrize("solver", ["lanczos", "torch"])
def test_large_graphs_without_an_answer_get_one_without_the_dense_solver(solver, monkeypatch):
    """No structure: every vector is as good, so the one that the iteration starts from is the answer."""
    monkeypatch.setattr(ncut, "DENSE_LIMIT", 80)
    weights = np.ones((100, 100))
    x, used = second_eigenvector(weights, solver=solver)
    assert used == "ritz" and abs(x.mean()) < 1e-6 and np.abs(x).max() == 1
    assert np.array_equal(x, second_eigenvector(weights, solver=solver)[0])


@pytest.mark.parametrize(("limit", "name"), [(200, "dense"), (80, "ritz")])
def test_an_iteration_that_ends_too_soon_is_not_trusted_where_dense_can_answer(limit, name, monkeypatch):
    monkeypatch.setattr(ncut, "DENSE_LIMIT", limit)
    for precision in ("_SINGLE", "_DOUBLE"):
        monkeypatch.setattr(ncut, precision, getattr(ncut, precision)._replace(steps=4))
    weights = random_graph(150)
    x, used = second_eigenvector(weights)
    assert used == name and np.isfinite(x).all() and np.ptp(x) > 0


@pytest.mark.parametrize("solver", ["lanczos", "torch", "dense"])
def test_disconnected_parts_get_a_value_each(solver):
    x, _ = second_eigenvector(clusters([100, 40], weak=0), solver=solver)
    assert np.ptp(x[:100]) < 1e-6 and np.ptp(x[100:]) < 1e-6
    assert x[100] == pytest.approx(1) and x[0] == pytest.approx(-0.16)  # Z-orthogonal to 1: sums of squares of sizes


@pytest.mark.parametrize("weights", [np.ones((100, 100)), np.ones((3, 3)), np.eye(100) + 1e-5])
def test_graphs_without_structure_fall_back(weights):
    x, used = second_eigenvector(weights)
    assert used == "dense" and np.isfinite(x).all() and np.ptp(x) > 0


def test_a_patch_without_weight_gets_zero():
    weights = np.zeros((101, 101), dtype=np.float32)
    weights[1:, 1:] = random_graph(100)
    x, _ = second_eigenvector(weights)
    assert x[0] == 0 and np.allclose(x[1:], second_eigenvector(random_graph(100))[0], atol=1e-5)


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from(["lanczos", "torch", "dense"]))
def test_permuted_patches_give_the_permuted_vector_and_sides(seed, solver):
    """Without the rules of the image plane (corners, components), the sides are those of the patches alone."""
    weights, order = random_graph(120, seed % 7), np.random.default_rng(seed).permutation(120)
    x, _ = second_eigenvector(weights, solver=solver)
    permuted, _ = second_eigenvector(np.ascontiguousarray(weights[np.ix_(order, order)]), solver=solver)
    assert np.allclose(permuted, x[order], atol=1e-4)
    plain, other = (bipartition(v.reshape(10, 12), corners=5, component="none") for v in (x, permuted))
    clear = np.abs(x - x.mean()) > 1e-3
    assert np.array_equal(other.foreground.ravel()[clear[order]], plain.foreground.ravel()[order][clear[order]])
    assert order[other.seed] == plain.seed


@pytest.mark.parametrize("weights", [random_graph(150), clusters([100, 60])], ids=["random", "groups"])
def test_the_same_graph_gives_the_same_vector(weights):
    """Groups exhaust the Krylov space after two steps, where ARPACK goes on from a random vector."""
    results = {second_eigenvector(weights)[0].tobytes() for _ in range(5)}
    assert len(results) == 1


@pytest.mark.parametrize(
    ("weights", "solver", "message"),
    [
        (np.ones((3, 4)), "lanczos", "expected \\(n, n\\)"),
        (np.ones((1, 1)), "lanczos", "at least 2"),
        (np.zeros((5, 5)), "dense", "at least 2"),
        (np.full((3, 3), np.nan), "lanczos", "finite"),
        (-np.ones((3, 3)), "lanczos", "not negative"),
        (np.ones((3, 3)), "power", "solver"),
    ],
)
def test_wrong_graphs_are_refused(weights, solver, message):
    with pytest.raises(ValueError, match=message):
        second_eigenvector(weights, solver=solver)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=12).filter(any), st.floats(-1e-9, 1e-9))
def test_the_sign_survives_negation_and_rounding(values, noise):
    x = np.array(values, dtype=float)
    x[-1] *= 1 + noise
    assert np.allclose(canonical_sign(x), canonical_sign(-x))


def test_of_equal_values_the_first_counts():
    assert first_largest(np.array([0.1, 1.0, 1.0 + 1e-9, 0.5])) == 1
    assert first_largest(np.array([0.1, 1.0, 1.0 + 1e-9, 0.5]), tie=0) == 2
    assert canonical_sign(np.array([-1, 0.3, 1 + 1e-9]))[0] == 1


# Bipartition


def centre_peak(h=5, w=6):
    x = np.full((h, w), -0.2)
    x[1:3, 2:4] = 0.8
    x[2, 3] = 1.0
    return x


def test_the_side_of_the_largest_value_is_foreground():
    sides = bipartition(centre_peak())
    assert np.array_equal(sides.semantic, centre_peak() > 0)
    assert sides.seed == 2 * 6 + 3 and not sides.flipped


def test_the_solver_sign_does_not_matter_away_from_corners():
    assert np.array_equal(bipartition(-centre_peak()).semantic, bipartition(centre_peak()).semantic)


def corner_peak(corners):
    x = np.full((6, 6), -0.2)
    x[0, :] = x[:, 0] = 0.5
    if corners == 4:
        x[-1, -1] = 0.5
    x[0, 0] = 1
    x[3, 3] = -0.4
    return x


@pytest.mark.parametrize(("in_corners", "limit", "flipped"), [(3, 3, True), (3, 4, False), (4, 4, True), (4, 5, False)])
def test_a_side_with_enough_corners_is_background(in_corners, limit, flipped):
    x = corner_peak(in_corners)
    sides = bipartition(x, corners=limit)
    assert sides.flipped == flipped
    assert np.array_equal(sides.foreground, (x > x.mean()) != flipped)
    assert sides.seed == (3 * 6 + 3 if flipped else 0)


def test_only_the_part_of_the_seed_is_kept_unless_asked_otherwise():
    x = centre_peak(7, 7)
    x[5, 5] = x[3, 4] = 0.9  # one apart, one touching by a corner of the patch only
    assert bipartition(x).semantic.sum() == 4
    assert bipartition(x, component="none").semantic.sum() == 6


def test_patches_outside_the_graph_are_on_no_side():
    nodes = np.ones((5, 6), dtype=bool)
    nodes[2, 3] = nodes[0] = False
    sides = bipartition(centre_peak(), nodes=nodes)
    assert not sides.foreground[~nodes].any() and nodes.flat[sides.seed]
    assert sides.semantic.sum() == 3


def test_the_mean_is_that_of_the_patches_of_the_graph():
    x, nodes = np.zeros((4, 4)), np.zeros((4, 4), dtype=bool)
    nodes[1] = True
    x[1] = 1, 0.15, -0.2, -0.3  # their mean is 0.16, with the zeros of the others 0.04
    assert bipartition(x, nodes=nodes).foreground.sum() == 1


@pytest.mark.parametrize("shape", [(1, 1), (4, 4)])
def test_a_constant_vector_has_no_foreground(shape):
    assert not bipartition(np.full(shape, 0.7)).semantic.any()


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.sampled_from(["seed", "none"]), st.integers(1, 5))
def test_the_seed_is_in_the_foreground_and_the_sides_are_those_of_the_mean(seed, component, corners):
    x = np.random.default_rng(seed).standard_normal((5, 4))
    sides = bipartition(x, component=component, corners=corners)
    assert sides.semantic.flat[sides.seed] and not (sides.semantic & ~sides.foreground).any()
    above = x > x.mean()
    assert np.array_equal(sides.foreground, above) or np.array_equal(sides.foreground, ~above)


@pytest.mark.parametrize(
    ("x", "kwargs", "message"),
    [
        (np.ones(4), {}, "expected \\(h, w\\)"),
        (np.ones((2, 2)), {"component": "largest"}, "component"),
        (np.ones((2, 2)), {"nodes": np.zeros((2, 2), dtype=bool)}, "nodes"),
    ],
)
def test_wrong_vectors_are_refused(x, kwargs, message):
    with pytest.raises(ValueError, match=message):
        bipartition(x, **kwargs)


# CutLER's released MaskCut: features, and the masks and signed eigenvectors that it gave on them

CASES = ["block_24", "random_28", "render1_30", "render7_30", "render12_30", "render0_60", "render4_60"]
DEGENERATE = {("block_24", 2), ("random_28", 2)}  # many patches equal, any mix of vectors solves it


@pytest.mark.parametrize("case", CASES)
def test_stored_eigenvectors_give_the_released_masks(golden, case):
    stored = golden(f"maskcut_{case}")
    union = np.zeros(stored["masks"].shape[1:], dtype=bool)
    previous = union
    for x, mask in zip(stored["eigenvectors"], stored["masks"], strict=True):
        semantic = bipartition(x, tie=0).semantic
        overlap = (semantic & previous).sum() / max(1, (semantic | previous).sum())
        previous = semantic if overlap <= 0.5 else np.zeros_like(semantic)
        assert np.array_equal(previous & ~union, mask.astype(bool))
        union = union | previous


@pytest.mark.parametrize(
    ("solver", "case"),
    [
        (solver, case)
        for solver in ("lanczos", "torch", "dense")
        for case in CASES
        if solver != "dense" or case[-2:] < "60"
    ],
)
def test_features_give_the_released_eigenvectors_up_to_sign(golden, case, solver):
    stored = golden(f"maskcut_{case}")
    taken = np.zeros(stored["masks"].shape[1:], dtype=bool)
    checked = 0
    for step, (x, mask) in enumerate(zip(stored["eigenvectors"], stored["masks"], strict=True)):
        if (case, step) not in DEGENERATE:
            graph = PatchGraph(strong_pairs(np.where(taken, 0, stored["features"]), float(stored["tau"])))
            found, used = second_eigenvector(graph, solver=solver)
            assert cosine_of(found, x) > 0.9999 and used.startswith(solver)
            checked += 1
        taken |= mask.astype(bool)
    assert checked
