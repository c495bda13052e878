"""The permutohedral lattice: Gaussian filtering of any positions, compiled when this module is first imported.

Positions of d dimensions lie on the lattice's hyperplane in d + 1 dimensions, in one simplex each (Adams, Baek and
Davis 2010, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Sec. 3). Values are splatted onto the
d + 1 vertices of their simplices, blurred along the lattice's d + 1 directions and sliced back. Only the vertices of
occupied simplices exist; others count as zero and pass nothing on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cuts3d_cli.core.lattice_geometry import F32, axis_scales, code_steps
from cuts3d_cli.jit import compiled

INDEX = np.uintp
"""Unsigned: of a signed index numba asks whether it counts from the end."""

LANES = 4
"""Values a position holds, filtered together: a vector register of any processor."""

BLOCK = 512
"""Positions whose simplices are found together."""

ROWS_A_POSITION = 2
"""Of the hash table at first: photographs have up to about one vertex a pixel."""

LINKED = 2**31
"""Bit of a vertex in `Lattice.chains` that has the one before it as its neighbour."""


@dataclass(frozen=True)
class Lattice:
    """The simplices of N positions in d dimensions, and the M vertices these have.

    Attributes:
        vertices: (N (d + 1)) uint32, the vertices of each position's simplex.
        weights: (N (d + 1)) float32, the position's barycentric coordinates, times whatever its values are weighted by.
        n_vertices: M.
        chains: (L) uint32, direction by direction the vertices that have a neighbour along it, neighbours in line;
            with `LINKED` where the one before is a neighbour.
        ends: (d + 2) int64, where each direction's part of ``chains`` begins, and L.
    """

    vertices: np.ndarray
    weights: np.ndarray
    n_vertices: int
    chains: np.ndarray
    ends: np.ndarray

    def blur(self, values: np.ndarray, sums: np.ndarray) -> None:
        """Splat ``values`` (N LANES) float32 into ``sums`` (M LANES) float32, whatever it held, and blur these.

        Half of each neighbour is added to a vertex, along one direction after the other.
        """
        sums[:] = 0
        _splat(self.vertices, self.weights, values, sums)
        for begin, end in zip(self.ends[:-1], self.ends[1:], strict=True):
            _blur(self.chains[begin:end], sums)

    def add_sliced(self, sums: np.ndarray, values: np.ndarray) -> None:
        """Add what the positions' simplices hold of ``sums`` (M LANES) to ``values`` (N LANES), in place."""
        _slice(self.vertices, self.weights, sums, values)

    def weighted(self, factors: np.ndarray) -> Lattice:
        """The lattice whose values are weighted by ``factors`` (N) float32, on their way in and out."""
        weights = self.weights.reshape(len(factors), -1) * factors[:, None]
        return Lattice(self.vertices, weights.ravel(), self.n_vertices, self.chains, self.ends)


def normalised(features: np.ndarray, weight: float) -> Lattice:
    """The lattice that filters by weight N^-1/2 K N^-1/2, with K what the plain one does and N the sums of its rows.

    Args:
        features: (d, N) float32, the positions in units of the Gaussian's standard deviation.
        weight: factor on the result, at least 0.

    Raises:
        Cuts3dError: positions too far apart to be distinguished.
    """
    plain, n = build(features), features.shape[1]
    sums, row_sums = np.empty(plain.n_vertices * LANES, F32), np.zeros(n * LANES, F32)
    plain.blur(np.ones(n * LANES, F32), sums)
    plain.add_sliced(sums, row_sums)
    return plain.weighted(np.sqrt(F32(weight) / row_sums[::LANES]))


