"""A floor under the masks of six sample scenes, from image to score."""

import json
from pathlib import Path

import pytest

SAMPLE = Path(__file__).resolve().parents[1] / "sample" / "train"
SCENES = ("scene_0002.jpg", "scene_0007.jpg", "scene_0019.jpg", "scene_0033.jpg", "scene_0048.jpg", "scene_0061.jpg")

pytestmark = pytest.mark.skipif(not SAMPLE.exists(), reason="sample/ is not part of this installation")


def test_masks_of_six_scenes_reach_the_scores_they_had(cuts3d, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = cuts3d(
        "evaluate", "--json", "--annotations", SAMPLE / "annotations.json", "--depth-map", SAMPLE / "depth",
        *(SAMPLE / "images" / name for name in SCENES),
    )  # fmt: skip
    assert code == 0
    (result,) = json.loads(out).values()
    assert result["n_images"] == len(SCENES)
    assert result["metrics"]["segm"]["AP"] > 0.78
    assert result["metrics"]["segm"]["AR100"] > 0.82
