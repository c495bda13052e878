"""Lanczos iteration on a batch of symmetric operators, for numpy arrays and torch tensors alike.

Plain Lanczos with full reorthogonalisation and no restart: a product with the graph costs n^2, so keeping some
dozens of vectors of n numbers is cheap, and no Krylov method needs fewer products. What is found after the last step
is always defined: the vector of largest Rayleigh quotient in the space spanned so far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any
"""A numpy array or a torch tensor."""

DEAD = -2.0
"""Ritz value of a vector that does not exist, below the spectrum [-1, 1]."""

_PIECES = 4
"""Parts of a vector in `exact_pieces`: 40 bits for 14 400 patches, 44 below 8192."""


@dataclass(frozen=True)
class Ritz:
    """What Lanczos found in each of b operators.

    Attributes:
        first: (b,) float64, the largest eigenvalue.
        second: (b,) float64, the next one in the space; -2 where the space has one dimension.
        vector: (b, n) of the type of the basis, of norm 1, for ``first``.
        converged: (b,) bool, whether the vector is within the tolerance.
        steps: products taken.
    """

    first: np.ndarray
    second: np.ndarray
    vector: Array
    converged: np.ndarray
    steps: int


def lanczos(
    product: Callable[[Array], Array],
    basis: Array,
    *,
    tol: float,
    dead: float,
    to_host: Callable[[Array], np.ndarray] = np.asarray,
    from_host: Callable[[np.ndarray], Array] = np.asarray,
) -> Ritz:
    """The largest eigenvalues of b symmetric operators with spectrum in [-1, 1], and the vector of the first.

    Args:
        product: applies the operators to (b, n).
        basis: (b, steps, n) float64 that takes the Lanczos vectors; ``basis[:, 0]`` holds the starts, not zero.
        tol: error of the vector, its angle to the eigenvector, at which an operator is done.
        dead: a next vector of this norm or less is rounding: the space is exhausted.
        to_host, from_host: turn the basis' arrays into numpy and back.
    """
    b, limit = basis.shape[0], basis.shape[1]
    limit = min(limit, basis.shape[2])
    small = np.full((b, limit, limit), 0.0)  # the operators in the basis
    alive = np.ones(b, dtype=bool)
    basis[:, 0] /= _norm(basis[:, 0])[:, None]
    for step in range(limit):
        rest = product(basis[:, step])
        known = basis[:, : step + 1]
        along = known @ rest[:, :, None]
        rest = rest - (along.swapaxes(1, 2) @ known)[:, 0]
        rest = rest - ((known @ rest[:, :, None]).swapaxes(1, 2) @ known)[:, 0]  # once more: rounding of the first
        length = _norm(rest)
        row, lengths = to_host(along)[:, :, 0], to_host(length)
        small[:, step, : step + 1] = small[:, : step + 1, step] = row
        small[~alive, step, :] = small[~alive, :, step] = 0
        small[~alive, step, step] = DEAD
        alive = alive & (lengths > dead)
        last = step + 1 == limit or not alive.any()
        if last or (step > 1 and (step < 32 or step % 4 == 0)):
            values, vectors = np.linalg.eigh(small[:, : step + 1, : step + 1])
            first, second = values[:, -1], values[:, -2] if step else np.full(b, DEAD)
            error = np.where(alive, lengths * np.abs(vectors[:, -1, -1]), 0)
            converged = error <= np.maximum(tol * (first - second), 1e-12)
            if last or converged.all():
                break
        # where the space is exhausted go on with zeros, so that the others of the batch may
        basis[:, step + 1] = rest * from_host(np.where(alive, 1 / np.where(alive, lengths, 1), 0))[:, None]
    combined = (from_host(np.ascontiguousarray(vectors[:, :, -1]))[:, None, :] @ known)[:, 0]
    return Ritz(first, second, combined, converged, step + 1)


def exact_pieces(v: Array, n: int) -> list[tuple[float, Array]]:
    """Split numbers into integers so small that float32 sums of n of them are exact.

    A product of a matrix of 0 and 1 with a float64 vector is then as good as one in float64 at the price of a float32
    product with a few columns, and without a float64 copy of the matrix. The integers have at most 11 bits, so that
    not even the short formats of a GPU's matrix units round them.

    Args:
        v: float64, any shape.
        n: terms of a sum.

    Returns:
        Factors and integers, of the type and shape of ``v``; the sum of their products is ``v`` to 40 bits or more.
    """
    largest = float(abs(v).max())
    if largest == 0:
        return [(1.0, v)]
    bits = min(11, 24 - int(np.ceil(np.log2(max(n, 2)))))
    factor = 2.0 ** np.ceil(np.log2(largest))
    rest, pieces = v / factor, []
    for _ in range(_PIECES):
        rest = rest * 2.0**bits
        factor /= 2.0**bits
        whole = rest.round()
        pieces.append((factor, whole))
        rest = rest - whole
    return pieces


def _norm(v: Array) -> Array:
    return (v * v).sum(-1) ** 0.5


def fixed_start(n: int) -> np.ndarray:
    """(n,) float64: the vector that every iteration starts from, so that equal graphs give equal results."""
    return np.random.default_rng(0).standard_normal(n)
