import numpy as np
import pytest
from click.testing import CliRunner

from cuts3d_cli.store.coco import annotation
from cuts3d_cli.store.masks import PREDICTIONS, MaskFile, write_masks


def masks(path, boxes, images=2, detected=None):
    """COCO JSON with one rectangle an image, given as top, left, height, width."""
    entries = []
    for number, (top, left, height, width) in enumerate(boxes, start=1):
        mask = np.zeros((60, 80), bool)
        mask[top : top + height, left : left + width] = True
        entries.append(annotation(number, mask, 0.9) | ({"bbox": detected} if detected else {}))
    listed = [{"id": i, "file_name": f"{i}.png", "width": 80, "height": 60} for i in range(1, images + 1)]
    write_masks(path, MaskFile(PREDICTIONS, path.parent, listed, entries))
    return path


def test_known_sizes_come_back(benchmarks, tmp_path):
    import sizes

    truth = masks(tmp_path / "truth.json", [(10, 10, 20, 40), (5, 5, 30, 30)])
    found = masks(tmp_path / "found.json", [(12, 10, 15, 36), (40, 40, 5, 5)], detected=[10.0, 12.0, 44.0, 20.0])
    assert sizes.ratios(found, truth) == pytest.approx(np.array([[0.9, 0.75, 1.1, 1.0]]))  # the second is not found
    assert sizes.ratios(truth, truth)[:, :2] == pytest.approx(1)


def test_the_command_averages_over_seeds(benchmarks, tmp_path):
    import sizes

    truth = masks(tmp_path / "truth.json", [(10, 10, 20, 40), (5, 5, 30, 30)])
    for seed, width in ((0, 32), (1, 40)):
        folder = tmp_path / f"detector/seed{seed}/round0"
        folder.mkdir(parents=True)
        masks(folder / "predictions_val.json", [(10, 10, 20, width)])
    ended = CliRunner().invoke(sizes.main, [str(tmp_path / "detector"), str(truth)])
    assert ended.exit_code == 0, ended.output
    cells = [cell.strip() for cell in ended.output.splitlines()[-1].strip("| ").split("|")]
    assert cells[:4] == ["round0", "2", "0.90", "1.00"]
