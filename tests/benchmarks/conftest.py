"""The benchmark commands at their smallest: drawn scenes, everything in this process."""

import sys
import threading
from pathlib import Path

import pytest
import yaml

from cuts3d_cli.cli import main as command_line

ROOT = Path(__file__).parents[2]
BENCHMARKS = (
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
