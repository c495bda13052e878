"""Object meshes: swept shapes made here (bottles, mugs, boxes, ...) and blocks from pybullet_data/random_urdfs.

The two splits share no mesh: they use different families of swept shapes and different ``random_urdfs`` folders.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

N_AROUND = 96
"""Vertices around a swept shape (divisible by 3, 4, 6 and 8, so that corners of prisms are hit)."""
URDF_RANGE = {"train": (0, 650), "val": (650, 1000)}
TEXTURE_M = 0.12
"""Edge of one texture repeat on an object, metres."""

# A family: outline (name of a radius function), control points "radius height, ..." of the profile, twist in radians.
# Radii and heights are relative: the shape is scaled to metres afterwards. A point given twice is a tighter corner.
SWEPT = {
    "train": {
        "bottle": ("circle", "0 0, 1 0, 1 0, 1 1.9, 0.95 2.2, 0.35 2.5, 0.35 3.2, 0.35 3.2, 0 3.2", 0.0),
        "can": ("circle", "0 0, 0.9 0, 1 0.1, 1 0.1, 1 2.3, 1 2.3, 0.9 2.4, 0 2.4", 0.0),
        "mug": ("circle", "0 0, 0.85 0, 1 0.1, 1 2, 1 2.1, 0.9 2.1, 0.88 2, 0.8 0.25, 0 0.2", 0.0),
        "vase": ("circle", "0 0, 0.55 0, 0.6 0, 1.15 0.9, 0.9 1.7, 0.4 2.2, 0.6 2.6, 0.5 2.6, 0.3 2.2, 0 2.2", 0.0),
        "pawn": (
            "circle",
            "0 0, 1 0, 1 0, 0.95 0.5, 0.45 0.8, 0.4 1.7, 0.75 1.9, 0.5 2.05, 0.8 2.4, 0.5 2.95, 0 2.95",
            0.0,
        ),
        "box": ("square", "0 0, 1 0, 1 0, 1 0, 1 2.2, 1 2.2, 1 2.2, 0 2.2", 0.0),
        "hexagon": ("hexagon", "0 0, 1 0, 1 0, 1 2, 1 2, 0.6 2.3, 0.6 2.3, 0 2.3", 0.0),
        "flower": ("flower", "0 0, 0.8 0, 0.8 0, 1 1, 0.8 2, 0.8 2, 0 2", 0.5),
    },
    "val": {
        "carafe": ("circle", "0 0, 1.1 0, 1.2 0.1, 1 0.9, 0.4 1.7, 0.4 2.3, 0.65 2.8, 0.55 2.8, 0.3 2.3, 0 2.2", 0.0),
        "goblet": ("circle", "0 0, 0.9 0, 0.9 0.1, 0.3 0.3, 0.25 0.9, 0.9 1.3, 1.1 2.4, 1 2.4, 0.7 1.4, 0 1.2", 0.0),
        "jar": (
            "circle",
            "0 0, 1 0, 1.1 0.2, 1.15 1.4, 0.8 1.7, 0.8 1.75, 0.95 1.75, 0.95 2.1, 0.95 2.1, 0.3 2.2, 0.3 2.45, 0 2.5",
            0.0,
        ),
        "bell": ("circle", "0 0, 1.25 0, 1.25 0.1, 0.8 0.6, 0.7 1.6, 0.4 1.9, 0.15 1.9, 0.25 2.3, 0 2.4", 0.0),
        "wedge": ("triangle", "0 0, 1 0, 1 0, 1 0, 1 2, 1 2, 1 2, 0 2", 0.0),
        "octagon": ("octagon", "0 0, 1 0, 1 0, 0.75 2.2, 0.75 2.2, 0 2.5", 0.0),
        "screw": ("star", "0 0, 0.95 0, 0.95 0, 0.9 2.2, 0.9 2.2, 0 2.2", 1.2),
        "drum": ("ellipse", "0 0, 0.9 0, 0.95 0, 1.1 1, 0.95 2, 0.9 2, 0 2", 0.0),
    },
}


@dataclass
class ObjectMesh:
    """A triangle soup standing on z = 0 with its centre of bounds over the origin.

    ``positions_m`` (3 T, 3) metres, ``normals`` (3 T, 3), ``uv`` (3 T, 2) in texture repeats: three rows a triangle.
    """

    name: str
    positions_m: np.ndarray
    normals: np.ndarray
    uv: np.ndarray

    @cached_property
    def support_points_m(self):
        """At most 248 points that span nearly the whole convex hull, foot ring included."""
        i = np.arange(200)
        z, turn = 1 - (2 * i + 1) / 200, i * np.pi * (3 - np.sqrt(5))
        sphere = np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], 1)
        ring = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        foot = np.stack([0.1 * np.cos(ring), 0.1 * np.sin(ring), -np.ones(48)], 1)
        return self.positions_m[np.unique((self.positions_m @ np.vstack([sphere, foot]).T).argmax(0))]

    @cached_property
    def extent_m(self):
        """Size of the bounding box along x, y, z, metres."""
        return np.ptp(self.positions_m, axis=0)

    @cached_property
    def radius_m(self):
        """Largest horizontal distance from the vertical axis, metres."""
        return float(np.hypot(*self.positions_m[:, :2].T).max())


def random_mesh(rng, split):
    """One mesh of the split's own families, 15-22 cm in its largest dimension. Returns an :class:`ObjectMesh`."""
    return _swept(rng, split) if rng.random() < 0.7 else _random_urdf(rng, split)


