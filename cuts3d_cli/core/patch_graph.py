"""The graph of NCut: patches whose pairs have one of two weights, and its products with a vector (Sec. 3.1).

W = 1e-5 + (1 - 1e-5) B with B of 0 and 1 (CutLER). B takes one byte per pair, a quarter of float32, and is turned into
numbers some rows at a time, which costs no more than reading it as float32 would. Patches leave the graph through a
mask: a product that ignores them equals one with their rows and columns dropped, without a copy of the rest.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from cuts3d_cli.core.affinity import WEAK_EDGE
from cuts3d_cli.core.lanczos import Array, exact_pieces

_BLOCK = 2**20
"""Entries of B turned into float32 at once: 4 MB, which stay in the cache."""


class Graph(Protocol):
    """What a solver asks of a graph of n patches, some of them without any weight; see `PatchGraph`."""

    degrees: np.ndarray

    def product(self, v: np.ndarray, *, double: bool = False) -> np.ndarray:
        """W v, (n,) float64."""

    def weights(self) -> np.ndarray:
        """W of the patches with weight, float64."""


class PatchGraph:
    """n patches of which some are in the graph; a pair weighs 1 where it is strong, else 1e-5.

    Attributes:
        strong: (n, n) bool, symmetric: the pairs of weight 1.
        nodes: (n,) bool: the patches of the graph; the others have no weight at all.
        degrees: (n,) float64, row sums of the weights; 0 outside the graph.
    """

    def __init__(self, strong: np.ndarray, nodes: np.ndarray | None = None):
        n = len(strong)
        if strong.shape != (n, n) or strong.dtype != np.bool_:
            raise ValueError(f"strong: expected (n, n) bool, got {strong.shape} {strong.dtype}")
        self.strong = strong
        self.nodes = np.ones(n, dtype=bool) if nodes is None else np.ravel(nodes)
        if self.nodes.shape != (n,) or self.nodes.dtype != np.bool_:
            raise ValueError(f"nodes: expected ({n},) bool, got {self.nodes.shape} {self.nodes.dtype}")
        self._n_strong = self._sums(self.nodes.astype(np.float32)) * self.nodes  # whole numbers, exact in float32
        self.degrees = two_weights(self._n_strong.astype(np.float64), self.n_nodes) * self.nodes

    @property
    def n_nodes(self) -> int:
        """Patches in the graph."""
        return int(np.count_nonzero(self.nodes))

    @property
    def is_uniform(self) -> bool:
        """Whether all pairs of different patches have the same weight: no cut is better than another."""
        pairs = int(self._n_strong.sum(dtype=np.float64)) - np.count_nonzero(self.strong.diagonal() & self.nodes)
        return pairs in (0, self.n_nodes * (self.n_nodes - 1))

    def product(self, v: np.ndarray, *, double: bool = False) -> np.ndarray:
        """W v.

        Args:
            v: (n,) float64; what it holds outside the graph does not count.
            double: to float64's precision, at about twice the time; else to float32's.

        Returns:
            (n,) float64, 0 outside the graph.
        """
        v = v * self.nodes
        if double:
            factors, pieces = zip(*exact_pieces(v, len(v)), strict=True)
            strong = self._sums(np.stack(pieces, axis=1).astype(np.float32)).astype(np.float64) @ np.array(factors)
        else:
            strong = self._sums(v.astype(np.float32)).astype(np.float64)
        return two_weights(strong, v.sum()) * self.nodes

    def weights(self) -> np.ndarray:
        """(m, m) float64: W of the m patches in the graph, in order."""
        index = np.flatnonzero(self.nodes)
        return np.where(self.strong[np.ix_(index, index)], 1, WEAK_EDGE)

    def _sums(self, v: np.ndarray) -> np.ndarray:
        """B v for (n,) or (n, k) float32."""
        n = len(v)
        rows = max(1, _BLOCK // n)
        buffer, out = np.empty((min(rows, n), n), dtype=np.float32), np.empty_like(v)
        for start in range(0, n, rows):
            block = buffer[: min(rows, n - start)]
            np.copyto(block, self.strong[start : start + rows])
            np.dot(block, v, out=out[start : start + rows])
        return out


def two_weights(strong_sums: Array, total: float | Array) -> Array:
    """W v from B v and the sum of v over the graph; numpy or torch."""
    return (1 - WEAK_EDGE) * strong_sums + WEAK_EDGE * total
