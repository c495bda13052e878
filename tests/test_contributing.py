"""CONTRIBUTING.md: a new part touches the files it names and no others; the hooks are what `make lint` runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import cuts3d_cli

PACKAGE = Path(cuts3d_cli.__file__).parent
ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()

FEATURES = '''
import numpy as np


class ToyFeatures:
    """Mean colour of each patch, and one constant channel."""

    description = "toy: mean colour"
    batch_size = 1

    def __init__(self, patch_size):
        self.patch_size = patch_size

    def extract(self, working):
        side = len(working) // self.patch_size
        patches = working.reshape(side, self.patch_size, side, self.patch_size, 3).mean((1, 3)) / 128 - 1
        return np.concatenate([patches.transpose(2, 0, 1), np.full((1, side, side), 0.1)]).astype(np.float32)

    def extract_batch(self, working):
        return np.stack([self.extract(each) for each in working])


def load(config, *, device):
    return ToyFeatures(config.patch_size)
'''

DEPTH = '''
import numpy as np


class ToyDepth:
    """The bright is near."""

    description = "toy: brightness"
    convention = "inverse"

    def predict(self, rgb, size):
        rows, columns = (np.arange(size) * side // size for side in rgb.shape[:2])
        return rgb.mean(-1)[rows][:, columns].astype(np.float32) + 1


def load(config, *, device):
    return ToyDepth()
'''

DETECTOR = """
from cuts3d_cli.detector.configs import embedded_cascade


def build(train):
    return embedded_cascade.build(train, width=8, channels=16, hidden=16, mask_convs=1)
"""

EXPORT = """
from collections import Counter

from cuts3d_cli.export.objects import objects_of


def write(masks, folder):
    lost = Counter()
    for image in objects_of(masks, lost):
        lines = [" ".join(f"{value:g}" for value in each.entry["bbox"]) + "\\n" for each in image.objects]
        image.target(folder, ".txt").write_text("".join(lines))
        lost["masks written as boxes"] += len(lines)
    return lost
"""


STAGE = '''
import numpy as np

from cuts3d_cli.pipeline.runner import Result, run_stage
from cuts3d_cli.store.rows import Rows


def run(job):
    """The patches unlike the image's border, as one instance."""
    features = Rows(job.stores["features"].array("features"))

    def compute(row, record):
        found = features[row].astype(np.float32)
        border = np.concatenate([found[:, 0], found[:, -1]], axis=1).mean(axis=1)
        cosine = np.tensordot(border, found, 1) / np.linalg.norm(border) / np.linalg.norm(found, axis=0)
        instance = (cosine < 0.9)[None]
        return Result({"instance": instance}, no_object=not instance.any())

    return run_stage("toy", job, compute, sizes={"N": 1})
