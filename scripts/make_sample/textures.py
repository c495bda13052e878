"""Procedural textures and colours. No image file is read: everything comes from a random generator.

A texture is an (n, n, 3) float array of sRGB values in [0, 1] that repeats without a seam.
The two splits use different families and different hues.
"""

import colorsys

import cv2
import numpy as np

SIZE_PX = 256
HUES_DEG = {
    "train": (0, 24, 50, 105, 165, 205, 238, 285, 328),
    "val": (12, 37, 78, 135, 187, 221, 262, 308),
}
OBJECT_FAMILIES = {
    "train": ("plain", "plain", "stripes", "checks", "wood", "marble", "dots", "blotches"),
    "val": ("speckle", "speckle", "chevron", "bands", "bricks", "waves", "terrazzo"),
}
TABLE_FAMILIES = {
    "train": ("planks", "plain", "marble", "wood", "plain"),
    "val": ("tiles", "weave", "parquet", "speckle"),
}
WALL_FAMILIES = {"train": ("plain", "stripes", "blotches", "plain"), "val": ("bricks", "speckle", "bands", "weave")}


def lab(srgb):
    """CIE Lab (L 0-100) of one sRGB colour in [0, 1], as a float array (3,)."""
    return cv2.cvtColor(np.float32(srgb).reshape(1, 1, 3), cv2.COLOR_RGB2LAB)[0, 0]


def object_colour(rng, split):
    """A saturated sRGB colour (3,) of the split's own hues."""
    hue = (rng.choice(HUES_DEG[split]) + rng.uniform(-4, 4)) % 360 / 360
    return np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.55, 0.88), rng.uniform(0.45, 0.88)))


def background_colour(rng, split):
    """A muted sRGB colour (3,), light more often than dark."""
    hue = (rng.choice(HUES_DEG[split]) + rng.uniform(-4, 4)) % 360 / 360
    return np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.05, 0.32), rng.uniform(0.5, 0.9)))


def wood_colour(rng):
    """A brown or beige sRGB colour (3,)."""
    return np.array(colorsys.hsv_to_rgb(rng.uniform(22, 38) / 360, rng.uniform(0.3, 0.6), rng.uniform(0.45, 0.85)))


def companion(rng, colour):
    """A colour near ``colour`` in hue and clearly lighter or darker: the second colour of a pattern."""
    h, s, v = colorsys.rgb_to_hsv(*colour)
    step = rng.uniform(0.16, 0.3) * (1 if v < 0.62 else -1)
    return np.array(
        colorsys.hsv_to_rgb(
            (h + rng.uniform(-0.03, 0.03)) % 1, float(np.clip(s - 0.5 * step, 0, 1)), float(np.clip(v + step, 0.15, 1))
        )
    )


def make_texture(family, rng, colour, strength=1.0):
    """Texture of a family around ``colour`` (3,); ``strength`` scales the contrast. Returns (SIZE_PX, SIZE_PX, 3)."""
    second = colour + strength * (companion(rng, colour) - colour)
    weight = PATTERNS[family](rng)
    grain = 1 + 0.02 * strength * _noise(rng, 2.0)
    image = (colour + np.clip(weight, 0, 1)[..., None] * (second - colour)) * grain[..., None]
    return np.clip(image, 0.01, 0.99)


def _noise(rng, exponent, stretch=(1.0, 1.0)):
    """Periodic noise of zero mean and unit deviation with a power spectrum f^-exponent, stretched along (y, x)."""
    fy = np.fft.fftfreq(SIZE_PX)[:, None] * SIZE_PX * stretch[0]
    fx = np.fft.fftfreq(SIZE_PX)[None] * SIZE_PX * stretch[1]
    radius = np.hypot(fy, fx)
    radius[0, 0] = np.inf
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SIZE_PX, SIZE_PX))) * radius ** (-exponent / 2)).real
    return (field - field.mean()) / field.std()


def _axes():
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX] / SIZE_PX
    return y, x


def _step(value, width=0.04):
    """A soft step at 0."""
    return np.clip(value / width + 0.5, 0, 1)


def _plain(rng):
    return np.zeros((SIZE_PX, SIZE_PX))


def _stripes(rng):
    y, x = _axes()
    axis = x if rng.random() < 0.5 else y
    return _step(np.sin(2 * np.pi * rng.integers(3, 7) * axis) + rng.uniform(-0.4, 0.4), 0.3)


def _checks(rng):
    y, x = _axes()
    n = rng.integers(2, 4)
    return _step(np.sin(2 * np.pi * n * x) * np.sin(2 * np.pi * n * y), 0.15)


