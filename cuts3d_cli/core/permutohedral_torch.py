"""`permutohedral` and `mean_field` on torch tensors: several images of one size at once, on a GPU if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cuts3d_cli.core.lattice_geometry import LARGEST_CODE, axis_scales, code_steps, pixel_features, pixel_positions
from cuts3d_cli.errors import Cuts3dError

BATCH_PIXELS = 2**21
"""Pixels whose lattices are built together, some 0.4 kB each: nine images of 480 px."""


def batch_size(n_pixels: int) -> int:
    """Images of ``n_pixels`` that are refined at once."""
    return max(1, BATCH_PIXELS // n_pixels)


@dataclass(frozen=True)
class TorchLattice:
    """`permutohedral.Lattice` for gathers and sums of segments, in an order of their own, so that results repeat.

    Attributes:
        vertices: (d + 1, N) int64, the vertices of each position's simplex.
        weights: (d + 1, N) float32, the weights of the position there.
        by_vertex: ((d + 1) N) int64, ``vertices`` sorted: where each vertex is met.
        counts: (M) int64, how often it is.
        neighbours: (d + 1, 2, M + 1) int64, along each direction those after and before; M where there is none.
    """

    vertices: torch.Tensor
    weights: torch.Tensor
    by_vertex: torch.Tensor
    counts: torch.Tensor
    neighbours: torch.Tensor

    def filtered(self, values: torch.Tensor) -> torch.Tensor:
        """Splat, blur and slice values (N, C) float32."""
        n = len(values)
        met = values[self.by_vertex % n] * self.weights.ravel()[self.by_vertex, None]
        sums = torch.segment_reduce(met, "sum", lengths=self.counts, axis=0)
        sums = torch.cat([sums, sums.new_zeros(1, sums.shape[1])])
        for after, before in self.neighbours:
            sums = sums + 0.5 * (sums[after] + sums[before])
        sliced = torch.zeros_like(values)
        for vertices, weights in zip(self.vertices, self.weights, strict=True):
            sliced += weights[:, None] * sums[vertices]
        return sliced


def normalised(features: np.ndarray, weight: float, device: torch.device) -> TorchLattice:
    """`permutohedral.normalised` of several images at once.

    Args:
        features: (B, d, N) float32; positions of different images are no neighbours.
        weight: as there.
        device: where torch computes.
    """
    plain = build(features, device)
    ones = torch.ones((features.shape[0] * features.shape[2], 1), device=device)
    factors = (weight / plain.filtered(ones)[:, 0]).sqrt()
    return TorchLattice(plain.vertices, plain.weights * factors, plain.by_vertex, plain.counts, plain.neighbours)


def build(features: np.ndarray, device: torch.device) -> TorchLattice:
    """`permutohedral.build` of several images at once, (B, d, N) float32.

    Raises:
        Cuts3dError: positions too far apart to be distinguished.
    """
    n_images, n_dims, n = features.shape
    scales = axis_scales(n_dims)
    steps, n_codes = code_steps(np.ptp(features, axis=(0, 2)), scales)
    if n_images * n_codes > LARGEST_CODE:
        raise Cuts3dError(
            "the kernels of the CRF are too narrow for so many images at once",
            expected=f"up to {LARGEST_CODE:.1g} lattice points",
            found=f"{n_images * n_codes:.1g}",
            hint="use larger standard deviations, or crf.solver = lattice on the CPU",
        )
    positions = torch.as_tensor(features, device=device).movedim(1, 0).reshape(n_dims, -1)
    near, apart, rank = _nearest_corners(positions, torch.as_tensor(scales, device=device))
    axis_of = torch.empty_like(rank).scatter_(0, rank, torch.arange(n_dims + 1, device=device)[:, None].expand_as(rank))
    ordered = apart.gather(0, axis_of).flip(0) / (n_dims + 1)
    weights = torch.cat([1 + ordered[:1] - ordered[-1:], ordered[1:] - ordered[:-1]])
    along = torch.as_tensor(steps, device=device)
    moves = along[axis_of[1:].flip(0)]
    images = torch.arange(n_images, device=device).repeat_interleave(n)
    corner = images * n_codes + (along[1:, None] * (near[1:] - near[:1]).long()).sum(0)
    codes, vertices = torch.unique(torch.cat([corner[None], corner - moves.cumsum(0)]), return_inverse=True)
    by_vertex = vertices.ravel().argsort(stable=True)
    counts = torch.bincount(vertices.ravel(), minlength=len(codes))
    return TorchLattice(vertices, weights, by_vertex, counts, _neighbours(codes, along))


def _nearest_corners(positions: torch.Tensor, scales: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The corner of each simplex whose coordinates are multiples of d + 1, the differences to it, and their order.

    All (d + 1, N): coordinates by d + 1 and differences as float32, ranks from the largest difference on as int64.
    """
    n_dims = len(positions)
    size = n_dims + 1
    running = torch.zeros_like(positions[0])
    along: list[torch.Tensor] = []  # of the last direction first
    for j in range(n_dims, 0, -1):
        moved = positions[j - 1] * scales[j - 1]
        along.append(running - j * moved)
        running = running + moved
    place = torch.stack([running, *reversed(along)])
    near = (place * float(np.float32(1 / size))).round()
    apart = place - near * size
    rank = near.sum(0).long().repeat(size, 1)
    for j in range(size):
        for k in range(j + 1, size):
            less = apart[j] < apart[k]
            rank[j] += less
            rank[k] += ~less
    move = (rank < 0).long() - (rank >= size).long()
    near = near + move
    return near, place - near * size, rank + move * size


