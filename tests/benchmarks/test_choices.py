"""The command that measures choices, on two drawn images."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image
from pycocotools import mask as rle

ROOT = Path(__file__).parents[2]
SIZE = 160
BOXES = [(50, 20), (60, 80)]  # two boxes of one colour that touch, one nearer than the other


@pytest.fixture
def choices(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import choices

    yield choices
    sys.modules.pop("choices")


@pytest.fixture
def config_file(tmp_path):
    """Configuration of a folder with two images, their depth and ground truth."""
    image = np.full((SIZE, SIZE, 3), 160, np.uint8)
    depth = np.full((SIZE, SIZE), 4000, np.uint16)
    annotations = []
    for k, (top, left) in enumerate(BOXES):
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[top : top + 60, left : left + 60] = 1
        image[mask > 0] = (200, 30, 30)
        depth[mask > 0] = 1000 + 1500 * k
        counts = rle.encode(np.asfortranarray(mask))
        counts["counts"] = counts["counts"].decode()
        annotations += [
            {"segmentation": counts, "category_id": 1, "area": 3600, "iscrowd": 0, "bbox": [left, top, 60, 60]}
        ] * 2
    images = [{"id": i, "file_name": f"{i}.png", "width": SIZE, "height": SIZE} for i in (1, 2)]
    annotations = [dict(a, id=n + 1, image_id=n % 2 + 1) for n, a in enumerate(annotations)]
    for folder in ("images", "depth"):
        (tmp_path / folder).mkdir()
    for record in images:
        Image.fromarray(image).save(tmp_path / "images" / record["file_name"])
        Image.fromarray(depth).save(tmp_path / "depth" / record["file_name"])
    truth = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    data = {
        "images": str(tmp_path / "images"),
        "depth_maps": str(tmp_path / "depth"),
        "annotations": str(tmp_path / "truth.json"),
    }
    path = tmp_path / "config.yaml"
    path.write_text(
        yaml.safe_dump(
            {"data": data, "features": {"image_size": SIZE}, "depth": {"size": SIZE}, "localcut": {"tau_knn": 0.115}}
        )
    )
    return path


def test_the_table_shows_what_the_cut_in_3d_gains(choices, config_file):
    arguments = ["--config", str(config_file), "--vary", "features.kernel_width=6,8", "--workers", "1"]
    result = CliRunner().invoke(choices.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    _title, _methods, *rows = result.output.splitlines()
    assert [row.split("|")[0].strip() for row in rows] == [
        "as configured",
        "features.kernel_width=6",
        "features.kernel_width=8",
    ]
    maskcut, localcut, cuts3d = ([float(v) for v in cell.split()] for cell in rows[0].split("|")[1:])
    assert maskcut[0] <= 0.5  # one mask over both boxes
    assert localcut[0] == cuts3d[0] == 1
    assert rows[0].split("|")[1:] == rows[1].split("|")[1:]


def test_varied(choices):
    varies = ("a.x=1,2", "a.y=text")
    assert list(choices.varied(varies, cross=False)) == [{}, {"a.x": 1}, {"a.x": 2}, {"a.y": "text"}]
    assert list(choices.varied(varies, cross=True)) == [{}, {"a.x": 1, "a.y": "text"}, {"a.x": 2, "a.y": "text"}]
