"""Mean field of two labels on the permutohedral lattice (Kraehenbuehl and Koltun 2011, Alg. 1), compiled by numba."""

from __future__ import annotations

import functools

import numpy as np

from cuts3d_cli.core.lattice_geometry import F32, pixel_features, pixel_positions
from cuts3d_cli.core.permutohedral import LANES, Lattice, normalised
from cuts3d_cli.jit import compiled


class LatticeField:
    """The fully connected model of an image: its kernels as lattices.

    Args:
        lattices: one a kernel, all of the same N positions.
    """

    def __init__(self, *lattices: Lattice):
        self._lattices = lattices
        self._sums = [np.empty(lattice.n_vertices * LANES, F32) for lattice in lattices]

    def probabilities(self, unaries: np.ndarray, iterations: int) -> np.ndarray:
        """Probability of the foreground, several problems of their own at once.

        With q that of the foreground and S the sum of all kernels, the next q is the sigmoid of
        u + S q - S (1 - q), u the log odds of the unary. So m = 2 q - 1 is all there is to filter, and the next m is
        tanh((u + S m) / 2).

        Args:
            unaries: (M, N) float in (0, 1).
            iterations: at least 1.

        Returns:
            (M, N) float32.
        """
        found = np.empty(unaries.shape, F32)
        for begin in range(0, len(unaries), LANES):
            group = unaries[begin : begin + LANES]
            log_odds = np.zeros((unaries.shape[1], LANES), F32)
            log_odds[:, : len(group)] = np.log((group / (1 - group)).astype(F32)).T
            m = self._iterate(log_odds.ravel(), iterations).reshape(-1, LANES)
            found[begin : begin + LANES] = ((1 + m) / 2).T[: len(group)]
        return found

    def _iterate(self, log_odds: np.ndarray, iterations: int) -> np.ndarray:
        m, field = np.empty_like(log_odds), np.empty_like(log_odds)
        _tanh_of_half(log_odds, m)
        for _ in range(iterations):
            field[:] = log_odds
            for lattice, sums in zip(self._lattices, self._sums, strict=True):
                lattice.blur(m, sums)
                lattice.add_sliced(sums, field)
            _tanh_of_half(field, m)
        return m


def field_of_image(
    image: np.ndarray,
    *,
    gaussian_sxy: float,
    gaussian_compat: float,
    bilateral_sxy: float,
    bilateral_srgb: float,
    bilateral_compat: float,
) -> LatticeField:
    """The model of an image (H, W, 3) uint8; see `crf.DenseCrf`."""
    smoothness = _smoothness(image.shape[:2], gaussian_sxy, gaussian_compat)
    features = pixel_features(image, bilateral_sxy, bilateral_srgb)
    return LatticeField(smoothness, normalised(features, bilateral_compat))


@functools.lru_cache(maxsize=2)
def _smoothness(size_hw: tuple[int, int], deviation: float, weight: float) -> Lattice:
    """The kernel of position alone: images of one size share it."""
    return normalised(pixel_positions(size_hw, deviation), weight)


@compiled("void(f4[::1], f4[::1])")
def _tanh_of_half(x, out):
    """tanh(x / 2), to 2e-7."""
    for i in range(len(x)):
        # The continued fraction is that exact up to 2.5; from there the argument is doubled twice, up to tanh(10) = 1.
        eighth = min(max(x[i] * F32(0.125), F32(-2.5)), F32(2.5))
        s = eighth * eighth
        above = F32(135135) + s * (F32(17325) + s * (F32(378) + s))
        below = F32(135135) + s * (F32(62370) + s * (F32(3150) + s * F32(28)))
        t = eighth * above / below
        t = F32(2) * t / (F32(1) + t * t)
        out[i] = F32(2) * t / (F32(1) + t * t)