def _neighbours(codes: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """`TorchLattice.neighbours` of vertices with these codes, ascending."""
    n = len(codes)
    found = torch.full((len(steps), 2, n + 1), n, dtype=torch.int64, device=codes.device)
    for (after, before), step in zip(found, steps, strict=True):
        place = torch.searchsorted(codes, codes + step).clamp_(max=n - 1)
        linked = codes[place] == codes + step
        after[:n] = torch.where(linked, place, n)
        before[place[linked]] = torch.arange(n, device=codes.device)[linked]
    return found


class TorchField:
    """`mean_field.LatticeField` of several images of one size.

    Args:
        images: each (H, W, 3) uint8.
        device: where torch computes.
        others: as for `crf.DenseCrf`.
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        *,
        device: str = "cpu",
        gaussian_sxy: float,
        gaussian_compat: float,
        bilateral_sxy: float,
        bilateral_srgb: float,
        bilateral_compat: float,
    ):
        self._device = torch.device(device)
        places = np.stack([pixel_positions(images[0].shape[:2], gaussian_sxy)] * len(images))
        features = np.stack([pixel_features(image, bilateral_sxy, bilateral_srgb) for image in images])
        self._lattices = (
            normalised(places, gaussian_compat, self._device),
            normalised(features, bilateral_compat, self._device),
        )

    def probabilities(self, unaries: Sequence[np.ndarray], iterations: int) -> list[np.ndarray]:
        """`mean_field.LatticeField.probabilities` of each image's unaries (M, N); M may differ."""
        most, n = max(len(given) for given in unaries), unaries[0].shape[1]
        if most == 0:
            return [np.zeros((0, n), np.float32) for _ in unaries]
        given = np.stack([np.pad(u, ((0, most - len(u)), (0, 0)), constant_values=0.5) for u in unaries])
        odds = torch.as_tensor((given / (1 - given)).astype(np.float32), device=self._device)
        log_odds = odds.log_().movedim(1, 2).reshape(-1, most)
        m = torch.tanh(log_odds / 2)
        for _ in range(iterations):
            m = torch.tanh(sum((lattice.filtered(m) for lattice in self._lattices), log_odds) / 2)
        found = ((1 + m) / 2).reshape(len(unaries), n, most).movedim(2, 1).cpu().numpy()
        return [np.ascontiguousarray(one[: len(u)]) for one, u in zip(found, unaries, strict=True)]
