"""Datasets of image and depth pairs, each read as inverse depth with NaN where nothing is known.

A reader takes a folder and a part (``train``, ``held`` or ``test``) and lists its pairs. What a pair's truth means
beyond scale and shift is no concern here: metric depth becomes 1 / depth, disparity stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from cuts3d_cli.errors import Cuts3dError, ImageError

NYU_HELD = 80
"""Last images of NYU's training list, whole scenes of their own, on which settings are chosen."""

MIDDLEBURY_HELD = ("Piano", "Playroom", "Recycle", "Vintage", "Motorcycle", "Art", "Bowling1", "Dolls", "Lampshade1")
"""Scenes of Middlebury that are tested on and never trained on."""


class Pair(NamedTuple):
    """An image and its truth.

    Attributes:
        key: dataset and name; also the place in the token cache.
        image: file of the image.
        truth: reads the inverse depth (h, w) float32, near is large, NaN where unknown.
        mirrored: the files are mirrored left-right and are turned back.
    """

    key: str
    image: Path
    truth: Callable[[], np.ndarray]
    mirrored: bool = False

    def rgb(self) -> np.ndarray:
        """The image (H, W, 3) uint8."""
        found = cv2.imread(str(self.image), cv2.IMREAD_COLOR)
        if found is None:
            raise ImageError(f"image {self.image} cannot be read")
        return np.ascontiguousarray((found[:, ::-1] if self.mirrored else found)[:, :, ::-1])

    def inverse(self) -> np.ndarray:
        """The truth, mirrored back where the files are."""
        found = self.truth()
        return np.ascontiguousarray(found[:, ::-1]) if self.mirrored else found


def nyu(folder: Path, part: str) -> list[Pair]:
    """NYU Depth v2: ``rgb/i.jpg``, ``depth/i.png`` (8 bit, metres about (v + 0.5) * 10 / 255), lists ``*.txt``."""
    return [
        Pair(f"nyu/{name}", folder / f"rgb/{name}.jpg", _truth(folder / f"depth/{name}.png", _eight_bit))
        for name in _nyu_part((folder / ("test" if part == "test" else "train")).with_suffix(".txt"), part)
    ]


def nyu_mirrored(folder: Path, part: str) -> list[Pair]:
    """The same as its public copy has it: ``nyu_images/i.jpg`` and ``nyu_depths/i.png``, mirrored, i from 0.

    ``train.txt`` and ``test.txt`` hold the official split, 1-based, as in ``splits.mat``.
    """
    names = _nyu_part((folder / ("test" if part == "test" else "train")).with_suffix(".txt"), part)
    return [
        Pair(f"nyu-mirrored/{index}", folder / f"nyu_images/{index}.jpg", truth, mirrored=True)
        for index in (int(name) - 1 for name in names)
        for truth in [_truth(folder / f"nyu_depths/{index}.png", _eight_bit)]
    ]


def middlebury(folder: Path, part: str) -> list[Pair]:
    """Middlebury stereo: ``rgb/S.jpg``, ``disparity/S.png`` (16 bit, px x 64, 0 = unknown, offset may be unknown)."""
    held = part != "train"
    return [
        Pair(f"middlebury/{path.stem}", path, _truth(folder / f"disparity/{path.stem}.png", _disparity))
        for path in _listed(folder / "rgb", "*.jpg")
        if (path.stem in MIDDLEBURY_HELD) == held
    ]


def renders(folder: Path, part: str) -> list[Pair]:
    """Our own renders: ``images/S.jpg``, ``depth/S.png`` (16 bit, mm). All are for training."""
    return [
        Pair(f"renders/{path.stem}", path, _truth(folder / f"depth/{path.stem}.png", _millimetres))
        for path in _listed(folder / "images", "*.jpg")
        if part == "train"
    ]


def mosd(folder: Path, part: str) -> list[Pair]:
    """mOSD: ``rgb/N.jpg``, ``depth_mm/N.png`` (16 bit, 0 = no reading). All are for testing."""
    return [
        Pair(f"mosd/{path.stem}", path, _truth(folder / f"depth_mm/{path.stem}.png", _millimetres))
        for path in _listed(folder / "rgb", "*.jpg")
        if part == "test"
    ]