def _wood(rng):
    y, _ = _axes()
    rings = np.sin(2 * np.pi * (rng.integers(5, 9) * y + 0.35 * _noise(rng, 3.5, (1, 4))))
    return 0.45 + 0.35 * rings + 0.08 * _noise(rng, 1.5, (0.3, 6))


def _marble(rng):
    y, x = _axes()
    veins = np.abs(np.sin(np.pi * (rng.integers(2, 4) * (x + y) + 0.7 * _noise(rng, 3.2))))
    return np.exp(-veins / 0.22) + 0.15 * _noise(rng, 2.5)


def _dots(rng):
    y, x = _axes()
    n = rng.integers(3, 6)
    fy, fx = (y * n) % 1 - 0.5, (x * n + 0.5 * np.floor(y * n) * (n % 2 == 0)) % 1 - 0.5
    return _step(rng.uniform(0.22, 0.34) - np.hypot(fy, fx), 0.06)


def _blotches(rng):
    return _step(_noise(rng, 3.2), 0.8)


def _planks(rng):
    _, x = _axes()
    n = 4
    tone = rng.uniform(-0.25, 0.25, n)[np.minimum((x * n).astype(int), n - 1)]
    gap = _step(0.012 - np.abs((x * n + 0.5) % 1 - 0.5), 0.012)
    grain = 0.25 * np.sin(2 * np.pi * (9 * x + 0.25 * _noise(rng, 3.5, (4, 1)))) + 0.08 * _noise(rng, 1.5, (6, 0.3))
    return 0.4 + tone + grain + 0.8 * gap


def _speckle(rng):
    return 0.3 + 0.25 * cv2.GaussianBlur(_noise(rng, 0.6), (0, 0), 1.2)


def _chevron(rng):
    y, x = _axes()
    n = rng.integers(3, 6)
    zigzag = np.abs((x * 4) % 1 - 0.5)
    return _step(np.sin(2 * np.pi * n * (y + zigzag / 4)), 0.3)


def _bands(rng):
    y, _ = _axes()
    edges = np.sort(rng.uniform(0, 1, 4))
    return np.select([y < edges[0], y < edges[1], y < edges[2], y < edges[3]], [0.0, 0.9, 0.3, 1.0], 0.0)


def _bricks(rng):
    y, x = _axes()
    rows = 6
    row = np.floor(y * rows)
    fx, fy = (x * 3 + 0.5 * (row % 2)) % 1, (y * rows) % 1
    mortar = _step(0.03 - np.minimum(np.minimum(fx, 1 - fx) * 2, np.minimum(fy, 1 - fy)), 0.03)
    brick = rng.uniform(0, 0.3, (rows, 3))[row.astype(int), (np.floor(x * 3 + 0.5 * (row % 2)) % 3).astype(int)]
    return np.maximum(brick, mortar)


def _waves(rng):
    y, x = _axes()
    return 0.5 + 0.5 * np.sin(2 * np.pi * (rng.integers(3, 6) * y + 0.25 * np.sin(2 * np.pi * 3 * x)))


def _terrazzo(rng):
    return _step(np.abs(_noise(rng, 2.2)) - 1.1, 0.2)


def _tiles(rng):
    y, x = _axes()
    n = 4
    tone = rng.uniform(0, 0.25, (n, n))[np.minimum((y * n).astype(int), n - 1), np.minimum((x * n).astype(int), n - 1)]
    fy, fx = np.abs((y * n) % 1 - 0.5), np.abs((x * n) % 1 - 0.5)
    return np.maximum(tone, 0.9 * _step(np.maximum(fy, fx) - 0.475, 0.015))


def _weave(rng):
    y, x = _axes()
    n = 32
    return 0.4 + 0.2 * np.sin(2 * np.pi * n * x) * np.sin(2 * np.pi * n * y) + 0.08 * _noise(rng, 1.0)


def _parquet(rng):
    y, x = _axes()
    n = 4
    turn = ((np.floor(y * n) + np.floor(x * n)) % 2).astype(bool)
    along = np.where(turn, x, y) * n * 4
    tone = rng.uniform(0, 0.5, 64)[(np.floor(along) + 16 * np.floor(np.where(turn, y, x) * n)).astype(int) % 64]
    gap = _step(0.06 - np.minimum(along % 1, 1 - along % 1), 0.06)
    return tone + 0.4 * gap + 0.06 * _noise(rng, 2.0)


PATTERNS = {
    "plain": _plain, "stripes": _stripes, "checks": _checks, "wood": _wood, "marble": _marble, "dots": _dots,
    "blotches": _blotches, "planks": _planks, "speckle": _speckle, "chevron": _chevron, "bands": _bands,
    "bricks": _bricks, "waves": _waves, "terrazzo": _terrazzo, "tiles": _tiles, "weave": _weave, "parquet": _parquet,
}  # fmt: skip
