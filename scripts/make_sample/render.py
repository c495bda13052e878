"""Renders a scene with Mitsuba 3: path-traced colour (denoised), metric z-depth and instance maps."""

import tempfile
from pathlib import Path

import cv2
import numpy as np

from . import meshes
from .scene import IMAGE_PX

VARIANT = "scalar_rgb"
MIN_ALBEDO = 0.03


def render_maps(scene):
    """z-depth (480, 480) in metres along the optical axis and object index (480, 480), -1 = background.

    One ray through the centre of every pixel: no mixing at object borders.
    """
    mi = _mitsuba()
    with tempfile.TemporaryDirectory(prefix="make-sample-") as folder:
        world = _world(mi, scene, folder)
        integrator = mi.load_dict({"type": "aov", "aovs": "pp:position,ii:shape_index"})
        sensor = _sensor(mi, scene.camera, {"type": "stratified", "sample_count": 1, "jitter": False})
        maps = np.array(mi.render(world, sensor=sensor, integrator=integrator, spp=1))
        names = [shape.id() for shape in world.shapes()]
    position, index = maps[..., -4:-1], maps[..., -1].round().astype(int)
    depth_m = (position - scene.camera.origin_m) @ scene.camera.axes()[2]
    objects = np.array(
        [-1] + [int(n[3:]) if n.startswith("obj") else -1 for n in names]
    )  # Mitsuba counts shapes from 1
    return depth_m, objects[index]


def render_colour(scene, spp, seed):
    """Path-traced sRGB image (480, 480, 3) uint8, denoised with the help of albedo, normals and positions."""
    mi = _mitsuba()
    with tempfile.TemporaryDirectory(prefix="make-sample-") as folder:
        world = _world(mi, scene, folder)
        path = {"type": "path", "max_depth": 5, "rr_depth": 4}
        integrator = mi.load_dict({"type": "aov", "aovs": "aa:albedo,nn:sh_normal,pp:position", "image": path})
        sensor = _sensor(mi, scene.camera, {"type": "independent"})
        layers = np.array(mi.render(world, sensor=sensor, integrator=integrator, spp=spp, seed=seed), np.float32)
    radiance = layers[..., :3]
    albedo, normal, position = layers[..., -9:-6], layers[..., -6:-3], layers[..., -3:]
    albedo = np.maximum(albedo, MIN_ALBEDO)
    light = _denoise(radiance / albedo, normal, position)
    return _develop(light * albedo)


def _mitsuba():
    import mitsuba

    mitsuba.set_variant(VARIANT)
    return mitsuba


def _sensor(mi, camera, sampler):
    _, down, forward = camera.axes()
    return mi.load_dict(
        {
            "type": "perspective",
            "fov": camera.fov_deg,
            "near_clip": 0.01,
            "far_clip": 20.0,
            "to_world": mi.ScalarTransform4f().look_at(
                origin=camera.origin_m.tolist(), target=(camera.origin_m + forward).tolist(), up=(-down).tolist()
            ),
            "sampler": sampler,
            "film": {
                "type": "hdrfilm",
                "width": IMAGE_PX,
                "height": IMAGE_PX,
                "pixel_format": "rgb",
                "component_format": "float32",
                "rfilter": {"type": "box"},
            },
        }
    )


def _world(mi, scene, folder):
    """The Mitsuba scene: objects obj000.., background surfaces bg000.., lamps and ambient light."""
    content = {
        "type": "scene",
        "ambient": {"type": "constant", "radiance": {"type": "rgb", "value": scene.ambient_rgb.tolist()}},
    }
    items = [(f"obj{i:03d}", o.mesh, scene.materials[o.group], o.pose) for i, o in enumerate(scene.objects)]
    items += [(f"bg{i:03d}", mesh, material, np.eye(4)) for i, (mesh, material) in enumerate(scene.surfaces)]
    for name, mesh, material, pose in items:
        path = Path(folder) / f"{name}.ply"
        meshes.write_ply(mesh, path)
        content[name] = {
            "type": "ply",
            "filename": str(path),
            "to_world": mi.ScalarTransform4f(pose.tolist()),
            "bsdf": _bsdf(mi, material),
        }
    for i, lamp in enumerate(scene.lights):
        content[f"lamp{i}"] = {
            "type": "rectangle",
            "to_world": mi.ScalarTransform4f().look_at(
                origin=lamp["origin_m"].tolist(), target=lamp["target_m"].tolist(), up=[0.1, 1, 0.3]
            )
            @ mi.ScalarTransform4f().scale([lamp["side_m"] / 2] * 3),
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": lamp["rgb"].tolist()}},
        }
    return mi.load_dict(content, parallel=False)


def _bsdf(mi, material):
    pixels = (material.texture * 255).round().astype(np.uint8)
    texture = {"type": "bitmap", "bitmap": mi.Bitmap(pixels), "filter_type": "bilinear"}
    if material.roughness is None:
        inner = {"type": "diffuse", "reflectance": texture}
    else:
        inner = {
            "type": "roughplastic",
            "alpha": material.roughness,
            "diffuse_reflectance": texture,
            "distribution": "ggx",
        }
    return {"type": "twosided", "inner": inner}


def _denoise(light, normal, position, levels=4):
    """Edge-avoiding a-trous filter of demodulated light (H, W, 3), guided by normals and plane distance."""
    light = np.minimum(light, np.percentile(light, 99.8) * 1.5)
    normal = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    kernel = np.array([1, 4, 6, 4, 1], np.float32) / 16
    for level in range(levels):
        step = 2**level
        smooth = cv2.GaussianBlur(light.mean(-1), (0, 0), 1.5)
        sigma_light = (0.9, 0.45, 0.25, 0.15)[level]
        total, weights = np.zeros_like(light), np.zeros(light.shape[:2], np.float32)
        pad = 2 * step
        padded = [
            np.pad(a, [(pad, pad), (pad, pad)] + [(0, 0)] * (a.ndim - 2), mode="edge")
            for a in (light, normal, position, smooth)
        ]
        height, width = light.shape[:2]
        for dy in range(5):
            for dx in range(5):
                window = np.s_[dy * step : dy * step + height, dx * step : dx * step + width]
                other_light, other_normal, other_position, other_smooth = (a[window] for a in padded)
                turn = np.maximum((normal * other_normal).sum(-1), 0) ** 32
                off_plane = np.abs((normal * (other_position - position)).sum(-1)) / 0.006
                shade = np.abs(other_smooth - smooth) / (sigma_light * (smooth + 0.1))
                weight = kernel[dy] * kernel[dx] * turn * np.exp(-off_plane - shade)
                total += weight[..., None] * other_light
                weights += weight
        light = np.where(weights[..., None] > 1e-4, total / np.maximum(weights, 1e-4)[..., None], light)
    return light


def _develop(radiance):
    """Exposes linear radiance (median to a mid grey, soft shoulder) and converts it to sRGB uint8."""
    luminance = radiance @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    exposure = min(0.34 / np.median(luminance), 0.85 / np.percentile(luminance, 97))
    x = radiance * exposure
    x = np.where(x < 0.7, x, 0.7 + 0.3 * (1 - np.exp(-(x - 0.7) / 0.3)))
    srgb = np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-6) ** (1 / 2.4) - 0.055)
    return (np.clip(srgb, 0, 1) * 255).round().astype(np.uint8)
