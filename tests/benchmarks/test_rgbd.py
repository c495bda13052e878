"""The RGB-D benchmark: the baseline on a drawn table, kinds of scenes, and a table of rows."""

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cuts3d_cli.errors import Cuts3dError


@pytest.fixture
def scenes(tmp_path, dataset):
    """The drawn scenes in the layout of the benchmark."""
    from pycocotools.coco import COCO

    truth = COCO(str(dataset / "annotations.json"))
    for sub in ("rgb", "depth_mm", "labels"):
        (tmp_path / sub).mkdir()
    for number, image in truth.imgs.items():
        name = image["file_name"].removesuffix(".png")
        rgb = cv2.imread(str(dataset / "images" / image["file_name"]))
        cv2.imwrite(str(tmp_path / "rgb" / f"{name}.jpg"), rgb)
        (tmp_path / "depth_mm" / f"{name}.png").write_bytes((dataset / "depth" / f"{name}.png").read_bytes())
        labels = sum(k * truth.annToMask(entry) for k, entry in enumerate(truth.imgToAnns[number], start=1))
        Image.fromarray(labels.astype(np.uint16)).save(tmp_path / "labels" / f"{name}.png")
    return tmp_path


def test_baseline_takes_apart_what_a_step_parts(benchmarks):
    from plane_components import plane_components

    depth = np.full((120, 160), 2.0)
    depth[40:80, 30:60], depth[40:80, 60:90], depth[100:110, 100:130] = 1.0, 1.5, 0
    found = plane_components(depth, focal=0.82)
    assert len(found) == 2
    for mask, (left, right) in zip(
        sorted(found, key=lambda mask: mask.any(axis=0).argmax()), [(30, 60), (60, 90)], strict=True
    ):
        box = np.zeros(depth.shape, bool)
        box[40:80, left:right] = True
        assert (mask & box).sum() / (mask | box).sum() > 0.9
    assert plane_components(np.full((120, 160), 2.0), focal=0.82) == []


def test_kinds_of_scenes(benchmarks):
    import rgbd

    masks = np.zeros((2, 60, 60), bool)
    masks[0, 10:50, 10:30], masks[1, 10:50, 30:50] = True, True
    depth = np.full((60, 60), 800.0)
    assert rgbd.kind_of(masks, depth) == "touching"
    depth[masks[0]] = 700
    assert rgbd.kind_of(masks, depth) == "behind"
    masks[1, :, :40] = False
    assert rgbd.kind_of(masks, depth) == "apart"


def test_table_has_the_baseline_and_the_rows(benchmarks, scenes):
    import rgbd

    row = "ours: features.patch_size=8 depth.size=240"
    result = CliRunner().invoke(rgbd.main, [str(scenes), "--row", row, "--n", "2"], catch_exceptions=False)
    lines = [line for line in result.output.splitlines() if line.startswith("|")]
    assert lines[2].startswith("| plane and components |") and lines[3].startswith("| ours |")
    assert float(lines[3].split("|")[2].split("/")[1]) > 90  # AP50 of all


@pytest.mark.parametrize("text", ["ours", "ours: tau=3", "ours: features.nothing=1"])
def test_a_wrong_row_is_refused(benchmarks, text):
    import rgbd

    with pytest.raises(Cuts3dError):
        rgbd.row_config(text)
