"""Draws a scene: objects, physically settled poses, camera, background and lights.

World axes: x to the right, y away from the camera, z up; the table top is z = 0; metres throughout.
"""

import itertools
from dataclasses import dataclass, field

import cv2
import numpy as np

from . import meshes, textures

IMAGE_PX = 480
GROUPS = {
    # Sizes of same-class groups in a scene, and how often the layout is drawn.
    (2, 1): 0.2, (2, 1, 1): 0.2, (2, 2): 0.14, (3, 1): 0.14, (2, 2, 1): 0.12,
    (1, 1, 1): 0.06, (1, 1, 1, 1): 0.08, (3, 2): 0.03, (2, 2, 1, 1): 0.03,
}  # fmt: skip
BACKDROPS = {"train": ("wall", "corner", "edge"), "val": ("cove", "panel")}
MIN_AREA, MAX_AREA = 0.012, 0.17
"""Least and largest visible area of an object, as a fraction of the image."""
MIN_VISIBLE = 0.42
"""Least visible fraction of an object's silhouette."""
MIN_LAB_DISTANCE = 34.0


class NoLayout(RuntimeError):
    """No valid arrangement was found for the drawn objects; draw again."""


@dataclass
class Camera:
    """A pinhole camera; ``fov_deg`` is the full angle of both image axes."""

    origin_m: np.ndarray
    target_m: np.ndarray
    fov_deg: float

    def axes(self):
        """Rows: image right, image down, optical axis, as world vectors."""
        forward = self.target_m - self.origin_m
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward])

    def project(self, points_m):
        """Pixel coordinates (n, 2) and z-depth (n,) in metres of world points (n, 3)."""
        local = (points_m - self.origin_m) @ self.axes().T
        focal_px = IMAGE_PX / 2 / np.tan(np.radians(self.fov_deg) / 2)
        return local[:, :2] / local[:, 2:] * focal_px + IMAGE_PX / 2, local[:, 2]


@dataclass
class Material:
    """A texture and how glossy it is (``roughness`` None: matt)."""

    texture: np.ndarray
    roughness: float | None


@dataclass
class Placed:
    """An object in the scene; objects of one ``group`` share mesh and material."""

    group: int
    mesh: meshes.ObjectMesh
    pose: np.ndarray = field(default_factory=lambda: np.eye(4))

    def points_m(self):
        """World positions of the mesh's corners."""
        return self.mesh.positions_m @ self.pose[:3, :3].T + self.pose[:3, 3]

    def outline_points_m(self):
        """World positions of the mesh's extreme points: enough for its convex outline."""
        return self.mesh.support_points_m @ self.pose[:3, :3].T + self.pose[:3, 3]


@dataclass
class Scene:
    """All that the renderer needs. ``surfaces``: background meshes with their material."""

    camera: Camera
    objects: list
    materials: list
    surfaces: list
    lights: list
    ambient_rgb: np.ndarray
    description: dict


def draw_scene(rng, split):
    """Draws meshes, layout and looks until a layout satisfies the area, visibility and contact limits."""
    sizes = list(GROUPS)[rng.choice(len(GROUPS), p=list(GROUPS.values()))]
    scale = {3: 1.0, 4: 0.95, 5: 0.88, 6: 0.82}[sum(sizes)]
    for _ in range(200):
        camera = _draw_camera(rng)
        backdrop = str(rng.choice(BACKDROPS[split]))
        depth_m = rng.uniform(0.52, 0.7) if max(sizes) < 3 else rng.uniform(0.6, 0.75)
        group_meshes = [_settled_mesh(rng, split, scale) for _ in sizes]
        try:
            objects = _arrange(rng, camera, sizes, group_meshes, depth_m - 0.05)
        except NoLayout:
            continue
        colours = _draw_colours(rng, split, len(sizes))
        materials, names = _draw_materials(rng, split, colours[2:])
        surfaces, surface_names = _draw_surfaces(rng, split, backdrop, depth_m, colours[:2])
        lights, ambient = _draw_lights(rng)
        description = {
            "groups": list(sizes),
            "backdrop": backdrop,
            "meshes": [m.name for m in group_meshes],
            "textures": names,
            **surface_names,
            "camera": {
                "fov_deg": round(camera.fov_deg, 2),
                "origin_m": camera.origin_m.round(4).tolist(),
                "target_m": camera.target_m.round(4).tolist(),
            },
        }
        return Scene(camera, objects, materials, surfaces, lights, ambient, description)
    raise NoLayout("no layout in 200 draws")


