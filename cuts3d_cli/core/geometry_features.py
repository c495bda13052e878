"""Patch features from the shape of the scene alone: which part of what stands on the main plane a patch belongs to.

1. The patches are unprojected, and the plane that most of them lie on is fitted: a table, a floor.
2. Patches on it, below it or without a reading are background. The others are joined to their neighbours in the image:
   strongly along a smooth or convex surface, weakly across a step of depth and across a concave crease, which is where
   one object ends and the next begins (Stein et al., CVPR 2014).
3. That graph is cut in two by its normalised cut again and again (Shi and Malik, PAMI 2000), while a cut is cheap.
4. The feature vector of a patch is the unit vector of its part, so two patches have a cosine of 1 or of 0.

Every length is a fraction of the distance to the camera, so no unit matters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import csr_array, diags_array, identity
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh

ON_PLANE = 0.01
"""Points up to this fraction of their distance beside a plane lie on it: 8 mm at 0.8 m."""

LEAST_PLANE = 0.15
"""A plane that holds a smaller fraction of the patches is no main plane: nothing is background then."""

HYPOTHESES = 300
"""Planes through three random patches that are tried; one in a thousand fails where the plane holds 30 % of them."""

STEP = 0.005
"""Standard deviation of the Gaussian of a step of depth: how far a patch lies off the plane of its neighbour."""

CREASE = 0.15
"""Standard deviation of the Gaussian of concavity: the sum of the sines by which two normals tilt to each other."""

CHEAP_CUT = 0.03
"""Largest value of a normalised cut that still parts."""

LEAST_PART = 1 / 300
"""Smallest fraction of the patches that is a part of its own."""

LEAST_WEIGHT = 1e-4
"""Pairs below this are not joined: Gaussians leave a trace everywhere."""

DENSE_UP_TO = 300
"""Patches up to which the dense eigensolver is the faster one."""

DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Rows and columns to a patch's neighbours, each pair of the eight-neighbourhood once."""


@dataclass(frozen=True)
class Plane:
    """The points p with ``normal`` . p = ``offset``, normal (3,) of length 1 and towards the camera; ``share`` of the
    points that lie on it."""

    normal: np.ndarray
    offset: float
    share: float

    def height(self, points: np.ndarray) -> np.ndarray:
        """How far points (..., 3) are above the plane, on the camera's side."""
        return points @ self.normal - self.offset


def geometry_features(
    distance: np.ndarray, *, focal: float, aspect: float, channels: int = 64, likeness: np.ndarray | None = None
) -> np.ndarray:
    """Features whose cosine is 1 for two patches of the same part and else 0.

    Args:
        distance: (h, w) float, along the optical axis, in any unit; NaN where there is no reading.
        focal: focal length as a fraction of the image's longer side.
        aspect: width of the image over its height.
        channels: C; of more than C - 1 parts the largest ones count.
        likeness: (D, h, w) further features, whose cosine multiplies the weight of a pair of neighbours; or None.

    Returns:
        (C, h, w) float32: channel 0 is the background, the others are the parts, large ones first.

    Raises:
        ValueError: shapes that do not fit, or a distance, focal length or aspect ratio that is not above 0.
    """
    parts = scene_parts(distance, focal=focal, aspect=aspect, likeness=likeness)
    parts[parts >= channels] = 0
    return (parts == np.arange(channels)[:, None, None]).astype(np.float32)


def scene_parts(distance: np.ndarray, *, focal: float, aspect: float, likeness: np.ndarray | None = None) -> np.ndarray:
    """Number of the part that each patch belongs to, 0 for background; arguments as for `geometry_features`.

    Returns:
        (h, w) int64; part 1 is the largest.
    """
    if distance.ndim != 2 or not 0 < focal < np.inf or not 0 < aspect < np.inf:
        raise ValueError(f"expected distance (h, w), focal and aspect above 0, got {distance.shape}, {focal}, {aspect}")
    read = np.isfinite(distance)
    if (distance[read] <= 0).any():
        raise ValueError(f"distance: expected values above 0, got {distance[read].min()}")
    if likeness is not None and likeness.shape[1:] != distance.shape:
        raise ValueError(f"likeness: expected (D, {distance.shape[0]}, {distance.shape[1]}), got {likeness.shape}")
    parts = np.zeros(distance.shape, dtype=np.int64)
    if np.count_nonzero(read) < 3:
        return parts
    points = unproject(np.where(read, distance, 1.0), focal=focal, aspect=aspect)
    standing = read.copy()
    plane = main_plane(points[read])
    if plane is not None:
        standing &= plane.height(points) > ON_PLANE * points[..., 2]
    graph = surface_graph(points, read, standing, likeness)
    least = max(2, int(np.ceil(LEAST_PART * distance.size)))
    found = [part for part in _cut(graph, np.flatnonzero(standing), least) if len(part) >= least]
    for number, part in enumerate(sorted(found, key=len, reverse=True), start=1):
        parts.flat[part] = number
    return parts