def rotated(mesh, rotation):
    """The mesh turned by a (3, 3) rotation and set back on z = 0, centred."""
    positions = mesh.positions_m @ rotation.T
    low, high = positions.min(0), positions.max(0)
    positions = positions - [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]]
    return ObjectMesh(mesh.name, positions, mesh.normals @ rotation.T, mesh.uv)


def scaled(mesh, factor):
    """The mesh scaled uniformly by ``factor``; the texture keeps its number of repeats."""
    return ObjectMesh(mesh.name, mesh.positions_m * factor, mesh.normals, mesh.uv)


def write_ply(mesh, path):
    """Writes positions, normals and texture coordinates as a binary PLY file."""
    n = len(mesh.positions_m)
    fields = ("x", "y", "z", "nx", "ny", "nz", "u", "v")
    header = "ply\nformat binary_little_endian 1.0\n" + f"element vertex {n}\n"
    header += "".join(f"property float {f}\n" for f in fields)
    header += f"element face {n // 3}\nproperty list uchar int vertex_indices\nend_header\n"
    faces = np.empty(n // 3, dtype=[("count", "u1"), ("index", "<i4", 3)])
    faces["count"], faces["index"] = 3, np.arange(n).reshape(-1, 3)
    table = np.hstack([mesh.positions_m, mesh.normals, mesh.uv]).astype("<f4")
    Path(path).write_bytes(header.encode() + table.tobytes() + faces.tobytes())


def _swept(rng, split):
    """A profile swept around an outline, with random proportions."""
    family = str(rng.choice(sorted(SWEPT[split])))
    outline, points, twist = SWEPT[split][family]
    variant = int(rng.integers(1000))
    rng = np.random.default_rng(variant)
    profile = _chaikin(np.array([pair.split() for pair in points.split(",")], float) * (1, rng.uniform(0.85, 1.2)))
    profile[1:-1, 0] *= 1 + 0.08 * np.sin(profile[1:-1, 1] * rng.uniform(1, 2) + rng.uniform(0, 6)) * (
        outline == "circle"
    )
    vertices, faces, uv = _sweep(profile, OUTLINES[outline](rng), twist * rng.choice([-1, 1]))
    if family == "mug":
        vertices, faces, uv = _with_handle(vertices, faces, uv)
    vertices *= rng.uniform(0.15, 0.22) / np.ptp(vertices, axis=0).max()
    return _finish(f"{family}-{variant:03d}", vertices, faces, uv)


def _random_urdf(rng, split):
    """A block of pybullet_data/random_urdfs, uniformly scaled, as it lies in its file (settle it before use)."""
    import pybullet_data

    index = int(rng.integers(*URDF_RANGE[split]))
    name = f"{index:03d}"
    vertices, faces = _read_obj(Path(pybullet_data.getDataPath()) / "random_urdfs" / name / f"{name}.obj")
    vertices *= rng.uniform(0.15, 0.22) / np.ptp(vertices, axis=0).max()
    return _finish(f"random_urdfs/{name}", vertices, faces, None)


def _read_obj(path):
    """Vertices (V, 3) and triangles (F, 3) of a Wavefront file that has only triangles."""
    vertices, faces = [], []
    for line in Path(path).read_text().splitlines():
        word = line.split()
        if word[:1] == ["v"]:
            vertices.append([float(x) for x in word[1:4]])
        elif word[:1] == ["f"]:
            faces.append([int(x.split("/")[0]) - 1 for x in word[1:4]])
    return np.array(vertices), np.array(faces)


def _chaikin(points, rounds=3):
    """Corner cutting of a polyline (n, 2); a point given twice or thrice stays a tighter corner."""
    for _ in range(rounds):
        a, b = points[:-1], points[1:]
        cut = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], 1).reshape(-1, 2)
        points = np.vstack([points[:1], cut, points[-1:]])
    keep = np.r_[True, np.linalg.norm(np.diff(points, axis=0), axis=1) > 1e-3]
    return points[keep]


