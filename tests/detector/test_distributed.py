"""Several processes: their ranks, what they share out, and that together they train one detector."""

import os
import subprocess
import sys

import pytest
import torch

from cuts3d_cli.config import SelfTrainConfig
from cuts3d_cli.detector import distributed
from cuts3d_cli.detector.dataset import PositionSampler
from cuts3d_cli.errors import ConfigError
from cuts3d_cli.store.curve import read_curve
from cuts3d_cli.store.masks import read_masks
from cuts3d_cli.training import selftrain, train

SCRIPT = """
import json, sys
import torch
from cuts3d_cli.config import SelfTrainConfig, TrainConfig
from cuts3d_cli.detector import distributed
from cuts3d_cli.detector.dataset import TrainingStream
from cuts3d_cli.detector.runner import DeviceRunner, unwrapped
from cuts3d_cli.training import selftrain

checkpoint, annotations, out, train, rounds = sys.argv[1:]
seen, draw, learn = [], TrainingStream.__getitem__, DeviceRunner.train

def record(self, position):
    seen.append(position)
    return draw(self, position)

def check(self):
    model = learn(self)
    weights = dict(unwrapped(model).named_parameters())
    for other in distributed.all_gather_object({key: value.detach() for key, value in weights.items()}):
        assert other.keys() == weights.keys() and all(torch.equal(other[key], weights[key]) for key in weights)
    positions = distributed.all_gather_object(list(seen))
    if distributed.is_main_process():
        print("POSITIONS", json.dumps(positions))
    return model

TrainingStream.__getitem__, DeviceRunner.train = record, check
selftrain.run(
    checkpoint, annotations, out, round_number=1, config=SelfTrainConfig(**json.loads(rounds)),
    train=TrainConfig(**json.loads(train)), device="cpu", threads=1, launcher="pytorch",
)
"""


def test_two_processes_label_and_train_as_one(labelled, micro, tmp_path):
    train.run(labelled, tmp_path / "round0", config=micro, device="cpu", threads=1)
    checkpoint, script = tmp_path / "round0/checkpoint.pth", tmp_path / "script.py"
    script.write_text(SCRIPT)
    config = SelfTrainConfig(
        iterations=3,
        batch_size=4,
        accumulate=2,
        warmup_iterations=1,
        score_threshold=0.0,
        max_detections=3,
        lr_steps=[],
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    arguments = [checkpoint, labelled, tmp_path / "two", micro.model_dump_json(), config.model_dump_json()]
    ended = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    printed = [line for line in ended.stdout.splitlines() if line.startswith("POSITIONS")]
    assert printed == ["POSITIONS [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]"]
    assert [point["iteration"] for point in read_curve(tmp_path / "two/metrics.jsonl")] == [1, 2, 3]
    assert (tmp_path / "two/checkpoint.pth").is_file() and (tmp_path / "two/config.json").is_file()
    # The labels are those that one process makes.
    alone = tmp_path / "alone.json"
    selftrain.make_labels(checkpoint, labelled, alone, round_number=1, config=config, device="cpu", threads=1)
    together = read_masks(tmp_path / "two/annotations.json").annotations
    assert together == read_masks(alone).annotations and len(together) >= 5


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_share_out_each_step(processes):
    parts = [list(PositionSampler(8, 24, step=8, process=p, processes=processes)) for p in range(processes)]
    assert len({len(part) for part in parts}) == 1 and len(parts[0]) == 16 // processes
    share = 8 // processes
    for step in range(2):
        together = [position for part in parts for position in part[step * share : (step + 1) * share]]
        assert together == list(range(8 + 8 * step, 16 + 8 * step))
    assert len(PositionSampler(8, 24, step=8, process=0, processes=processes)) == len(parts[0])


class TestLaunchers:
    def test_alone(self):
        assert distributed.process_of("none", {}) == distributed.Process(rank=0, world_size=1)
        assert (distributed.get_rank(), distributed.get_world_size(), distributed.is_main_process()) == (0, 1, True)
        assert distributed.all_gather_object(3) == [3]
        values = torch.ones(2)
        assert torch.equal(distributed.all_reduce_mean(values), values)

    def test_torchrun(self):
        environment = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "host", "MASTER_PORT": "123"}
        assert distributed.process_of("pytorch", environment) == distributed.Process(3, 4, 1, "host", 123)

    def test_slurm(self):
        environment = {
            "SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_NODELIST": "gpu[03-05]",
            "SLURM_JOB_ID": "20017",
        }  # fmt: skip
        assert distributed.process_of("slurm", environment) == distributed.Process(5, 8, 1, "gpu03", 20017)
        environment |= {"MASTER_ADDR": "other", "MASTER_PORT": "7"}
        assert distributed.process_of("slurm", environment) == distributed.Process(5, 8, 1, "other", 7)

    @pytest.mark.parametrize(
        ("nodes", "first"),
        [
            ("localhost", "localhost"),
            ("gpu1,gpu2", "gpu1"),
            ("gpu[03-05,09],cpu1", "gpu03"),
            ("n[2,7]-ib", "n2-ib"),
            ("rack1-[11-12]", "rack1-11"),
        ],
    )
    def test_first_host(self, nodes, first):
        assert distributed.first_host(nodes) == first

    @pytest.mark.parametrize(
        ("launcher", "missing", "how"), [("pytorch", "RANK", "torchrun"), ("slurm", "SLURM_PROCID", "srun")]
    )
    def test_not_started_by_it(self, launcher, missing, how):
        with pytest.raises(ConfigError, match=rf"--launcher {launcher}.*no {missing}.*{how}"):
            distributed.process_of(launcher, {})

    def test_no_such_launcher(self):
        with pytest.raises(ConfigError, match="one of none, pytorch, slurm"):
            distributed.process_of("mpi", {})

    def test_gpus(self):
        second = distributed.Process(rank=1, world_size=2, local_rank=1)
        assert distributed._gpu(second, "pytorch", 2) == 1
        assert distributed._gpu(second, "slurm", 1) == 0  # each task sees its own
        with pytest.raises(ConfigError, match="a GPU per process; found 1 visible"):
            distributed._gpu(second, "pytorch", 1)