def kitti(folder: Path, part: str) -> list[Pair]:
    """KITTI as raw drives and odometry sequences: ``image_02`` or ``image_2`` with Velodyne points; one drive held."""
    pairs = []
    for image in [*sorted(folder.rglob("image_02/data/*.png")), *sorted(folder.rglob("image_2/*.png"))]:
        raw = image.parent.name == "data"
        drive = image.parents[2] if raw else image.parents[1]
        points = drive / ("velodyne_points/data" if raw else "velodyne") / f"{image.stem}.bin"
        if points.is_file():
            calibration = drive.parent if raw else drive
            read = _raw_projection if raw else _odometry_projection

            def truth(image=image, points=points, calibration=calibration, read=read):
                return project(points, read(calibration), cv2.imread(str(image)).shape[:2])

            pairs.append(Pair(f"kitti/{drive.name}-{image.stem}", image, truth))
    return pairs if part == "train" else []


def street(folder: Path, part: str) -> list[Pair]:
    """Street scenes: ``left_img/i.png``, ``depth256/i.png`` (8 bit, far is large, 255 far or unknown).

    The truth is weak, and the sky is filled with near values: what looks like sky is set to the farthest.
    """
    images = _listed(folder / "left_img", "*.png")

    def truth(image: Path) -> np.ndarray:
        depth = _raw(folder / f"depth256/{image.name}").astype(np.float32)
        inverse = np.where(depth < 250, 1 / np.maximum(depth, 1), np.nan)
        above = sky(cv2.imread(str(image)))
        inverse[cv2.dilate(above.astype(np.uint8), np.ones((25, 25))) > 0] = np.nan
        inverse[: int(0.6 * len(above))][above[: int(0.6 * len(above))]] = 1 / 400
        return inverse.astype(np.float32)

    return [Pair(f"street/{path.stem}", path, lambda path=path: truth(path)) for path in images if part == "train"]


def frames(folder: Path, part: str) -> list[Pair]:
    """Sensor frames in millimetres, 0 = none: ``*.color.jpg`` with ``*.depth.png``, ``N.jpg`` with ``N_depth.png``,
    ``rgb/N.*`` with ``depth/N.png`` (which may lie a folder apart)."""
    pairs = []
    for image in sorted([*folder.rglob("*.jpg"), *folder.rglob("*.png")]):
        for depth in _depth_beside(image):
            if depth.is_file() and depth != image:
                name = f"frames/{folder.name}-{image.stem}"
                pairs.append(Pair(name, image, _truth(depth, _millimetres)))
                break
    return pairs if part == "train" else []


def _depth_beside(image: Path) -> list[Path]:
    if image.name.endswith(".color.jpg"):
        return [image.with_name(image.name.replace(".color.jpg", ".depth.png"))]
    if image.parent.name == "rgb":
        return [folder / "depth" / f"{image.stem}.png" for folder in image.parents[1:3]]
    return [image.with_name(f"{image.stem}_depth.png")]


READERS: dict[str, Callable[[Path, str], list[Pair]]] = {
    "nyu": nyu,
    "nyu-mirrored": nyu_mirrored,
    "middlebury": middlebury,
    "renders": renders,
    "mosd": mosd,
    "kitti": kitti,
    "street": street,
    "frames": frames,
}


def pairs_of(source: str, part: str) -> list[Pair]:
    """Pairs of ``source``, a reader's name and a folder: ``nyu=DIR``, or ``frames=DIR:25`` for every 25th pair.

    Raises:
        Cuts3dError: no such reader, no such folder.
    """
    name, _, place = source.partition("=")
    if name not in READERS or not place:
        raise Cuts3dError("dataset", expected=f"NAME=FOLDER with one of {', '.join(READERS)}", found=repr(source))
    place, _, every = place.partition(":")
    if not Path(place).is_dir():
        raise Cuts3dError(f"dataset {name}", expected="a folder", found=repr(place))
    return READERS[name](Path(place), part)[:: int(every or 1)]