def _sweep(profile, radius, twist):
    """Vertices, faces and per-corner uv of a profile (P, 2) swept around radii (N_AROUND,).

    The outline turns by ``twist`` radians from foot to top.
    """
    n, p = N_AROUND, len(profile)
    angle = np.arange(n) / n * 2 * np.pi + np.pi / 4
    turn = twist * profile[:, 1] / profile[:, 1].max()
    theta = angle[None] + turn[:, None]
    ring = profile[:, :1] * radius[None]
    vertices = np.stack([ring * np.cos(theta), ring * np.sin(theta), np.repeat(profile[:, 1:], n, 1)], -1).reshape(
        -1, 3
    )
    i, j = np.meshgrid(np.arange(p - 1), np.arange(n), indexing="ij")
    a, b = i * n + j, i * n + (j + 1) % n
    c, d = a + n, b + n
    faces = np.stack([np.stack([a, b, d], -1), np.stack([a, d, c], -1)], 2).reshape(-1, 3)
    arc = np.r_[0, np.cumsum(np.linalg.norm(np.diff(profile, axis=0), axis=1))]
    u0, u1 = j / n, (j + 1) / n
    v0, v1 = arc[i], arc[i + 1]
    corner = [[(u0, v0), (u1, v0), (u1, v1)], [(u0, v0), (u1, v1), (u0, v1)]]
    uv = np.stack([np.stack([np.stack(c, -1) for c in tri], 2) for tri in corner], 2).reshape(-1, 2)
    return vertices, faces, uv


def _with_handle(vertices, faces, uv):
    """Adds a mug's handle: a bent tube on the +x side."""
    n, m = 24, 12
    bend, round_ = np.linspace(-np.pi / 2, np.pi / 2, n), np.arange(m) / m * 2 * np.pi
    centre = np.stack([0.95 + 0.6 * np.cos(bend), 0 * bend, 1.1 + 0.6 * np.sin(bend)], -1)
    out = np.stack([np.cos(bend), 0 * bend, np.sin(bend)], -1)
    tube = centre[:, None] + 0.14 * (
        np.cos(round_)[None, :, None] * out[:, None] + np.sin(round_)[None, :, None] * np.array([0, 1.0, 0])
    )
    i, j = np.meshgrid(np.arange(n - 1), np.arange(m), indexing="ij")
    a, b = i * m + j, i * m + (j + 1) % m
    quads = np.stack([np.stack([a, b + m, b], -1), np.stack([a, a + m, b + m], -1)], 2).reshape(-1, 3)
    extra = np.zeros((3 * len(quads), 2)) + 0.05
    return np.vstack([vertices, tube.reshape(-1, 3)]), np.vstack([faces, quads + len(vertices)]), np.vstack([uv, extra])


