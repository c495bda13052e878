"""NCut's iteration on torch tensors: several graphs at once, on a GPU where there is one.

The iteration, start and tolerance are those of `ncut`; every product is taken to float64's precision (`exact_pieces`),
as on a GPU the few columns more cost next to nothing, so that a small gap needs no second pass.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch

from cuts3d_cli.core.lanczos import Ritz, exact_pieces, fixed_start, lanczos
from cuts3d_cli.core.patch_graph import Graph, PatchGraph, two_weights

Product = Callable[[torch.Tensor], torch.Tensor]
"""(b, n) float64 to (b, n) float64."""

STEPS = 300
TOLERANCE = 1e-7
DEAD_BELOW = 1e-12

BATCH_BYTES = 2**30
"""Size that the float32 graphs of a batch may take together: 20 of 60 x 60 patches, one of 120 x 120."""


def batch_size(n: int) -> int:
    """Graphs of ``n`` patches that are solved at once."""
    return max(1, BATCH_BYTES // (4 * n * n))


def ritz_vectors(graphs: list[Graph], *, device: str = "cpu") -> list[Ritz]:
    """What Lanczos finds in each graph, neighbours of one size together; see `ncut.second_eigenvector`."""
    found: list[Ritz] = []
    for n, alike in itertools.groupby(graphs, key=lambda graph: len(graph.degrees)):
        rest, size = list(alike), batch_size(n)
        for begin in range(0, len(rest), size):
            found += _solve(rest[begin : begin + size], torch.device(device))
    return found


def _solve(graphs: list[Graph], device: torch.device) -> list[Ritz]:
    """Lanczos on graphs of one size; as `ncut._iterate`, with the batch as the first axis."""
    own = [graph for graph in graphs if isinstance(graph, PatchGraph)]
    weighted = _two_weight_product(own, device) if len(own) == len(graphs) else _weight_product(graphs, device)
    degrees = torch.as_tensor(np.stack([graph.degrees for graph in graphs]), device=device)
    scale = torch.where(degrees > 0, degrees, 1).rsqrt() * (degrees > 0)
    first = (degrees / degrees.sum(-1, keepdim=True)).sqrt()

    def along_first(v: torch.Tensor) -> torch.Tensor:
        return (first * v).sum(-1, keepdim=True) * first

    def product(v: torch.Tensor) -> torch.Tensor:
        return scale * weighted(scale * v) - 2 * along_first(v)

    start = torch.as_tensor(fixed_start(degrees.shape[1]), device=device) * (degrees > 0)
    basis = torch.empty((len(graphs), STEPS, degrees.shape[1]), dtype=torch.float64, device=device)
    basis[:, 0] = start - along_first(start)
    ritz = lanczos(
        product,
        basis,
        tol=TOLERANCE,
        dead=DEAD_BELOW,
        to_host=lambda array: array.cpu().numpy(),
        from_host=lambda array: torch.as_tensor(array, device=device),
    )
    vectors = ritz.vector.cpu().numpy()
    one = [slice(i, i + 1) for i in range(len(graphs))]
    return [Ritz(ritz.first[i], ritz.second[i], vectors[i], ritz.converged[i], ritz.steps) for i in one]


def _two_weight_product(graphs: list[PatchGraph], device: torch.device) -> Product:
    """W v of a batch; B travels as one byte per pair."""
    strong = torch.empty((len(graphs), *graphs[0].strong.shape), dtype=torch.float32, device=device)
    for one, graph in zip(strong, graphs, strict=True):
        one.copy_(torch.as_tensor(graph.strong, device=device))
    nodes = torch.as_tensor(np.stack([graph.nodes for graph in graphs]), device=device).to(torch.float64)

    def product(v: torch.Tensor) -> torch.Tensor:
        v = v * nodes
        factors, pieces = zip(*exact_pieces(v, v.shape[1]), strict=True)
        sums = strong @ torch.stack(pieces, dim=2).to(torch.float32)
        along = sums.to(torch.float64) @ torch.tensor(factors, dtype=torch.float64, device=device)
        return two_weights(along, v.sum(-1, keepdim=True)) * nodes

    return product


def _weight_product(graphs: list[Graph], device: torch.device) -> Product:
    """W v of a batch of any weights, in float64."""
    full = np.zeros((len(graphs), *2 * graphs[0].degrees.shape))
    for weights, graph in zip(full, graphs, strict=True):
        index = np.flatnonzero(graph.degrees)
        weights[np.ix_(index, index)] = graph.weights()
    weights = torch.as_tensor(full, device=device)
    return lambda v: (weights @ v[:, :, None])[:, :, 0]
