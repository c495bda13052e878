"""The command that measures the scale law."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image


def test_tables_and_picture(in_process, small, tmp_path):
    import scale

    picture = tmp_path / "scale.png"
    arguments = ["--config", str(small), "--grids", "12,8", "--shards", "1,3", "--repeat", "1", "--picture", picture]
    result = CliRunner().invoke(scale.main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    names = [row[0].strip("-:") for row in rows]
    assert names == ["grid", "", "8 x 8", "12 x 12", "exponent", "images", "", "1", "3"]
    assert rows[3][1] == "144" and float(rows[3][-2]) > 0.05  # GB that any process with numpy takes
    assert Image.open(picture).size[0] > 500 and picture.stat().st_size < 100_000


def test_exponent(benchmarks):
    import scale

    x = np.array([2.0, 3.0, 5.0])
    assert scale.exponent(x, 4 * x**1.5) == pytest.approx(1.5)
    assert np.isnan(scale.exponent([2.0], [1.0]))


def test_wrong_numbers_are_named(benchmarks):
    import scale

    result = CliRunner().invoke(scale.main, ["--grids", "30,many"])
    assert result.exit_code == 2 and "30,many" in result.output


def test_a_grid_sets_the_working_size(benchmarks):
    import scale

    from cuts3d_cli.config import resolve

    config = scale.with_grid(resolve({}), 120)
    assert config.features.grid == 120
    assert config.depth.size == config.features.image_size == config.crf.image_size == 960