def same_group_pairs(objects):
    """Index pairs of consecutive objects of one group, front one first."""
    return [(i, i + 1) for i in range(len(objects) - 1) if objects[i].group == objects[i + 1].group]


def contact_px(mask_a, mask_b):
    """Pixels of ``mask_b`` within 2 px of ``mask_a``, as a boolean image."""
    return cv2.dilate(mask_a.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & mask_b


def _draw_camera(rng):
    """A camera 0.68-0.88 m in front of the scene's middle, 0.3-0.5 m above the table."""
    origin = np.array([rng.uniform(-0.12, 0.12), -rng.uniform(0.68, 0.88), rng.uniform(0.3, 0.5)])
    return Camera(origin, np.array([rng.uniform(-0.03, 0.03), 0.1, rng.uniform(0.03, 0.07)]), rng.uniform(38, 46))


def _settled_mesh(rng, split, scale):
    """A mesh of the split, scaled by ``scale`` and at rest on the table; neither flat nor a needle."""
    for _ in range(50):
        mesh = meshes.scaled(meshes.random_mesh(rng, split), scale)
        if mesh.name.startswith("random_urdfs"):
            start = _quaternion_matrix(rng.normal(size=4))
            turned = meshes.rotated(mesh, start)
            pose = _simulate([(turned, np.array([0, 0, 0.02]), 0.0)], seconds=2.0)[0]
            mesh = meshes.rotated(turned, pose[:3, :3])
        x, y, z = mesh.extent_m
        if z > 0.085 and min(x, y) > 0.065 and z < 3.2 * min(x, y):
            return mesh
    raise NoLayout("no usable mesh")


def _arrange(rng, camera, sizes, group_meshes, y_max):
    """Places the groups (front to back within a group), settles them and checks what the camera sees."""
    for _ in range(150):
        spots = _draw_spots(rng, camera, sizes, group_meshes)
        if not _spots_valid(spots, y_max):
            continue
        trial = [Placed(g, m, _pose(xy, yaw)) for g, m, xy, yaw in spots]
        if not _looks_valid(camera, trial):
            continue
        bodies = [(m, np.array([*xy, 0.003]), yaw) for _, m, xy, yaw in spots]
        poses = _simulate(bodies, seconds=0.8)
        if _stayed(trial, poses):
            for placed, pose in zip(trial, poses, strict=True):
                placed.pose = pose
                placed.pose[2, 3] -= placed.points_m()[:, 2].min()
            if _looks_valid(camera, trial):
                return trial
    raise NoLayout("no arrangement")


def _draw_spots(rng, camera, sizes, group_meshes):
    """(group, mesh, xy, yaw) of every object: groups recede in depth and overlap in the image."""
    half_fov = np.radians(camera.fov_deg) / 2
    spots = []
    for group, (size, mesh) in enumerate(zip(sizes, group_meshes, strict=True)):
        width = min(mesh.extent_m[:2].mean() / 2, mesh.radius_m)
        y = rng.uniform(-0.24, -0.02) if size > 1 else rng.uniform(-0.2, 0.35)
        angle, side = rng.uniform(-0.75, 0.75) * half_fov, rng.choice([-1, 1])
        for _ in range(size):
            distance = y - camera.origin_m[1]
            spots.append(
                (group, mesh, np.array([camera.origin_m[0] + distance * np.tan(angle), y]), rng.uniform(0, 2 * np.pi))
            )
            step = rng.uniform(0.22, 0.32) if size < 3 else rng.uniform(0.2, 0.27)
            angle += side * rng.uniform(0.55, 0.95) * (width / distance + width / (distance + step))
            side *= rng.choice([-1, 1], p=[0.35, 0.65])
            y += step
    return spots


def _spots_valid(spots, y_max):
    """Whether the objects are apart (1 cm) and in front of the backdrop."""
    if any(xy[1] + mesh.radius_m > y_max for _, mesh, xy, _ in spots):
        return False
    pairs = itertools.combinations(spots, 2)
    return all(np.linalg.norm(a[2] - b[2]) > a[1].radius_m + b[1].radius_m + 0.01 for a, b in pairs)


def _looks_valid(camera, objects):
    """Checks frame, visible area, visible fraction and contacts with the convex outlines of the objects."""
    canvas = np.full((IMAGE_PX, IMAGE_PX), -1, np.int16)
    outlines = []
    order = sorted(range(len(objects)), key=lambda i: -objects[i].pose[1, 3])
    for i in order:
        points, _ = camera.project(objects[i].outline_points_m())
        hull = cv2.convexHull(np.float32(points))
        if hull.min() < 4 or hull.max() > IMAGE_PX - 4:
            return False
        cv2.fillConvexPoly(canvas, hull.round().astype(np.int32), i)
        outlines.append((i, cv2.contourArea(hull)))
    for i, area in outlines:
        seen = (canvas == i).sum()
        if seen < MIN_VISIBLE * area or not MIN_AREA < seen / IMAGE_PX**2 < MAX_AREA:
            return False
    return all(contact_px(canvas == i, canvas == j).sum() >= 60 for i, j in same_group_pairs(objects))


def _stayed(trial, poses):
    """Whether settling moved no object by more than 2 cm or tilted it by more than 5 degrees."""
    moved = [
        np.linalg.norm(a.pose[:2, 3] - b[:2, 3]) < 0.02 and b[2, 2] > 0.996 for a, b in zip(trial, poses, strict=True)
    ]
    return all(moved)


def _simulate(bodies, seconds):
    """Lets (mesh, position, yaw) bodies fall on the table in PyBullet; returns the 4 x 4 pose of each mesh."""
    import pybullet

    client = pybullet.connect(pybullet.DIRECT)
    try:
        pybullet.setGravity(0, 0, -9.81, physicsClientId=client)
        ground = pybullet.createCollisionShape(pybullet.GEOM_PLANE, physicsClientId=client)
        pybullet.createMultiBody(0, ground, physicsClientId=client)
        handles = []
        for mesh, position, yaw in bodies:
            hull = mesh.support_points_m
            centre = (hull.min(0) + hull.max(0)) / 2
            shape = pybullet.createCollisionShape(
                pybullet.GEOM_MESH, vertices=(hull - centre).tolist(), physicsClientId=client
            )
            turn = _pose((0, 0), yaw)[:3, :3]
            start = position + turn @ centre
            quaternion = pybullet.getQuaternionFromEuler([0, 0, yaw])
            body = pybullet.createMultiBody(0.3, shape, -1, start.tolist(), quaternion, physicsClientId=client)
            pybullet.changeDynamics(
                body, -1, lateralFriction=0.9, rollingFriction=0.005, spinningFriction=0.01, physicsClientId=client
            )
            handles.append((body, centre))
        for _ in range(int(240 * seconds)):
            pybullet.stepSimulation(physicsClientId=client)
        poses = []
        for body, centre in handles:
            position, quaternion = pybullet.getBasePositionAndOrientation(body, physicsClientId=client)
            pose = np.eye(4)
            pose[:3, :3] = np.reshape(pybullet.getMatrixFromQuaternion(quaternion), (3, 3))
            pose[:3, 3] = position - pose[:3, :3] @ centre
            poses.append(pose)
        return poses
    finally:
        pybullet.disconnect(client)


def _pose(xy, yaw):
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0, xy[0]], [s, c, 0, xy[1]], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def _quaternion_matrix(q):
    """Rotation matrix of a quaternion (x, y, z, w) of any norm."""
    x, y, z, w = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _draw_colours(rng, split, n_groups):
    """Table, wall and group colours (2 + n_groups); groups differ from table, wall and each other in Lab."""
    for _ in range(2000):
        table = textures.wood_colour(rng) if rng.random() < 0.4 else textures.background_colour(rng, split)
        wall = textures.background_colour(rng, split)
        colours = [table, wall] + [textures.object_colour(rng, split) for _ in range(n_groups)]
        labs = [textures.lab(c) for c in colours]
        pairs = [(i, j) for i, j in itertools.combinations(range(len(labs)), 2) if j > 1]
        near = min(np.linalg.norm(labs[i] - labs[j]) for i, j in pairs)
        if near > MIN_LAB_DISTANCE and np.linalg.norm(labs[0] - labs[1]) > 8:
            return colours
    raise NoLayout("no set of colours")


