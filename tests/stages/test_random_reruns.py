"""Whatever happened to the images and results of a run before, its masks are those of a fresh run."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image

from cuts3d_cli.store.layout import manifest_path
from tests.stages.test_reruns import STORES, Run, normal_annotations

FLIPS = [None, *(getattr(Image.Transpose, name) for name in ("FLIP_LEFT_RIGHT", "FLIP_TOP_BOTTOM", "ROTATE_180"))]


class Changes:
    """Changes to a run's images, depth maps, settings and results, drawn from a seed."""

    def __init__(self, run: Run, dataset: Path, seed: int):
        self.run, self.dataset, self.random = run, dataset, random.Random(seed)
        self.n_shards, self.told = 1, []
        self.values = yaml.safe_load(run.config.read_text()) | {"max_failed": 0.9, "train": {"detector": None}}
        self.values["depth"] = {"backend": self.random.choice(["files", "auto"])}  # with a map of each, no model runs
        if self.random.random() < 0.3:  # without depth, whose result depends on names
            self.values |= {"localcut": {"local_cut": False, "sharpen": False}}
            self.values["crf"] |= {"unary": "softmax"}
        self.values["data"]["n_shards"] = self.n_shards
        self.write()

    def write(self):
        self.run.config.write_text(yaml.safe_dump(self.values))

    @property
    def names(self) -> list[str]:
        return sorted(os.listdir(self.run.images))

    def make(self):
        kinds = [self.put, self.put, self.replace, self.remove, self.rename, self.rename_last, self.duplicate]
        kinds += [self.other_map, self.breaking, self.setting, self.shards, self.delete, self.stage, self.prepare]
        kind = self.random.choice(kinds)
        self.told.append(kind.__name__)
        kind()

    def put(self, name=None):
        name = name or self.free()
        scene, flip = self.random.randint(1, 4), self.random.choice(FLIPS)
        for folder in (self.run.images, self.run.maps):
            image = Image.open(self.dataset / folder.name / f"s{scene}.png")
            (image if flip is None else image.transpose(flip)).save(folder / name)

    def free(self) -> str:
        return self.random.choice([name for name in "abcdefgtuvwxyz" if f"{name}.png" not in self.names]) + ".png"

    def replace(self):
        self.put(self.random.choice(self.names))

    def remove(self):
        if len(self.names) > 2:
            (self.run.images / self.random.choice(self.names)).unlink()

    def rename(self, name=None, to=None):
        name, to = name or self.random.choice(self.names), to or self.free()
        for folder in (self.run.images, self.run.maps):
            os.rename(folder / name, folder / to)

    def rename_last(self):
        self.rename(self.names[-1], f"{self.names[-1][:-4]}z.png")

    def duplicate(self):
        name, other = self.random.choice(self.names), self.free()
        for folder in (self.run.images, self.run.maps):
            shutil.copy(folder / name, folder / other)

    def other_map(self):
        shutil.copy(self.dataset / "depth" / f"s{self.random.randint(1, 4)}.png", self.run.maps / self.names[0])

    def breaking(self):
        (self.run.images / self.random.choice(self.names)).write_bytes(b"no image")

    def setting(self):
        self.values["localcut"] = {**self.values["localcut"], "n_instances": self.random.randint(1, 3)}
        self.write()

    def shards(self):
        self.n_shards = self.values["data"]["n_shards"] = self.random.randint(1, 2)
        self.write()

    def delete(self):
        there = [*self.run.folder.rglob("*.zarr"), *self.run.folder.rglob("crf/*.json"), manifest_path(self.run.folder)]
        path = self.random.choice(sorted(path for path in there if path.exists()))
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def stage(self):
        """It may well say that its inputs are of other images."""
        words = ("--config", self.run.config, "--run", self.run.folder, *self.random.choice([(), ("--force",)]))
        code, _, err = self.run._cuts3d(self.random.choice(STORES), *words)
        assert code == 0 or err.count("error: ") == 1, err

    def prepare(self):
        self.run.prepare(self.n_shards)


@pytest.mark.parametrize("seed", range(3))
def test_masks_are_those_of_a_fresh_run(seed, tmp_path, dataset, cuts3d):
    run = Run(tmp_path / "old", dataset, cuts3d)
    changes = Changes(run, dataset, seed)
    stages = [*STORES, "crf"] if changes.values["localcut"].get("local_cut", True) else ["features", "localcut", "crf"]

    def status() -> dict[str, bool]:
        words = ("status", "--json", "--config", run.config, "--run", run.folder, "--method", "cuts3d")
        code, out, err = cuts3d(*words)
        assert code == 0, err
        return {row["stage"]: row["current"] == row["total"] and row["present"] > 0 for row in json.loads(out)}

    for step in range(3):
        for _ in range(2 * step):
            changes.make()
        run.prepare(changes.n_shards)
        before = status()
        made = {stage for stage in stages if "up to date" not in run(stage)}
        assert not {stage for stage in made if before[stage]}, ("status took it for current", changes.told)
        run("merge")
        assert all(current for stage, current in status().items() if stage in (*stages, "merge")), changes.told
        fresh = Run(tmp_path / f"fresh{step}", tmp_path / "old", cuts3d)
        fresh.config.write_text(yaml.safe_dump({**changes.values, "run": str(fresh.folder)} | {
            "data": {"images": str(fresh.images), "depth_maps": str(fresh.maps)}
        }))  # fmt: skip
        fresh.prepare(changes.n_shards)
        fresh("crf")
        fresh("merge")
        assert list(normal_annotations(run.masks).items()) == list(normal_annotations(fresh.masks).items()), (
            changes.told
        )
        assert run.masks.counts.failures.keys() == fresh.masks.counts.failures.keys(), changes.told