def build(features: np.ndarray) -> Lattice:
    """The lattice of positions (d, N) float32 in units of the Gaussian's standard deviation.

    Raises:
        Cuts3dError: positions too far apart to be distinguished.
    """
    n_dims, n = features.shape
    scale = axis_scales(n_dims)
    steps, _ = code_steps(np.ptp(features, axis=1), scale)
    # numpy's memory, not numba's, as it comes in huge pages: half the time goes into scattered access.
    vertices, weights = np.empty(n * (n_dims + 1), np.uint32), np.empty(n * (n_dims + 1), F32)
    codes, found, done = np.empty(0, np.int64), 0, 0
    rows = 2 ** int(ROWS_A_POSITION * n + 2 * BLOCK * (n_dims + 1)).bit_length()
    while done < n:
        table = np.zeros((rows, 2), np.int64)
        codes = np.concatenate([codes[:found], np.empty(rows // 2 - found, np.int64)])
        _insert(codes[:found], table)
        done, found = _find_simplices(features, scale, steps, vertices, weights, codes, table, done, found)
        rows *= 2
    order = np.argsort(codes[:found]).astype(np.uint32)
    chains, ends = np.empty(found * (n_dims + 1), np.uint32), np.zeros(n_dims + 2, np.int64)
    _find_chains(codes[order], order, steps, chains, ends)
    return Lattice(vertices, weights, found, chains[: ends[-1]], ends)


@compiled("u8(i8, i8[:, ::1])")
def _first_row(code, table):
    """The row of a hash table (a power of 2, 2) where the search for a code begins."""
    mixed = np.uint64(code) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed ^ (mixed >> np.uint64(32))) & np.uint64(len(table) - 1)


@compiled("u8(i8, i8[:, ::1])")
def _row_of(code, table):
    """The row that holds a code and its vertex plus 1, or the free one that they would take."""
    row = _first_row(code, table)
    while table[row, 1] != 0 and table[row, 0] != code:
        row = (row + np.uint64(1)) & np.uint64(len(table) - 1)
    return row


@compiled("void(i8[::1], i8[:, ::1])")
def _insert(codes, table):
    """Put vertices 0, 1, ... with these codes into an empty hash table."""
    for vertex in range(len(codes)):
        row = _row_of(codes[vertex], table)
        table[row, 0], table[row, 1] = codes[vertex], vertex + 1


@compiled("(f4[:, ::1], f4[::1], i8[::1], u4[::1], f4[::1], i8[::1], i8[:, ::1], i8, i8)")
def _find_simplices(features, scale, steps, vertices, weights, codes, table, done, found):
    """`Lattice.vertices` and ``weights`` of the positions from ``done`` on; ``codes`` and ``table`` take new vertices.

    Returns:
        How many positions are done, less than all where ``codes`` has no more room, and how many vertices are found.
    """
    n_dims, n = features.shape
    size = n_dims + 1
    inverse = F32(1 / size)
    place, near, apart = np.empty((size, BLOCK), F32), np.empty((size, BLOCK), F32), np.empty((size, BLOCK), F32)
    rank, total = np.empty((size, BLOCK), np.int32), np.empty(BLOCK, np.int32)
    running, corner = np.empty(BLOCK, F32), np.empty(BLOCK, np.int64)
    axis_of, asked, open_ = np.empty(size, np.int64), np.empty(BLOCK * size, np.int64), np.empty(BLOCK * size, np.int64)
    while done < n:
        count = min(BLOCK, n - done)
        if found + count * size > len(codes):
            break
        # Onto the hyperplane, from the last axis to the first (Adams et al., Sec. 3).
        running[:] = 0
        for j in range(n_dims, 0, -1):
            for i in range(count):
                moved = features[j - 1, done + i] * scale[j - 1]
                place[j, i] = running[i] - F32(j) * moved
                running[i] += moved
        place[0] = running
        # The nearest point whose coordinates are multiples of d + 1, and the order of the differences to it.
        total[:] = 0
        rank[:] = 0
        for j in range(size):
            for i in range(count):
                near[j, i] = np.rint(place[j, i] * inverse)
                total[i] += np.int32(near[j, i])
                apart[j, i] = place[j, i] - near[j, i] * F32(size)
        for j in range(size):
            for k in range(j + 1, size):
                for i in range(count):
                    less = np.int32(apart[j, i] < apart[k, i])
                    rank[j, i] += less
                    rank[k, i] += np.int32(1) - less
        # Where its coordinates do not sum up to 0, those of the largest differences move on, or of the smallest back.
        corner[:] = 0
        for j in range(size):
            for i in range(count):
                unmoved = rank[j, i] + total[i]
                move = np.int32(unmoved < 0) - np.int32(unmoved >= size)
                rank[j, i] = unmoved + move * np.int32(size)
                near[j, i] += F32(move)
                apart[j, i] = place[j, i] - near[j, i] * F32(size)
        for j in range(1, size):
            for i in range(count):
                corner[i] += steps[j] * (np.int64(near[j, i]) - np.int64(near[0, i]))
        # From this corner to the others, a step back along each direction from the smallest difference on.
        first = INDEX(done * size)
        for i in range(count):
            for j in range(size):
                axis_of[rank[j, i]] = j
            before = apart[axis_of[n_dims], i]
            at = INDEX(i * size)
            asked[at] = corner[i]
            weights[first + at] = F32(1) + (before - apart[axis_of[0], i]) * inverse
            for k in range(1, size):
                here = apart[axis_of[n_dims - k], i]
                weights[first + at + INDEX(k)] = (here - before) * inverse
                asked[at + INDEX(k)] = asked[at + INDEX(k - 1)] - steps[axis_of[size - k]]
                before = here
        # Most codes are in the table, where their search begins: without a branch, several are under way at once.
        n_open = 0
        for i in range(count * size):
            row = _first_row(asked[INDEX(i)], table)
            vertices[first + INDEX(i)] = table[row, 1] - 1
            open_[INDEX(n_open)] = i
            n_open += np.int64((table[row, 0] != asked[INDEX(i)]) | (table[row, 1] == 0))
        for i in open_[:n_open]:
            code = asked[INDEX(i)]
            row = _row_of(code, table)
            if table[row, 1] == 0:
                codes[found] = code
                found += 1
                table[row, 0], table[row, 1] = code, found
            vertices[first + INDEX(i)] = table[row, 1] - 1
        done += count
    return done, found


@compiled("void(i8[::1], u4[::1], i8[::1], u4[::1], i8[::1])")
def _find_chains(ordered, order, steps, chains, ends):
    """Fill `Lattice.chains` and ``ends`` for vertices ``order`` (M) of the codes ``ordered``, ascending."""
    n, length = len(order), 0
    after, follows = np.empty(n, np.int32), np.empty(n, np.bool_)
    for direction in range(len(steps)):
        follows[:] = False
        j = 0
        for i in range(n):
            code = ordered[INDEX(i)] + steps[direction]
            while j < n and ordered[INDEX(j)] < code:
                j += 1
            vertex = order[INDEX(i)]
            after[vertex] = -1
            if j < n and ordered[INDEX(j)] == code:
                neighbour = order[INDEX(j)]
                after[vertex] = neighbour
                follows[neighbour] = True
        for vertex in range(n):
            following = after[INDEX(vertex)]
            if following >= 0 and not follows[INDEX(vertex)]:
                chains[INDEX(length)] = vertex
                length += 1
                while following >= 0:
                    chains[INDEX(length)] = following | LINKED
                    length += 1
                    following = after[INDEX(following)]
        ends[direction + 1] = length


@compiled("void(u4[::1], f4[::1], f4[::1], f4[::1])")
def _splat(vertices, weights, values, sums):
    """Add each position's weighted values to its vertices."""
    n = len(values) // LANES
    size = len(vertices) // n
    at = INDEX(0)
    for position in range(n):
        v = INDEX(position * LANES)
        v0, v1, v2, v3 = values[v], values[v + INDEX(1)], values[v + INDEX(2)], values[v + INDEX(3)]
        for _ in range(size):
            s, weight = INDEX(vertices[at]) * INDEX(LANES), weights[at]
            sums[s] += weight * v0
            sums[s + INDEX(1)] += weight * v1
            sums[s + INDEX(2)] += weight * v2
            sums[s + INDEX(3)] += weight * v3
            at += INDEX(1)


@compiled("void(u4[::1], f4[::1], f4[::1], f4[::1])")
def _slice(vertices, weights, sums, values):
    """Add to each position's values the weighted sums of its vertices."""
    n = len(values) // LANES
    size = len(vertices) // n
    at = INDEX(0)
    for position in range(n):
        v = INDEX(position * LANES)
        v0, v1, v2, v3 = values[v], values[v + INDEX(1)], values[v + INDEX(2)], values[v + INDEX(3)]
        for _ in range(size):
            s, weight = INDEX(vertices[at]) * INDEX(LANES), weights[at]
            v0 += weight * sums[s]
            v1 += weight * sums[s + INDEX(1)]
            v2 += weight * sums[s + INDEX(2)]
            v3 += weight * sums[s + INDEX(3)]
            at += INDEX(1)
        values[v], values[v + INDEX(1)], values[v + INDEX(2)], values[v + INDEX(3)] = v0, v1, v2, v3


@compiled("void(u4[::1], f4[::1])")
def _blur(chain, sums):
    """Add half of each neighbour to the vertices of one direction, in place.

    Each is written when the next one has been read; ``b`` is what stood before it, ``v`` its own, ``a`` what follows.
    """
    half, s = F32(0.5), INDEX(0)
    b0 = b1 = b2 = b3 = v0 = v1 = v2 = v3 = F32(0)
    for i in range(len(chain)):
        entry = chain[INDEX(i)]
        linked, following = F32(entry >> np.uint32(31)), INDEX(entry & np.uint32(LINKED - 1)) * INDEX(LANES)
        a0, a1 = sums[following], sums[following + INDEX(1)]
        a2, a3 = sums[following + INDEX(2)], sums[following + INDEX(3)]
        if i > 0:
            sums[s] = v0 + half * (b0 + linked * a0)
            sums[s + INDEX(1)] = v1 + half * (b1 + linked * a1)
            sums[s + INDEX(2)] = v2 + half * (b2 + linked * a2)
            sums[s + INDEX(3)] = v3 + half * (b3 + linked * a3)
        b0, b1, b2, b3 = linked * v0, linked * v1, linked * v2, linked * v3
        v0, v1, v2, v3, s = a0, a1, a2, a3, following
    if len(chain):
        sums[s] = v0 + half * b0
        sums[s + INDEX(1)] = v1 + half * b1
        sums[s + INDEX(2)] = v2 + half * b2
        sums[s + INDEX(3)] = v3 + half * b3