def sky(bgr: np.ndarray) -> np.ndarray:
    """What looks like sky in a photograph (H, W, 3): bright and no browner than grey, smooth, joined to the top."""
    small = cv2.GaussianBlur(bgr, (0, 0), 2).astype(np.float32)
    rough = cv2.blur(np.abs(cv2.Laplacian(bgr.astype(np.float32), cv2.CV_32F)).max(axis=2), (9, 9))
    likely = (small[:, :, 0] >= small[:, :, 2] - 2) & (small.max(axis=2) > 90) & (rough < 6)
    _, labels = cv2.connectedComponents(likely.astype(np.uint8))
    tops = np.unique(labels[:3][likely[:3]])
    return np.isin(labels, tops[tops > 0])


def project(points: Path, projection: np.ndarray, size: tuple[int, int], step: int = 4) -> np.ndarray:
    """Inverse depth of Velodyne points in a camera: (h / step, w / step) float32, the nearest point of a cell counts.

    Args:
        points: file of float32 quadruples x, y, z, reflectance.
        projection: (3, 4), from the scanner's homogeneous coordinates to pixels.
        size: height and width of the image.
        step: pixels a cell.
    """
    cloud = np.fromfile(points, np.float32).reshape(-1, 4)
    cloud = cloud[cloud[:, 0] > 1]
    found = projection @ np.c_[cloud[:, :3], np.ones(len(cloud))].T
    found = found[:, found[2] > 1]
    column, row = np.floor(found[:2] / found[2] / step).astype(int)
    height, width = size[0] // step, size[1] // step
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    inverse = np.zeros((height, width), np.float32)
    np.maximum.at(inverse, (row[inside], column[inside]), 1 / found[2][inside])
    inverse[inverse == 0] = np.nan
    return inverse


def _raw_projection(folder: Path) -> np.ndarray:
    cameras, scanner = _numbers(folder / "calib_cam_to_cam.txt"), _numbers(folder / "calib_velo_to_cam.txt")
    moved = np.vstack([np.c_[scanner["R"].reshape(3, 3), scanner["T"]], [0, 0, 0, 1]])
    rectified = np.eye(4)
    rectified[:3, :3] = cameras["R_rect_00"].reshape(3, 3)
    return cameras["P_rect_02"].reshape(3, 4) @ rectified @ moved


def _odometry_projection(folder: Path) -> np.ndarray:
    found = _numbers(folder / "calib.txt")
    return found["P2"].reshape(3, 4) @ np.vstack([found["Tr"].reshape(3, 4), [0, 0, 0, 1]])


def _numbers(path: Path) -> dict[str, np.ndarray]:
    found = {}
    for line in path.read_text().splitlines():
        key, _, values = line.partition(":")
        if key != "calib_time" and values:
            found[key] = np.array([float(value) for value in values.split()])
    return found


def _nyu_part(names: Path, part: str) -> list[str]:
    if not names.is_file():
        raise Cuts3dError(f"dataset {names.parent}", expected=names.name, found="no such file")
    found = names.read_text().split()
    return {"train": found[:-NYU_HELD], "held": found[-NYU_HELD:]}.get(part, found)


def _listed(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.glob(pattern))
    if not found:
        raise Cuts3dError(f"dataset {folder}", expected=f"files {pattern}", found="none")
    return found


def _truth(path: Path, convert: Callable[[np.ndarray], np.ndarray]) -> Callable[[], np.ndarray]:
    return lambda: convert(_raw(path)).astype(np.float32)


def _raw(path: Path) -> np.ndarray:
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise ImageError(f"depth map {path} cannot be read")
    return found if found.ndim == 2 else found[:, :, 0]


def _eight_bit(values: np.ndarray) -> np.ndarray:
    return 255 / ((values.astype(np.float32) + 0.5) * 10)


def _millimetres(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, 1000 / np.maximum(values, 1).astype(np.float32), np.nan)


def _disparity(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values.astype(np.float32) / 64, np.nan)
