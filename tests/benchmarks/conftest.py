"""The benchmark commands at their smallest: drawn scenes, everything in this process."""

import json
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools import mask as rle

from cuts3d_cli.cli import main as command_line

ROOT = Path(__file__).parents[2]
BENCHMARKS = (
    "added_images",
    "speed",
    "scale",
    "sizes",
    "stage_profile",
    "workflow",
    "measuring",
    "cutler_maskcut",
    "rgbd",
    "plane_components",
    "gpu",
    "choices",
    "choices_score",
    "choices_sets",
    "controlled",
    "ranking",
    "faults",
    "fault_run",
    "offline",
)


@pytest.fixture
def benchmarks(monkeypatch):
    """Makes the modules of benchmarks/ importable."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield
    for name in BENCHMARKS:
        sys.modules.pop(name, None)


@pytest.fixture
def in_process(benchmarks, monkeypatch):
    """Runs what the commands would run in processes of their own in this one."""
    import measuring

    lock, ended = threading.Lock(), measuring.Ended(0.5, 0.25, 0.4)

    def in_child(function, *args, threads=1):
        return function(*args)

    def cuts3d(*words, threads=1):
        with lock:
            command_line.cli.main(["-q", *map(str, words)], prog_name="cuts3d", standalone_mode=False)
        return ended

    monkeypatch.setattr(measuring, "in_child", in_child)
    monkeypatch.setattr(measuring, "cuts3d", cuts3d)


@pytest.fixture
def small(dataset, tmp_path):
    """Configuration file of four drawn scenes on a grid of 12 x 12."""
    values = {
        "preset": "embedded",
        "data": {
            "images": str(dataset / "images"),
            "depth_maps": str(dataset / "depth"),
            "annotations": None,
            "val_images": None,
            "val_depth_maps": None,
            "val_annotations": None,
        },
        "features": {"image_size": 96},
        "depth": {"size": 96},
        "localcut": {"tau_knn": 0.115},
        "confidence": {"tau_knn_min": 0.05},
        "crf": {"iterations": 2},
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def written(folder, values):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture
def kernel_file(tmp_path):
    """Configuration of the embedded features on a grid of 20 x 20."""
    sizes = {
        "features": {"image_size": 160},
        "depth": {"backend": "files", "size": 160},
        "crf": {"image_size": 120, "iterations": 2},
    }
    return written(tmp_path, {"preset": "embedded", **sizes})


@pytest.fixture
def photos(dataset, tmp_path, benchmarks, monkeypatch):
    """Folder of photographs, as far as the command can tell, and the list that halves them."""
    import choices_sets

    folder = tmp_path / "photos"
    folder.mkdir()
    for place in ("images", "depth"):
        (folder / place).symlink_to(dataset / place)
    truth = json.loads((dataset / "annotations.json").read_text())
    crowd = dict(truth["annotations"][0], id=999, iscrowd=1)
    (folder / "annotations.json").write_text(json.dumps({**truth, "annotations": [*truth["annotations"], crowd]}))
    halves = {"s1.png": "choose", "s2.png": "report", "s3.png": "choose"}
    listed = [{"file_name": name, "split": half} for name, half in halves.items()]
    (tmp_path / "photos.json").write_text(json.dumps({"images": listed}))
    monkeypatch.setattr(choices_sets, "PHOTOS", tmp_path / "photos.json")
    return folder


@pytest.fixture
def rgbd(dataset, tmp_path):
    """Folder of RGB-D images with label maps; one image has none."""
    folder = tmp_path / "rgbd"
    folder.mkdir()
    (folder / "rgb").symlink_to(dataset / "images")
    (folder / "depth_mm").symlink_to(dataset / "depth")
    (folder / "labels").mkdir()
    records = json.loads((dataset / "annotations.json").read_text())["annotations"]
    for number in range(1, 4):
        masks = [rle.decode(record["segmentation"]) for record in records if record["image_id"] == number]
        labels = sum(20 * value * mask.astype(np.uint16) for value, mask in enumerate(masks, start=1))
        Image.fromarray(labels).save(folder / "labels" / f"s{number}.png")
    return folder