'''

STAGE_COMMAND = """
from cuts3d_cli.cli.stage_command import stage_command

command = stage_command("toy", "What differs from the border of the image.")
"""

STAGE_RULE = """

rule toy:
    input:
        inputs_of_stage("toy"),
    output:
        directory("{base}/masks/{method}/toy/{shard}.zarr"),
    log:
        "{base}/logs/{method}/toy/{shard}.log",
    params:
        config=settings_path,
        shard=shard_number,
        depends=depends_on("toy"),
    shell:
        "cuts3d toy --config {params.config:q} --run {wildcards.base:q} --shard {params.shard}"
        " --method {wildcards.method} > {log:q} 2>&1"
"""


class Copy:
    """A copy of the package and its rules with a toy in it."""

    def __init__(self, folder: Path):
        self.root, self.touched = folder, set()
        shutil.copytree(PACKAGE, folder / PACKAGE.name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))

        shutil.copytree(ROOT / "rules", folder / "rules")
        (folder / "sample").symlink_to(ROOT / "sample")
        for name in ("Snakefile", "config.yaml"):
            shutil.copy(ROOT / name, folder / name)

    def append(self, path: str, text: str) -> None:
        (self.root / path).write_text((self.root / path).read_text() + text)
        self.touched.add(path)

    def plan(self, *targets: str) -> dict[str, int]:
        """The jobs of a dry run by rule."""
        out = self.python(
            "-m", "snakemake", "-n", "-q", "rules", "-d", self.root, "-s", self.root / "Snakefile", *targets
        )
        return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", out, re.MULTILINE)}

    def add(self, path: str, text: str) -> None:
        assert not (self.root / path).exists()
        (self.root / path).write_text(text)
        self.touched.add(path)

    def add_row(self, path: str, table: str, row: str) -> None:
        """Put a row below a line of a table, its first one for example."""
        text = (self.root / path).read_text()
        assert text.count(f"\n{table}\n") == 1
        (self.root / path).write_text(text.replace(f"\n{table}\n", f"\n{table}\n    {row}\n"))
        self.touched.add(path)

    def python(self, *words: object) -> str:
        ended = subprocess.run(
            [sys.executable, "-P", *map(str, words)],
            capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def cuts3d(self, *words: object) -> str:
        return self.python("-m", "cuts3d_cli", *words)


@pytest.fixture
def copy(tmp_path) -> Copy:
    return Copy(tmp_path / "package")


def places(title: str) -> set[str]:
    """The files that the section of a kind of part names, for one called toy."""
    section = re.split(r"^##+ ", GUIDE, flags=re.MULTILINE)
    (text,) = (part for part in section if part.startswith(title + "\n"))
    return {path.replace("NAME", "toy") for path in re.findall(r"^\d\. `([^`]+)`", text, re.MULTILINE)}


def test_a_feature_backend(copy, photo):
    copy.add("cuts3d_cli/backends/features_toy.py", FEATURES)
    row = '"toy": Entry("features_toy", "mean colour of a patch", _GRID, _defaults(96, 8, None, 0.9, 0.9)),'
    copy.add_row("cuts3d_cli/config/backends.py", "FEATURES: dict[str, Entry] = {", row)
    assert copy.touched == places("A feature backend")
    assert "toy: mean colour of a patch" in " ".join(copy.cuts3d("features", "--help").split())
    assert re.search(r"^toy +features +mean colour of a patch", copy.cuts3d("models", "list"), re.MULTILINE)
    words = ("--preset", "embedded", "--set", "features.backend=toy", photo)
    _head, row = copy.cuts3d("features", *words).splitlines()
    assert "4 x 12 x 12" in row  # image and patch size are those of its row
    assert "s.png" in copy.cuts3d("localcut", "--set", "localcut.tau_knn=0.115", *words)


def test_a_depth_model(copy, photo):
    copy.add("cuts3d_cli/backends/depth_toy.py", DEPTH)
    copy.add_row(
        "cuts3d_cli/config/backends.py", "DEPTH: dict[str, Entry] = {", '"toy": Entry("depth_toy", "bright", _MODEL),'
    )
    assert copy.touched == places("A depth model")
    assert "toy: bright" in " ".join(copy.cuts3d("depth", "--help").split())
    assert "s.png" in copy.cuts3d("depth", "--preset", "embedded", "--set", "depth.backend=toy", photo)


LOOSER = """"toy": Method(
        "Toy", "a looser graph",
        lambda config: config.model_copy(update={"localcut": config.localcut.model_copy(update={"k": 12})}),
        in_run=lambda config: True,
    ),"""

OF_THE_STAGE = """"toy": Method(
        "Toy", "unlike the border",
        lambda config: config.model_copy(update={"finder": "toy"}),
        in_run=lambda config: True,
    ),"""


def test_a_method(copy, photo):
    copy.add_row("cuts3d_cli/pipeline/methods.py", "METHODS: dict[str, Method] = {", LOOSER)
    assert copy.touched == places("A method")
    assert "toy: a looser graph" in " ".join(copy.cuts3d("localcut", "--help").split())
    words = ("--preset", "embedded", "--set", "localcut.tau_knn=0.115", "--set", "confidence.tau_knn_min=0.05", photo)
    assert "s.png" in copy.cuts3d("crf", "--method", "toy", *words)
    plan = copy.plan("--cores", "1", "evaluated")
    assert plan["localcut"] == 9 and plan["confidence"] == 6 and plan["evaluate"] == 9


def test_a_stage_that_finds_instances(copy, photo):
    copy.add("cuts3d_cli/stages/toy.py", STAGE)
    row = '"toy": {"instance": ArraySpec(("n", "N", "G", "G"), "bool", "the instance")},'
    copy.add_row("cuts3d_cli/store/layout.py", "ARRAYS: dict[str, dict[str, ArraySpec]] = {", row)
    declared = (copy.root / "cuts3d_cli/pipeline/declarations.py").read_text().splitlines()
    after = next(line for line in declared if line.startswith('    "localcut": Stage('))
    copy.add_row("cuts3d_cli/pipeline/declarations.py", after, '"toy": Stage(1, inputs=lambda config: ("features",)),')
    copy.append("rules/pseudo_masks.smk", STAGE_RULE)
    copy.add("cuts3d_cli/cli/toy.py", STAGE_COMMAND)
    copy.add_row("cuts3d_cli/cli/main.py", "COMMANDS = {", '"toy": "What differs from the border.",')
    assert copy.touched == places("A stage")
    copy.add_row("cuts3d_cli/pipeline/methods.py", "METHODS: dict[str, Method] = {", OF_THE_STAGE)
    words = ("--method", "toy", "--preset", "embedded", photo)
    head, row = copy.cuts3d("toy", *words).splitlines()
    assert head.split()[:3] == ["image", "instance", "area_%"] and row.split()[1] == "1"
    head, row = copy.cuts3d("crf", *words).splitlines()
    assert "stability" in head and float(row.split()[2]) > 5
    assert "quality" in head and row.split()[-3:] == ["-", "-", "kept"]  # neither, as the stage gives no contrast
    plan = copy.plan("--cores", "1", "pseudo_masks")
    assert plan["toy"] == 3 and plan["localcut"] == 6 and plan["crf"] == 9 and plan["merge"] == 6


def test_a_detector(copy):
    pytest.importorskip("mmdet")
    copy.add("cuts3d_cli/detector/configs/toy.py", DETECTOR)
    assert copy.touched == places("A detector")
    code = (
        "from cuts3d_cli.config import TrainConfig\n"
        "from cuts3d_cli.detector.configs import build_detector, detector_names\n"
        "assert 'toy' in detector_names()\n"
        "print(sorted(build_detector(TrainConfig(detector='toy'))))"
    )
    assert "model" in copy.python("-c", code)


def test_an_export(copy, dataset, tmp_path):
    copy.add("cuts3d_cli/export/toy.py", EXPORT)
    copy.add_row("cuts3d_cli/export/__init__.py", "FORMATS: dict[str, str] = {", '"toy": "boxes as text",')
    assert copy.touched == places("An export")
    assert "toy: boxes as text" in " ".join(copy.cuts3d("masks", "--help").split())
    copy.cuts3d("export", dataset / "annotations.json", "--format", "toy", "--out", tmp_path / "out")
    lines = [line for path in (tmp_path / "out").glob("*.txt") for line in path.read_text().splitlines()]
    assert len(lines) == 4 * 3 and all(len(line.split()) == 4 for line in lines)
    assert '"masks written as boxes": 12' in (tmp_path / "out/cuts3d-output.json").read_text()


def test_the_layers_are_those_that_are_checked():
    from_table = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", GUIDE, re.MULTILINE)
    named = [name for cell in from_table for name in re.findall(r"`(\w+)`", cell)]
    layers = re.search(
        r"^LAYERS = \((.*?)^\)", (ROOT / "tests/test_architecture.py").read_text(), re.DOTALL | re.MULTILINE
    )
    assert set(named) == set(re.findall(r'"(\w+)"', layers[1]))


def test_the_hooks_are_what_make_lint_runs():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    programs = [" ".join(line.split()[:2]) for line in recipe.splitlines()]
    assert len(hooks) == len(programs)
    assert all(program in hook["entry"] for program, hook in zip(programs, hooks, strict=True))
