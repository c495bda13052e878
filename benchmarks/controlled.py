"""Scenes with known objects, depth and classes, so that only the cut is left to decide.

Two sources of geometry: scenes drawn here from a seed, and the masks of annotated images (``choices_sets``). Features
are class embeddings with noise: semantics are right, and no feature tells objects of one class apart. A drawn scene is
a floor that rises to a wall, with flat boxes or round bodies on it, in pieces of one class each:

    alone     one object of its class
    behind    two of a class that overlap in the image, one behind the other: depth has an edge between them
    touching  two of a class side by side at the same depth: no edge in depth between them (Sec. 6 of the paper)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter

FOCAL, HORIZON = 0.75, 0.25  # in image sides; the floor's depth is 1 at the lower edge of the image
WALL_Z = 2.4
NEAREST_Z = 0.9
PIECES = (("behind", "alone"), ("touching", "alone"), ("behind", "touching"), ("behind", "behind", "alone"))
"""Pieces of the scenes, by scene number modulo 4."""
GAP = (0.08, 0.35)
"""Depth from the nearer to the farther object of a pair ``behind``, as a fraction of the depth range."""
LEAST_VISIBLE, LEAST_SHARE = 0.01, 0.4
"""Every object shows at least this fraction of the image, and of itself."""
GRAIN_PX = 6.0
"""Standard deviation of the Gaussian that correlates depth noise; white noise would vanish in the patches' medians."""
CHANNELS = 128