def unproject(distance: np.ndarray, *, focal: float, aspect: float) -> np.ndarray:
    """Points of the patches of an image in 3D, by a pinhole camera whose axis meets the middle of the image.

    Args:
        distance: (h, w), along the optical axis.
        focal: focal length as a fraction of the image's longer side.
        aspect: width of the image over its height.

    Returns:
        (h, w, 3) float64: right, down and forward in the unit of ``distance``.
    """
    h, w = distance.shape
    width, height = (1.0, 1 / aspect) if aspect >= 1 else (aspect, 1.0)
    x, y = (((np.arange(n) + 0.5) / n - 0.5) * side / focal for n, side in ((w, width), (h, height)))
    distance = distance.astype(np.float64)
    return np.stack([x[None, :] * distance, y[:, None] * distance, distance], axis=2)


def main_plane(points: np.ndarray, *, seed: int = 0) -> Plane | None:
    """The plane that most points lie on, by RANSAC and then least squares on what lies on it.

    Args:
        points: (m, 3), the camera in the origin, forward above 0.
        seed: of the random choice.

    Returns:
        The plane; None where there is none that holds `LEAST_PLANE` of the points.
    """
    if len(points) < 3:
        return None
    corners = points[np.random.default_rng(seed).integers(0, len(points), (HYPOTHESES, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    real = lengths > 1e-9 * np.abs(points).max() ** 2
    if not real.any():
        return None
    normals, corners = normals[real] / lengths[real, None], corners[real]
    tolerance = ON_PLANE * points[:, 2]
    beside = np.abs(points @ normals.T - (normals * corners[:, 0]).sum(axis=1))
    best = int(np.argmax((beside < tolerance[:, None]).sum(axis=0)))
    on = beside[:, best] < tolerance
    for _ in range(5):
        middle = points[on].mean(axis=0)
        normal = np.linalg.svd(points[on] - middle, full_matrices=False)[2][2]
        offset = float(normal @ middle)
        now = np.abs(points @ normal - offset) < tolerance
        if np.count_nonzero(now) < 3 or (now == on).all():
            break
        on = now
    share = float(now.mean())
    if share < LEAST_PLANE:
        return None
    return Plane(normal, offset, share) if offset <= 0 else Plane(-normal, -offset, share)


def patch_normals(points: np.ndarray, use: np.ndarray) -> np.ndarray:
    """Normal of the surface at every patch: of the plane through it and those of its eight neighbours that are near.

    Args:
        points: (h, w, 3), the camera in the origin.
        use: (h, w) bool, the patches that count.

    Returns:
        (h, w, 3) float64 of length 1, towards the camera.
    """
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    around = np.stack([_moved(points, *step) for step in steps], axis=2)
    apart = (around[..., 2] - points[..., None, 2]) / points[..., None, 2]
    weight = np.exp(-0.5 * (apart / (4 * STEP)) ** 2) * np.stack([_moved(use, *step) for step in steps], axis=2) + 1e-9
    middle = (around * weight[..., None]).sum(axis=2) / weight.sum(axis=2)[..., None]
    arms = around - middle[:, :, None]
    spread = np.einsum("hwki,hwkj,hwk->hwij", arms, arms, weight)
    normals = np.linalg.eigh(spread)[1][..., 0]
    away = (normals * points).sum(axis=2) > 0
    return np.where(away[..., None], -normals, normals)


def surface_graph(
    points: np.ndarray, read: np.ndarray, standing: np.ndarray, likeness: np.ndarray | None = None
) -> csr_array:
    """Neighbouring patches that stand, joined with a weight in (0, 1].

    exp(-(step / STEP)^2 / 2 - (concavity / CREASE)^2 / 2): the step is how far a patch lies off the plane of the other,
    the smaller one of both ways, as a fraction of its distance; the concavity is by how much the normals of both lean
    towards each other, 0 where they do not.

    Args:
        points: (h, w, 3).
        read: (h, w) bool, the patches with a reading.
        standing: (h, w) bool, the patches of the graph.
        likeness: (D, h, w) features whose cosine, 0 where it is negative, multiplies the weight; or None.

    Returns:
        (n, n) symmetric, n = h * w.
    """
    index = np.arange(standing.size).reshape(standing.shape)
    normals = patch_normals(points, read)
    direction = None if likeness is None else likeness / np.maximum(np.linalg.norm(likeness, axis=0), 1e-12)
    rows, columns, weights = [], [], []
    for dy, dx in DIRECTIONS:
        pair = standing & _moved(standing, dy, dx) & _inside(standing.shape, dy, dx)
        here, there = points[pair], _moved(points, dy, dx)[pair]
        arm = there - here
        along = arm / np.maximum(np.linalg.norm(arm, axis=1, keepdims=True), 1e-12)
        own, other = normals[pair], _moved(normals, dy, dx)[pair]
        step = np.minimum(np.abs((arm * own).sum(axis=1)), np.abs((arm * other).sum(axis=1))) / here[:, 2]
        concavity = np.maximum((along * (own - other)).sum(axis=1), 0)
        weight = np.exp(-0.5 * (step / STEP) ** 2 - 0.5 * (concavity / CREASE) ** 2)
        if direction is not None:
            cosine = (direction[:, pair] * _moved(direction, dy, dx, first_axis=1)[:, pair]).sum(axis=0)
            weight *= np.maximum(cosine, 0)
        strong = weight > LEAST_WEIGHT
        rows.append(index[pair][strong])
        columns.append(_moved(index, dy, dx)[pair][strong])
        weights.append(weight[strong])
    a, b, w = (np.concatenate(part) for part in (rows, columns, weights))
    n = standing.size
    return csr_array((np.tile(w, 2), (np.concatenate([a, b]), np.concatenate([b, a]))), shape=(n, n))


def cheapest_cut(graph: csr_array, least: int) -> tuple[np.ndarray, float]:
    """The bipartition of a connected graph by its second eigenvector, split where the normalised cut is smallest.

    Args:
        graph: (m, m) symmetric weights.
        least: smallest number of nodes of a side; 2 * least <= m.

    Returns:
        (m,) bool, one side, and the value of its normalised cut.
    """
    m = graph.shape[0]
    degrees = np.asarray(graph.sum(axis=1)).ravel()
    root = 1 / np.sqrt(degrees)
    laplacian = identity(m) - diags_array(root) @ graph @ diags_array(root)
    if m <= DENSE_UP_TO:
        vector = eigh(laplacian.toarray(), subset_by_index=[0, 1])[1][:, 1]
    else:
        start = np.random.default_rng(0).standard_normal(m)
        values, vectors = eigsh(laplacian.tocsc(), k=2, sigma=-1e-3, v0=start)
        vector = vectors[:, np.argmax(values)]
    order = np.argsort(vector * root, kind="stable")
    rank = np.empty(m, dtype=np.int64)
    rank[order] = np.arange(m)
    edges = graph.tocoo()
    first, last = rank[edges.row], rank[edges.col]
    forward = first < last  # each pair once; it is cut while the split lies between its ends
    opened = np.bincount(first[forward], edges.data[forward], minlength=m)
    closed = np.bincount(last[forward], edges.data[forward], minlength=m)
    cut = np.cumsum(opened - closed)[:-1]
    before = np.cumsum(degrees[order])
    value = cut / before[:-1] + cut / (before[-1] - before[:-1])
    size = np.arange(1, m)
    value[(size < least) | (m - size < least)] = np.inf
    best = int(np.argmin(value))
    return rank <= best, float(value[best])


def _cut(graph: csr_array, nodes: np.ndarray, least: int) -> Iterator[np.ndarray]:
    """Parts of the graph on these nodes (flat indices), cut while it is cheap; what falls off may be small."""
    queue = [nodes] if len(nodes) else []
    while queue:
        nodes = queue.pop()
        own = graph[nodes][:, nodes]
        n_parts, part = connected_components(own, directed=False)
        if n_parts > 1:
            queue.extend(nodes[part == number] for number in range(n_parts))
            continue
        if len(nodes) >= 2 * least:
            side, value = cheapest_cut(own, least)
            if value < CHEAP_CUT:
                queue.extend([nodes[side], nodes[~side]])
                continue
        yield nodes


def _moved(values: np.ndarray, dy: int, dx: int, *, first_axis: int = 0) -> np.ndarray:
    """What lies dy rows below and dx columns right of each patch; beyond the border, the patch on it."""
    h, w = values.shape[first_axis : first_axis + 2]
    rows, columns = np.clip(np.arange(h) + dy, 0, h - 1), np.clip(np.arange(w) + dx, 0, w - 1)
    return values.take(rows, axis=first_axis).take(columns, axis=first_axis + 1)


def _inside(shape: tuple[int, int], dy: int, dx: int) -> np.ndarray:
    """(h, w) bool: patches whose neighbour in this direction is in the image."""
    h, w = shape
    row, column = np.arange(h)[:, None] + dy, np.arange(w)[None, :] + dx
    return (row >= 0) & (row < h) & (column >= 0) & (column < w)
