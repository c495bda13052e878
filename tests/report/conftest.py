"""A small run written by hand: stores, masks, two trainings, evaluations."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from cuts3d_cli.config import resolve
from cuts3d_cli.evaluation import evaluate
from cuts3d_cli.pipeline.graph import result_path
from cuts3d_cli.pipeline.methods import OWN
from cuts3d_cli.pipeline.runner import images_fingerprint
from cuts3d_cli.stages import prepare
from cuts3d_cli.store.coco import annotation, image_entry
from cuts3d_cli.store.layout import OUTCOME_NAMES, SOLVER_NAMES, manifest_path, round_path, shard_name
from cuts3d_cli.store.manifest import read_manifest
from cuts3d_cli.store.masks import PREDICTIONS, PSEUDO_MASKS, Counts, MaskFile, Provenance, write_masks
from cuts3d_cli.store.store_writer import create_store

GRID = 12


def rectangle(size_hw, x, y, w, h):
    mask = np.zeros(size_hw, bool)
    mask[y : y + h, x : x + w] = True
    return mask


def rendered(size_hw, seed):
    """A bright rectangle on a dark ground; the same rectangle as mask."""
    rng = np.random.default_rng(seed)
    h, w = size_hw
    mask = rectangle(size_hw, w // 4, h // 4, w // 2, h // 2)
    rgb = np.where(mask[..., None], (200, 120, 40), (40, 60, 90)) + rng.integers(-5, 6, (h, w, 3))
    return rgb.astype(np.uint8), mask


def write_images(folder, sizes_hw):
    """Photographs by name, a broken file for a size of None; gives the masks of the good ones."""
    folder.mkdir(parents=True)
    masks = {}
    for seed, (name, size_hw) in enumerate(sizes_hw.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if size_hw is None:
            path.write_bytes(b"no image")
        else:
            rgb, masks[name] = rendered(size_hw, seed)
            Image.fromarray(rgb).save(path)
    return masks


def write_stores(base, config, shard, records):
    """Every store of a shard: one cut that kept an object, one that kept nothing; broken images failed."""
    grid = rectangle((GRID, GRID), 3, 3, 6, 6)
    arrays = {
        "depth": {
            "depth": np.linspace(0, 1, 48 * 48).reshape(48, 48),
            "range": np.float32([0.5, 2]),
            "reading": np.ones((48, 48), bool),
            "source": np.uint8(0),
        },
        "features": {"features": np.ones((3, GRID, GRID))},
        "spatial-importance": {"importance": np.where(grid, 1.0, 0.45)},
        "localcut": {
            "semantic": np.stack([grid, ~grid]),
            "instance": np.stack([grid, np.zeros_like(grid)]),
            "terminals": np.array([[5 * GRID + 5, 0], [-1, -1]]),
            "fiedler": np.stack([np.where(grid, 1.0, -0.2)] * 2),
            "depth": np.linspace(0, 1, GRID * GRID).reshape(GRID, GRID),
            "contrast": np.array([0.5, 0]),
            "outcome": np.array([OUTCOME_NAMES.index("kept"), OUTCOME_NAMES.index("small")]),
            "solver": np.array([SOLVER_NAMES.index("lanczos")] * 2),
        },
        "confidence": {"confidence": np.stack([0.75 * grid, 0 * grid]), "score": np.array([0.75, 0])},
    }
    for stage, values in arrays.items():
        section = getattr(config, stage.replace("-", "_")).model_dump(mode="json")
        path = result_path(base, stage, shard_name(shard))
        ids = [r.id for r in records]
        with create_store(
            path,
            stage,
            ids,
            sections={stage.replace("-", "_"): section},
            inputs={},
            fingerprint=stage,
            attrs={"images": images_fingerprint(records)},
        ) as writer:
            for row, r in enumerate(records):
                if r.error:
                    writer.fail(row, r.error)
                else:
                    writer.write(row, **values)


def write_coco(path, records, masks, root, kind=PREDICTIONS, config=None):
    quality = 0.31 if kind == PSEUDO_MASKS else None
    entries = [annotation(r.id, masks[r.file_name], 0.75, quality=quality) for r in records if r.file_name in masks]
    images = [image_entry(r) for r in records]
    failures = {r.file_name: r.error for r in records if r.error}
    counts = Counts(len(records) - len(failures), 0, failures)
    write_masks(path, MaskFile(kind, root, images, entries, provenance=Provenance(config=config or {}), counts=counts))


def write_set(base, images, sizes_hw, config, n_shards=2):
    """Image list, stores, and the same masks as MaskCut's and as ground truth, whose path is given."""
    masks = write_images(images, sizes_hw)
    manifest = prepare.run(images, manifest_path(base), n_shards=n_shards)
    for shard in range(n_shards):
        records = manifest.records(shard)
        write_stores(base, config, shard, records)
        for method in (OWN, "maskcut"):
            path = result_path(base, "crf", shard_name(shard), method)
            made_with = {"localcut": config.localcut.model_dump(), "crf": config.crf.model_dump()}
            write_coco(path, records, masks, images, PSEUDO_MASKS, made_with)
    records = [r for r in manifest.records() if not r.error]
    truth = base.parent / f"{images.name}_truth.json"
    write_coco(truth, records, masks, images)
    return truth


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A finished run by hand: stores, masks, two trainings, evaluations. Gives (folder, configuration)."""
    folder = tmp_path_factory.mktemp("finished")
    run, data = folder / "run", folder / "data"
    config = resolve({"report": {"n_images": 3, "thumbnail": 64}, "selftrain": {"rounds": 1}})
    truth = write_set(run, data / "train", {f"t{i}.png": (40, 60) for i in range(4)}, config)
    sizes_hw = {"a/one.png": (40, 60), "a/two <b>.png": (60, 40), "broken.png": None}
    val_truth = write_set(run / "val", data / "val", sizes_hw, config, n_shards=1)
    records = read_manifest(manifest_path(run / "val")).records()
    masks = {r.file_name: rendered(sizes_hw[r.file_name], i)[1] for i, r in enumerate(records) if not r.error}
    made = {
        "maskcut_train": result_path(run, "crf", "00000", "maskcut"),
        "cuts3d_val": result_path(run / "val", "crf", "00000"),
    }
    for number in (0, 1):
        folder = round_path(run, number)
        points = [{"iteration": i, "lr": 0.01, "loss": 2.0 / i} for i in range(1, 30)]
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(p) + "\n" for p in points))
        made[f"round{number}_val"] = folder / "predictions_val.json"
        write_coco(made[f"round{number}_val"], records, masks, data / "val")
    for name, path in made.items():
        annotations = val_truth if name.endswith("val") else truth
        evaluate.run(path, annotations, config=config.evaluate, out=run / "evaluation" / f"{name}.json")
    data_config = config.data.model_copy(update={"annotations": str(truth), "val_annotations": str(val_truth)})
    return run, config.model_copy(update={"data": data_config})


@pytest.fixture
def tiny_run(finished_run, tmp_path):
    """A copy of the finished run to change."""
    run, config = finished_run
    return shutil.copytree(run, tmp_path / "run"), config
