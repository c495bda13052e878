"""Several workers share nothing but files: their results are those of one."""

import os
import subprocess
import sys

import numpy as np
import pytest

from cuts3d_cli.store.layout import manifest_path

SMALL = ["features.image_size=96", "crf.image_size=96", "depth.size=96", "localcut.tau_knn=0.115", "crf.iterations=2"]
STAGES = ["depth", "features", "spatial-importance", "localcut", "confidence", "crf"]

WORKER = """
import sys
from cuts3d_cli.cli import main

run, maps, shards, stages, settings = (word.split(",") for word in sys.argv[1:])
for shard in shards:
    for stage in stages:
        words = [stage, "--preset", "embedded", "--run", run[0], "--shard", shard, "--depth-map", maps[0]]
        main.cli.main(["-q", *words, *(f"--set={text}" for text in settings)], standalone_mode=False)
"""


def worker(run, maps, shards):
    """A process that takes these shards through all stages, one after the other."""
    words = [run, maps, ",".join(shards), ",".join(STAGES), ",".join(SMALL)]
    return subprocess.Popen([sys.executable, "-c", WORKER, *map(str, words)], env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def runs(tmp_path_factory, dataset):
    """The same two shards by one worker, and by two at a time."""
    from cuts3d_cli.stages import prepare

    folder = tmp_path_factory.mktemp("workers")
    one, two = folder / "one", folder / "two"
    for run in (one, two):
        prepare.run(dataset / "images", manifest_path(run), n_shards=2)
    maps = dataset / "depth"
    assert worker(one, maps, ["0", "1"]).wait() == 0
    assert [process.wait() for process in [worker(two, maps, [shard]) for shard in "01"]] == [0, 0]
    return one, two


@pytest.mark.parametrize("shard", ["00000", "00001"])
def test_two_workers_write_what_one_writes(runs, shard):
    from cuts3d_cli.store.zarr_store import open_store

    one, two = runs
    masks = [(run / "masks/cuts3d/crf" / f"{shard}.json").read_bytes() for run in runs]
    assert masks[0] == masks[1] and b"counts" in masks[0]
    for stage, names in (
        ("localcut", ("semantic", "instance", "terminals", "fiedler")),
        ("confidence", ("confidence", "score")),
    ):
        stores = [open_store(run / "masks/cuts3d" / stage / f"{shard}.zarr", stage) for run in (one, two)]
        assert stores[0].fingerprint == stores[1].fingerprint
        for name in names:
            np.testing.assert_array_equal(*(store.array(name)[:] for store in stores), err_msg=name)
