"""The wheel brings the workflow: built, put outside the checkout, and run there on drawn scenes."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from cuts3d_cli.workflow import FILES

ROOT = Path(__file__).parents[2]

LINKED = {"Snakefile", "rules", "envs", "slurm", "photos.yaml", "constraints.txt"}

SMALL = [
    "features={image_size: 96}",
    "localcut={tau_knn: 0.115}",
    "confidence={tau_knn_min: 0.05}",
    "crf={image_size: 96, iterations: 2}",
    "baseline={enabled: false}",
]


def test_workflow_files_are_those_at_the_top():
    """Links, so that there is one of each."""
    assert {path.name: path.resolve() for path in FILES.iterdir()} == {name: ROOT / name for name in LINKED}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A folder with what the wheel holds; built from a copy, as a build leaves files beside its sources."""
    try:
        major = int(version("setuptools").split(".")[0])
    except PackageNotFoundError:
        major = 0
    if major < 69:
        pytest.skip("building the wheel without a network takes setuptools 69 in this environment")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("cuts3d", "cuts3d_cli", *LINKED, "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source)
    words = ["pip", "wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation", "-w", folder, source]
    subprocess.run([sys.executable, "-m", *map(str, words)], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_the_library_is_in_it_with_its_types(wheel, dataset, tmp_path):
    assert all((wheel / package / "py.typed").is_file() for package in ("cuts3d", "cuts3d_cli"))
    small = {"features": {"image_size": 96}, "crf": {"image_size": 96, "iterations": 2}, "localcut": {"tau_knn": 0.115}}
    code = "import sys, cuts3d\nprint(cuts3d.__file__, len(cuts3d.segment(*sys.argv[1:], preset='embedded', **%r)))"
    paths = [dataset / "images/s1.png", dataset / "depth/s1.png"]
    environment = os.environ | {"PYTHONPATH": str(wheel), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", code % small, *map(str, paths)]
    out = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    place, n_masks = out.split()
    assert Path(place).is_relative_to(wheel) and int(n_masks) > 0


def test_masks_are_made_from_its_own_files(wheel, dataset, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(wheel), "OMP_NUM_THREADS": "1"}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])

    def run(*words):
        words = [sys.executable, "-m", *map(str, words)]
        ended = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    init = ["init", dataset / "images", "--depth-map", dataset / "depth", "--preset", "embedded", "--workflow", "work"]
    assert run("cuts3d_cli", *init) == "cd work && snakemake --cores all\n"
    carried = [path for path in (wheel / FILES.relative_to(ROOT)).rglob("*") if path.is_file()]
    assert {path.name for path in carried} >= {"Snakefile", "common.smk", "core.yaml", "config.yaml", "photos.yaml"}
    words = ["--directory", "work", "--cores", "2", "pseudo_masks", "--config", *SMALL]
    run("cuts3d_cli", "run", "work/config.yaml", *words)
    assert (tmp_path / "work/runs/images/masks/cuts3d/pseudo_masks.json").stat().st_size > 1000
