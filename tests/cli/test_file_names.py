"""Names of images that a terminal, a format or a file system cannot take: nothing breaks, nothing is lost."""

import json
import os
import shutil
from pathlib import Path
from xml.dom import minidom

import numpy as np
import pytest
from PIL import Image

from cuts3d_cli.store.masks import read_masks

SMALL = ("--set", "features.image_size=96", "--set", "crf.image_size=96", "--set", "crf.iterations=1")
SMALL += ("--set", "depth.size=96", "--set", "localcut.tau_knn=0.115")

NAMES = (
    "new\nline",
    "esc\x1b[31mred",
    "no\udcffutf",
    "L" * 250,
    "é" * 122,
    "a|b,c;d<e>&'\"",
    "-dash",
    "{x}%41%n",
    "*?[a]",
)
"""Without suffix; those of 250 and 244 bytes leave no room for what is added to a name."""

SHOWN = (r"new\nline", r"esc\x1b[31mred", r"no\xffutf", *NAMES[3:])


@pytest.fixture
def folder(tmp_path, dataset, monkeypatch):
    """Images of these names in the working directory, their depth maps beside where a name may be longer."""
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    Path("depth").mkdir()
    for name in NAMES:
        shutil.copy(dataset / "images/s1.png", f"images/{name}.png")
        shutil.copy(dataset / "depth/s1.png", f"depth/{name}.png")


def test_masks_in_every_format(cuts3d, folder):
    formats = ("coco-polygons", "yolo", "png", "png-per-object", "npy", "labelme", "cvat", "label-studio")
    args = [word for name in formats for word in ("--format", name)]
    code, _, err = cuts3d("masks", *SMALL, *args, "--cores", "1", "--depth-map", "depth", "--out", "out", "images")
    assert code == 0 and "2 images whose names have characters that XML cannot hold" in err, err
    assert {image["file_name"] for image in read_masks("out/masks.json").images} == {f"{name}.png" for name in NAMES}
    for place, pattern in {
        "pictures": "*.jpg", "yolo/images": "*.png", "yolo/labels": "*.txt", "png": "*.png", "npy": "*.npy",
        "labelme": "*.json",
    }.items():  # fmt: skip
        assert len([p for p in Path("out", place).glob(pattern) if p.name != "cuts3d-output.json"]) == len(NAMES), place
    labels, images = (sorted(p.stem for p in Path("out/yolo", kind).iterdir()) for kind in ("labels", "images"))
    assert labels == images
    shown = [
        each.getAttribute("name") for each in minidom.parse("out/cvat/annotations.xml").getElementsByTagName("image")
    ]
    assert len(shown) == len(NAMES) and "new\nline.png" in shown and r"esc\x1b[31mred.png" in shown
    assert len(json.loads(Path("out/label-studio/tasks.json").read_text())) == len(NAMES)
    for path in Path("out").rglob("*"):
        assert path.name.isprintable(), path


@pytest.mark.parametrize("stage", ["depth", "localcut", "crf"])
def test_tables_pictures_and_json_lines(cuts3d, folder, stage):
    args = (stage, *SMALL, "--depth-map", "depth")
    code, out, err = cuts3d(*args, "images")
    assert code == 0, err
    rows = {line.split(".png")[0] for line in out.splitlines()[1:]}
    assert rows == {f"images/{name}" for name in SHOWN}
    assert len(list(Path("images").glob(f"*.cuts3d-{stage}.png"))) == len(NAMES)
    assert all(line.isprintable() for line in [*out.splitlines(), *err.splitlines()])
    code, out, _ = cuts3d(*args, "--json", "--no-picture", "images")
    assert {json.loads(line)["image"] for line in out.splitlines()} == {f"images/{name}.png" for name in NAMES}


def test_a_run_and_its_status(cuts3d, folder):
    Path("images/broken\n\x1b.png").write_bytes(b"no image")
    code, _, err = cuts3d("prepare", "images", "--run", "r")
    assert code == 0 and r"broken \x1b.png cannot be read" in err
    lines = Path("r/manifest.jsonl").read_text().splitlines()
    assert len(lines) == 1 + len(NAMES) + 1 and all(map(json.loads, lines))
    code, _, err = cuts3d("depth", "--run", "r", "--depth-map", "depth", "--set", "depth.size=96")
    assert code == 0 and f"{len(NAMES)} done" in err and r"broken\n\x1b.png failed" in err, err
    code, out, _ = cuts3d("status", "--run", "r", "--depth-map", "depth", "--preset", "embedded")
    assert code == 0 and all(line.isprintable() for line in out.splitlines())
    (Path("images") / "one more\n.png").write_bytes((Path("images") / f"{NAMES[0]}.png").read_bytes())
    assert cuts3d("prepare", "images", "--run", "r")[0] == 0


def test_an_error_names_the_file_in_one_line(cuts3d, folder):
    Path("bad\x1b[2J\udcff.png").write_bytes(b"no image")
    code, _, err = cuts3d("features", *SMALL[:2], "bad\x1b[2J\udcff.png")
    (line,) = err.splitlines()
    assert code == 1 and r"bad\x1b[2J\xff.png cannot be read" in line


def test_depth_maps_beside_images_of_long_names(cuts3d, tmp_path, monkeypatch, dataset):
    """Looking for NAME_depth.tiff is no error where no file can have that name."""
    monkeypatch.chdir(tmp_path)
    name = "x" * (255 - len(".png"))
    shutil.copy(dataset / "images/s1.png", f"{name}.png")
    code, _, err = cuts3d("depth", "--set", "depth.backend=files", f"{name}.png")
    assert code == 1 and "has no depth map" in err and "Traceback" not in err
    np.save(f"{name}.npy", np.array(Image.open(dataset / "depth/s1.png")))
    assert cuts3d("depth", "--set", "depth.size=96", f"{name}.png")[0] == 0
    assert len([p for p in os.listdir() if p.endswith(".cuts3d-depth.png")]) == 1
