"""The script that draws the README's picture, on drawn scenes."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cuts3d_cli.log import logger

ROOT = Path(__file__).resolve().parents[1]
NO_DEPTH = ("localcut.local_cut=false", "localcut.sharpen=false", "features.image_size=96", "crf.iterations=2")


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("example_picture", ROOT / "scripts/example_picture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handlers, level = list(logger.handlers), logger.level
    yield module
    logger.handlers[:], logger.propagate = handlers, True  # the commands that it calls set them
    logger.setLevel(level)


def test_a_row_for_each_photograph_in_the_order_given(script, dataset, tmp_path):
    square = tmp_path / "a square.png"
    Image.open(dataset / "images/s1.png").crop((0, 0, 120, 120)).save(square)
    words = [str(tmp_path / "out.png"), str(dataset / "images/s2.png"), str(square), "--preset", "embedded"]
    script.main([*words, *(word for value in NO_DEPTH for word in ("--set", value))])
    picture = np.asarray(Image.open(tmp_path / "out.png"))
    wide, columns = 160, 5  # photograph, eigenvector, semantic cut, instances, masks
    assert picture.shape[1] == columns * (wide + 8) + 8
    upper, lower = np.split(picture, 2)
    first = np.asarray(Image.open(dataset / "images/s2.png"), float)  # it was enlarged and made small again
    assert np.abs(upper[-script.ROW_PX - 8 : -8, 8 : 8 + wide] - first).mean() < 3
    assert (lower[-script.ROW_PX - 8 : -8, 8 + 120 : 8 + wide] == 255).all(), "white beside the narrow one"


def test_what_cannot_be_drawn_is_told(script, dataset, tmp_path, capsys):
    (tmp_path / "s.png").write_bytes((dataset / "images/s1.png").read_bytes())
    for name, told in (
        ("nosuch.png", "no photograph nosuch.png; expected a file"),
        (tmp_path / "s.png", "no depth map"),
    ):
        with pytest.raises(SystemExit) as ended:
            script.main([str(tmp_path / "out.png"), str(name), "--preset", "embedded"])
        last = capsys.readouterr().err.splitlines()[-1]
        assert ended.value.code == 1 and last.startswith("cuts3d: error:") and told in last
    assert not (tmp_path / "out.png").exists()