def _draw_materials(rng, split, colours):
    """A material for each group, and the names of the texture families."""
    names = [str(rng.choice(textures.OBJECT_FAMILIES[split])) for _ in colours]
    gloss = [float(rng.uniform(0.12, 0.3)) if rng.random() < 0.5 else None for _ in colours]
    made = [textures.make_texture(n, rng, c) for n, c in zip(names, colours, strict=True)]
    return [Material(t, g) for t, g in zip(made, gloss, strict=True)], names


def _draw_surfaces(rng, split, backdrop, depth_m, colours):
    """Table, walls and backdrops as (mesh, material) pairs, and the texture families' names."""
    table_name, wall_name = (
        str(rng.choice(textures.TABLE_FAMILIES[split])),
        str(rng.choice(textures.WALL_FAMILIES[split])),
    )
    table = Material(textures.make_texture(table_name, rng, colours[0], 0.45), None)
    wall = Material(textures.make_texture(wall_name, rng, colours[1], 0.35), None)
    far = 3.0
    if backdrop == "cove":
        wall, wall_name = table, table_name
        bend = np.linspace(0, np.pi / 2, 17)
        radius = rng.uniform(0.12, 0.3)
        path = (
            [(-2.0, 0.0)]
            + [(depth_m + radius * np.sin(b), radius * (1 - np.cos(b))) for b in bend]
            + [(depth_m + radius, 2.5)]
        )
        surfaces = [(_strip(path, far), table)]
    elif backdrop == "panel":
        height, ledge = rng.uniform(0.1, 0.22), 0.025
        upper = Material(textures.make_texture("speckle", rng, textures.background_colour(rng, split), 0.4), None)
        surfaces = [
            (_strip([(-2.0, 0.0), (depth_m, 0.0)], far), table),
            (_strip([(depth_m, 0.0), (depth_m, height), (depth_m + ledge, height)], far), wall),
            (_strip([(depth_m + ledge, height), (depth_m + ledge, 2.5)], far), upper),
        ]
    elif backdrop == "edge":
        surfaces = [
            (_strip([(-2.0, 0.0), (depth_m, 0.0), (depth_m, -0.03)], far), table),
            (_strip([(depth_m + rng.uniform(0.2, 0.4), -1.5), (depth_m + 0.3, 2.5)], far), wall),
        ]
    else:
        surfaces = [
            (_strip([(-2.0, 0.0), (depth_m + 0.6, 0.0)], far), table),
            (_strip([(depth_m, 0.0), (depth_m, 2.5)], far), wall),
        ]
    if backdrop == "corner":
        side = rng.choice([-1, 1])
        strip = _strip([(0.0, 0.0), (0.0, 2.5)], far)
        turn = _pose((0, 0), -side * rng.uniform(0.9, 1.35))[:3, :3]
        corner = meshes.ObjectMesh(
            "side",
            strip.positions_m @ turn.T + [side * rng.uniform(0.3, 0.45), depth_m, 0],
            strip.normals @ turn.T,
            strip.uv,
        )
        surfaces.append((corner, wall))
    return surfaces, {"table": table_name, "wall": wall_name}


