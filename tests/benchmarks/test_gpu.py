"""The command for a GPU, on drawn scenes and on the CPU: the solvers of a GPU against those of a CPU."""

import re

import pytest
from click.testing import CliRunner

PARTS = ["features", "NCut", "CRF", "2 steps of embedded_cascade", "predictions, 1 at once", "predictions, 2 at once"]


@pytest.fixture
def measured(benchmarks, dataset):
    """Runs the command at its smallest: its exit code, and cells of its table by part."""
    import gpu

    def run():
        sizes = ("--n", "2", "--check", "2", "--steps", "2", "--batch", "2", "--image-size", "112")
        arguments = ("--images", str(dataset / "images"), "--device", "cpu", "--random-weights", *sizes)
        result = CliRunner().invoke(gpu.main, [*arguments, "--detector", "embedded_cascade"])
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in result.stdout.splitlines()[4:]]
        return result.exit_code, {row[0]: row[1:] for row in rows}

    return run


def test_every_part_is_timed_and_its_masks_are_those_of_the_cpu(measured):
    code, rows = measured()
    assert code == 0 and all(name.startswith(part) for name, part in zip(rows, PARTS, strict=True))
    assert all(float(row[0]) > 0 for row in rows.values())
    assert rows["features"][2] == "cosine of a patch 1.00000, least 1.00000"
    for part in ("NCut", "CRF"):
        equal, masks, least = re.match(r"(\d+) of (\d+) masks equal, .* least (.*)", rows[part][2]).groups()
        assert int(masks) > 0 and (equal == masks or float(least) > 0.99)
    for size in (1, 2):
        assert rows[f"predictions, {size} at once"][2] == "mean IoU of the 10 best 1.0000"


def test_a_part_that_fails_leaves_the_others(measured, monkeypatch):
    from cuts3d_cli.detector import inference

    def load_model(*_):
        raise RuntimeError("CUDA out of memory\nand more")

    monkeypatch.setattr(inference, "load_model", load_model)
    code, rows = measured()
    assert code == 1 and rows["predictions"] == ["-", "-", "failed: CUDA out of memory"]
    assert all(float(row[0]) > 0 for name, row in rows.items() if name != "predictions")
