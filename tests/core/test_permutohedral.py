import itertools

import numpy as np
import pytest
import torch

from cuts3d_cli.core import permutohedral, permutohedral_torch
from cuts3d_cli.core.lattice_geometry import axis_scales, code_steps
from cuts3d_cli.core.mean_field import _tanh_of_half
from cuts3d_cli.core.permutohedral import LANES, LINKED


def drawn(n_dims, n=700, spread=3.0, seed=0):
    return np.random.default_rng(seed).normal(0, spread, (n_dims, n)).astype(np.float32)


def through(lattice, values):
    """(N) values through a lattice."""
    lanes = np.zeros((len(values), LANES), np.float32)
    lanes[:, 1] = values
    sums, out = np.empty(lattice.n_vertices * LANES, np.float32), np.zeros(lanes.size, np.float32)
    lattice.blur(lanes.ravel(), sums)
    lattice.add_sliced(sums, out)
    assert not out.reshape(-1, LANES)[:, [0, 2, 3]].any()
    return out.reshape(-1, LANES)[:, 1]


@pytest.mark.parametrize("n_dims", [1, 2, 5])
def test_simplices_enclose_their_positions(n_dims):
    lattice = permutohedral.build(drawn(n_dims))
    vertices, weights = (array.reshape(-1, n_dims + 1) for array in (lattice.vertices, lattice.weights))
    assert weights.min() > -1e-5 and np.allclose(weights.sum(1), 1, atol=1e-5)
    assert (np.diff(np.sort(vertices, axis=1), axis=1) > 0).all()
    assert np.array_equal(np.unique(vertices), np.arange(lattice.n_vertices))


def test_positions_are_the_weighted_means_of_their_vertices():
    """The vertices' own places are found from the values that positions far and wide give."""
    features = drawn(2, n=3000, spread=2)
    lattice = permutohedral.build(features)
    rows = np.repeat(np.arange(3000), 3)
    weights = np.zeros((3000, lattice.n_vertices))
    weights[rows, lattice.vertices] = lattice.weights
    places, *_ = np.linalg.lstsq(weights, features.T, rcond=None)
    assert np.abs(weights @ places - features.T).max() < 1e-3


@pytest.mark.parametrize("n_dims", [2, 5])
def test_neighbours_in_a_chain_are_one_step_apart_and_none_is_missed(n_dims):
    features = drawn(n_dims, spread=1.0)
    steps, _ = code_steps(np.ptp(features, axis=1), axis_scales(n_dims))
    lattice = permutohedral.build(features)
    code = np.zeros(lattice.n_vertices, np.int64)
    codes_by_torch = permutohedral_torch.build(features[None], torch.device("cpu"))
    # Both number the vertices in their own way; the positions' simplices say which is which.
    code[lattice.vertices] = codes_by_torch.vertices.T.ravel().numpy()
    for direction, (begin, end) in enumerate(itertools.pairwise(lattice.ends)):
        chain = lattice.chains[begin:end]
        linked, members = chain >= LINKED, code[chain % LINKED]
        after, before = codes_by_torch.neighbours[direction].numpy()
        pairs = set(zip(members[:-1][linked[1:]], members[1:][linked[1:]], strict=True))
        expected = {(i, j) for i, j in enumerate(after[:-1]) if j < lattice.n_vertices}
        assert pairs == expected and len(set(members)) == len(members) and not linked[:1].any()
        assert all(before[j] == i for i, j in expected)
    assert steps.sum() == 0


def test_a_filter_is_near_the_gaussian_it_stands_for():
    rng = np.random.default_rng(6)
    features = rng.uniform(0, 6, (2, 4000)).astype(np.float32)
    values = np.sin(features[0]) + 1
    distance = ((features[:, :, None] - features[:, None]) ** 2).sum(0)
    kernel = np.exp(-distance / 2)
    expected = kernel @ values / kernel.sum(1)
    plain = permutohedral.build(features)
    found = through(plain, values) / through(plain, np.ones(4000))
    assert np.abs(found - expected).max() < 0.08


@pytest.mark.parametrize("n_dims", [1, 3, 5])
def test_a_normalised_filter_is_normalised_on_both_sides_and_as_torch_has_it(n_dims):
    features, values = drawn(n_dims), np.random.default_rng(7).normal(size=700).astype(np.float32)
    plain, lattice = permutohedral.build(features), permutohedral.normalised(features, 2.5)
    root = np.sqrt(2.5 / through(plain, np.ones(700)))
    assert np.allclose(through(lattice, values), root * through(plain, root * values), atol=1e-4)
    assert np.allclose(through(lattice, 1 / root), 2.5 / root, rtol=1e-4)
    by_torch = permutohedral_torch.normalised(features[None], 2.5, torch.device("cpu"))
    found = by_torch.filtered(torch.as_tensor(values)[:, None])[:, 0].numpy()
    assert np.abs(found - through(lattice, values)).max() < 1e-4


def test_a_table_that_fills_up_is_made_anew(monkeypatch):
    """As many vertices as positions far apart can have, and the same positions again."""
    monkeypatch.setattr(permutohedral, "ROWS_A_POSITION", 1)
    features = drawn(5, n=6000, spread=50.0)
    lattice = permutohedral.build(np.concatenate([features, features], axis=1))
    assert lattice.n_vertices > 30_000
    assert np.array_equal(*np.split(lattice.vertices, 2)) and np.array_equal(*np.split(lattice.weights, 2))


def test_one_step_along_every_direction_leads_back():
    steps, n_codes = code_steps(np.array([10.0, 9.6, 51.0, 51.0, 51.0]), axis_scales(5))
    assert steps.sum() == 0 and 0 < steps[1:].max() < n_codes < 2**50


def test_the_hyperbolic_tangent_is_that_of_numpy():
    x = np.concatenate([np.linspace(-60, 60, 100_001), [0, 1e-6, -1e30, 1e30]]).astype(np.float32)
    out = np.empty_like(x)
    _tanh_of_half(x, out)
    assert np.abs(out - np.tanh(x.astype(np.float64) / 2)).max() < 2e-7 and np.abs(out).max() <= 1