def _strip(path_yz, half_width_m, repeat_m=0.6):
    """A surface along a path of (y, z) points, ``half_width_m`` to either side; the texture repeats."""
    path = np.array(path_yz, float)
    along = np.r_[0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
    positions, normals, uv = [], [], []
    for k in range(len(path) - 1):
        (y0, z0), (y1, z1) = path[k], path[k + 1]
        normal = np.array([0, -(z1 - z0), y1 - y0]) / np.hypot(y1 - y0, z1 - z0)
        corner = [(-half_width_m, y0, z0), (half_width_m, y0, z0), (half_width_m, y1, z1), (-half_width_m, y1, z1)]
        texture = [(c[0] / repeat_m, along[k + (i > 1)] / repeat_m) for i, c in enumerate(corner)]
        for i in (0, 1, 2, 0, 2, 3):
            positions.append(corner[i])
            normals.append(normal)
            uv.append(texture[i])
    return meshes.ObjectMesh("surface", np.array(positions), np.array(normals), np.array(uv))


def _draw_lights(rng):
    """One or two square lamps as dicts (origin_m, target_m, side_m, rgb) and the ambient radiance."""
    lights = []
    azimuth = rng.choice([-1, 1]) * rng.uniform(25, 95)
    for share in (1.0, rng.uniform(0.25, 0.5))[: rng.integers(1, 3)]:
        elevation, distance = np.radians(rng.uniform(40, 65)), rng.uniform(1.5, 1.9)
        turn = np.radians(azimuth)
        towards = np.array([np.sin(turn) * np.cos(elevation), -np.cos(turn) * np.cos(elevation), np.sin(elevation)])
        warmth = rng.uniform(-0.06, 0.08)
        lights.append(
            {
                "origin_m": np.array([0, 0.1, 0]) + distance * towards,
                "target_m": np.array([0, 0.1, 0]),
                "side_m": rng.uniform(0.6, 1.0),
                "rgb": share * rng.uniform(7, 11) * np.array([1 + warmth, 1, 1 - warmth]),
            }
        )
        azimuth -= np.sign(azimuth) * rng.uniform(60, 110)
    return lights, rng.uniform(0.35, 0.6) * np.array([1, 1, 1 + rng.uniform(-0.04, 0.06)])