@dataclass(frozen=True)
class Drawn:
    """A scene: ``labels`` (S, S) int, object of each pixel or -1; ``depth`` (S, S) float32 in [0, 1], 0 nearest;
    and by object its ``classes`` (1 and up; 0 is the background) and ``kinds``."""

    labels: np.ndarray
    depth: np.ndarray
    classes: tuple[int, ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class _Body:
    kind: str
    cls: int
    round: bool
    x: float  # centre, in pixels
    z: float  # depth of its rim and of the floor it stands on
    width: float  # in units of depth, like the height
    height: float


def draw_scene(number: int, *, seed: int = 0, size: int = 480) -> Drawn:
    """Draw a scene; the same arguments give the same scene.

    Args:
        number: of the scene; decides which pieces it has.
        seed: of everything random.
        size: height and width in pixels.
    """
    rng = np.random.default_rng([seed, number, 0])
    pieces = PIECES[number % len(PIECES)]
    while True:
        bodies = [
            body
            for position, kind in enumerate(pieces)
            for body in _piece(rng, kind, position + 1, centre=(position + 0.5) / len(pieces) * size, size=size)
        ]
        drawn = _render(bodies, size)
        if drawn is not None:
            return drawn


def class_features(labels: np.ndarray, classes: tuple[int, ...], *, patch_size: int, noise: float, rng) -> np.ndarray:
    """Features of patches: the embeddings of its pixels' classes, mixed by area, and Gaussian noise.

    The classes and the background have orthonormal embeddings.

    Args:
        labels: (S, S) int, object of each pixel, -1 for the background.
        classes: class of each object, 1 and up.
        patch_size: side of a patch in pixels, a divisor of S.
        noise: expected length of the noise vector; an embedding has length 1.
        rng: numpy generator.

    Returns:
        (C, S / patch_size, S / patch_size) float32.
    """
    of_pixel = np.asarray([*classes, 0])[labels]  # -1 takes the last
    grid = labels.shape[0] // patch_size
    n_classes = max(classes, default=0) + 1
    embeddings = np.linalg.qr(rng.standard_normal((CHANNELS, n_classes)))[0]
    shares = np.stack([_patch_means(of_pixel == c, grid, patch_size) for c in range(n_classes)])
    features = np.tensordot(embeddings, shares, axes=1)
    features += rng.standard_normal(features.shape) * noise / np.sqrt(CHANNELS)
    return features.astype(np.float32)


def degrade(depth: np.ndarray, *, blur_px: float, noise: float, rng) -> np.ndarray:
    """Depth as a monocular model would give it: edges smoothed, values off by correlated noise, normalised again.

    Args:
        depth: (S, S) float in [0, 1].
        blur_px: deviation of the Gaussian over the edges.
        noise: standard deviation of the error, as a fraction of the depth range.
        rng: numpy generator.

    Returns:
        (S, S) float32 in [0, 1]; the depth itself where both are 0.
    """
    if not blur_px and not noise:
        return depth.astype(np.float32)
    result = gaussian_filter(depth.astype(np.float64), blur_px, mode="nearest") if blur_px else depth.astype(np.float64)
    if noise:
        field = gaussian_filter(rng.standard_normal(depth.shape), GRAIN_PX, mode="nearest")
        result = result + noise * field / field.std()
    low, high = result.min(), result.max()
    return ((result - low) / (high - low) if high > low else np.zeros_like(result)).astype(np.float32)


def _patch_means(mask: np.ndarray, grid: int, patch_size: int) -> np.ndarray:
    return mask.reshape(grid, patch_size, grid, patch_size).mean(axis=(1, 3))


def _piece(rng: np.random.Generator, kind: str, cls: int, *, centre: float, size: int) -> list[_Body]:
    """The bodies of a piece around a column; all of one class have one shape and size."""
    width, height = rng.uniform(0.30, 0.45), rng.uniform(0.35, 0.55)
    is_round, x, z = bool(rng.random() < 0.5), centre + rng.uniform(-0.03, 0.03) * size, rng.uniform(1.05, 1.45)
    side = rng.choice([-1.0, 1.0])
    if kind == "alone":
        return [_Body(kind, cls, is_round, x, z + rng.uniform(0, 0.4), width, height)]
    if kind == "behind":
        far = z + rng.uniform(*GAP) * (WALL_Z - NEAREST_Z)
        shift = side * rng.uniform(0.35, 0.6) * _px(width, z, size) / 2
        return [_Body(kind, cls, is_round, x - shift, z, width, height),
                _Body(kind, cls, is_round, x + shift, far, width, height)]  # fmt: skip
    z += 0.3  # a pair side by side needs room
    shift = side * (_px(width, z, size) / 2 - 0.01 * size)
    return [_Body(kind, cls, is_round, x + s, z, width, height) for s in (-shift, shift)]


def _px(length: float, z: float, size: int) -> float:
    return length * FOCAL * size / z


def _render(bodies: list[_Body], size: int) -> Drawn | None:
    """The scene by depth buffer, or None where an object shows too little or a pair does not meet in the image."""
    rows, columns = np.mgrid[:size, :size] + 0.5
    floor = np.divide(FOCAL * size, rows - HORIZON * size, out=np.full((size, size), np.inf),
                      where=rows > HORIZON * size)  # fmt: skip
    depth = np.minimum(floor, WALL_Z)
    labels = np.full((size, size), -1)
    whole = []
    for index, body in enumerate(bodies):
        inside, surface = _surface(body, rows, columns, size)
        whole.append(inside.sum())
        nearer = inside & (surface < depth + 1e-9)
        labels[nearer], depth = index, np.where(nearer, surface, depth)
    visible = np.bincount(labels[labels >= 0], minlength=len(bodies))
    if (visible < LEAST_VISIBLE * size**2).any() or (visible < LEAST_SHARE * np.array(whole)).any():
        return None
    for index, body in enumerate(bodies):
        others = [i for i, other in enumerate(bodies) if i != index and other.cls == body.cls]
        if others and not (binary_dilation(labels == index, iterations=2) & np.isin(labels, others)).any():
            return None
    depth = np.clip((depth - NEAREST_Z) / (WALL_Z - NEAREST_Z), 0, 1)
    depth = (depth - depth.min()) / (depth.max() - depth.min())
    return Drawn(labels, depth.astype(np.float32), tuple(b.cls for b in bodies), tuple(b.kind for b in bodies))


def _surface(body: _Body, rows: np.ndarray, columns: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels that a body covers (S, S) bool, and its depth there; it stands on the floor at its own depth."""
    half_w, half_h = _px(body.width, body.z, size) / 2, _px(body.height, body.z, size) / 2
    base = HORIZON * size + FOCAL * size / body.z
    across, up = (columns - body.x) / half_w, (rows - (base - half_h)) / half_h
    if not body.round:
        inside = (np.abs(across) <= 1) & (np.abs(up) <= 1)
        return inside, np.full(rows.shape, body.z)
    inside = across**2 + up**2 <= 1
    return inside, body.z - body.width / 3 * np.sqrt(np.clip(1 - across**2 - up**2, 0, None))