def _finish(name, vertices, faces, uv):
    """Triangle soup with creased normals.

    The uv of swept shapes are scaled to whole repeats around; without uv, each face is projected along its main axis.
    """
    corners = vertices[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1)
    keep = area > 1e-12
    corners, cross, faces = corners[keep], cross[keep], faces[keep]
    face_normal = cross / area[keep][:, None]
    normals = _creased_normals(corners, face_normal, cross)
    if uv is None:
        axis = np.abs(face_normal).argmax(1)
        planes = np.array([[1, 2], [0, 2], [0, 1]])[axis]
        uv = np.take_along_axis(corners, np.repeat(planes[:, None], 3, 1), 2).reshape(-1, 2) / TEXTURE_M
    else:
        uv = uv.reshape(-1, 3, 2)[keep].reshape(-1, 2)
        around = 2 * np.pi * np.hypot(corners[..., 0], corners[..., 1]).max() / TEXTURE_M
        height = np.ptp(corners[..., 2]) / TEXTURE_M
        uv = uv * [max(1, round(around)), height * 1.6 / uv[:, 1].max()]
    mesh = ObjectMesh(name, corners.reshape(-1, 3), normals.reshape(-1, 3), uv)
    return rotated(mesh, np.eye(3))


def _creased_normals(corners, face_normal, weighted, crease_cos=0.75):
    """Normals (F, 3, 3) at face corners: mean over the faces at that point within the crease angle."""
    key = np.round(corners.reshape(-1, 3), 6)
    _, group = np.unique(key, axis=0, return_inverse=True)
    group = group.ravel()
    order = np.argsort(group, kind="stable")
    bounds = np.flatnonzero(np.r_[True, np.diff(group[order]) > 0, True])
    result = np.empty((len(group), 3))
    for start, stop in pairwise(bounds):
        rows = order[start:stop]
        n = face_normal[rows // 3]
        result[rows] = (n @ n.T > crease_cos) @ weighted[rows // 3]
    return (result / np.linalg.norm(result, axis=1, keepdims=True)).reshape(-1, 3, 3)


def _polygon(sides, rounding=0.0):
    """Radii of a regular polygon seen from its centre, pulled towards the circle by ``rounding`` in [0, 1]."""
    angle = np.arange(N_AROUND) / N_AROUND * 2 * np.pi
    inner = np.cos(np.pi / sides) / np.cos((angle % (2 * np.pi / sides)) - np.pi / sides)
    return rounding + (1 - rounding) * inner


def _waved(lobes, depth):
    """Radii of a circle with ``lobes`` waves of relative ``depth``."""
    return 1 + depth * np.cos(lobes * np.arange(N_AROUND) / N_AROUND * 2 * np.pi)


OUTLINES = {
    "circle": lambda rng: np.ones(N_AROUND),
    "square": lambda rng: _polygon(4),
    "hexagon": lambda rng: _polygon(6),
    "flower": lambda rng: _waved(rng.integers(5, 8), 0.12),
    "triangle": lambda rng: _polygon(3, 0.15),
    "octagon": lambda rng: _polygon(8),
    "star": lambda rng: _waved(rng.integers(3, 5), 0.16),
    "ellipse": lambda rng: (
        1
        / np.hypot(
            np.cos(np.linspace(0, 2 * np.pi, N_AROUND, endpoint=False)),
            1.5 * np.sin(np.linspace(0, 2 * np.pi, N_AROUND, endpoint=False)),
        )
        * 1.25
    ),
}
