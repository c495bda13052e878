"""The numbers of the algorithms: a stage whose output on a drawn scene moves must have its number raised.

After raising it, ``python tests/pipeline/test_algorithms.py`` records the new output.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest

from cuts3d_cli.config import resolve
from cuts3d_cli.pipeline.cache import run_image
from cuts3d_cli.pipeline.declarations import LAST, STAGES
from cuts3d_cli.store.coco import decode_mask
from cuts3d_cli.store.layout import ARRAYS
from cuts3d_cli.store.masks import read_masks
from cuts3d_cli.store.zarr_store import open_store

RECORD = Path(__file__).parents[1] / "golden" / "algorithms.npz"

CONFIG = {
    "preset": "embedded",
    "features": {"image_size": 96, "kernel_dims": 16},
    "depth": {"size": 96},
    "localcut": {"tau_knn": 0.115},
    "confidence": {"tau_knn_min": 0.05},
    "crf": {"image_size": 96},
}


def outputs(folder: Path) -> dict[str, np.ndarray]:
    """What every stage gives on a drawn scene, by ``stage/array``."""
    from PIL import Image

    rgb, depth = np.empty((120, 160, 3)), np.full((120, 160), 2.0)
    rgb[:] = (170, 175, 160)
    boxes = (
        (30, 74, 20, 58, (190, 40, 40), 0.9),
        (42, 90, 58, 96, (190, 40, 40), 0.6),
        (36, 84, 112, 141, (40, 60, 190), 1.2),
    )
    for top, bottom, left, right, colour, near in boxes:
        rgb[top:bottom, left:right], depth[top:bottom, left:right] = colour, near
    noise = np.random.default_rng(0).integers(-4, 5, rgb.shape)
    Image.fromarray(np.clip(rgb + noise, 0, 255).astype(np.uint8)).save(folder / "scene.png")
    np.save(folder / "scene.npy", depth.astype(np.float32))
    result = run_image(LAST, folder / "scene.png", resolve(CONFIG), cache=folder / "cache")
    found = {}
    for stage, path in result.paths.items():
        if stage in ARRAYS:
            store = open_store(path, stage)
            found |= {f"{stage}/{name}": store.array(name)[0] for name in ARRAYS[stage]}
    annotations = read_masks(result.paths[LAST]).annotations
    found["crf/masks"] = np.stack([decode_mask(entry["segmentation"]) for entry in annotations])
    found["crf/scores"] = np.array([entry["score"] for entry in annotations])
    found["crf/quality"] = np.array([entry["quality"] for entry in annotations])
    return found


def record() -> None:
    with tempfile.TemporaryDirectory() as folder:
        numbers = json.dumps({stage: declared.algorithm for stage, declared in STAGES.items()})
        np.savez_compressed(RECORD, numbers=numbers, **outputs(Path(folder)))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return outputs(tmp_path_factory.mktemp("algorithms"))


@pytest.mark.parametrize("stage", STAGES)
def test_an_output_that_moved_has_a_new_number(found, stage):
    recorded = np.load(RECORD)
    assert json.loads(str(recorded["numbers"])).get(stage) == STAGES[stage].algorithm, (
        f"{stage} has a new number: record its output with `python {Path(__file__).name}`"
    )
    names = [name for name in recorded.files if name.startswith(f"{stage}/")]
    assert names and {name for name in found if name.startswith(f"{stage}/")} == set(names)
    for name in names:
        before, now = recorded[name].astype(float), found[name].astype(float)
        same = before.shape == now.shape and np.allclose(before, now, atol=2e-3, rtol=2e-3, equal_nan=True)
        assert same, f"{name} moved: raise the algorithm of {stage} in pipeline/declarations.py, then record"


def test_the_scene_has_two_objects(found):
    """The record would be empty of meaning otherwise."""
    assert found["localcut/instance"].any(axis=(1, 2)).sum() >= 2 and len(found["crf/masks"]) >= 2


if __name__ == "__main__":
    record()
