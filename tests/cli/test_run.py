"""``cuts3d run``: what Snakemake is called with, and what is said where it cannot be."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from cuts3d_cli import workflow
from cuts3d_cli.cli.options import build_config
from cuts3d_cli.errors import INTERRUPTED
from cuts3d_cli.store.manifest import read_manifest
from cuts3d_cli.workflow import FILES, snakemake_words

SHIPPED = FILES.resolve().parents[1]
"""The links of a checkout lead here."""


@pytest.fixture
def config(tmp_path, dataset, cuts3d, monkeypatch):
    """A configuration for the drawn scenes, masks only, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    images = shutil.copytree(dataset / "images", tmp_path / "photos")
    words = ["init", images.name, "--preset", "embedded", "--out", "mine.yaml"]
    assert cuts3d(*words)[:2] == (0, "cuts3d run mine.yaml\n")
    return tmp_path / "mine.yaml"


def started(folder, *words) -> subprocess.Popen:
    words = [sys.executable, "-m", "cuts3d_cli", "run", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(SHIPPED), "OMP_NUM_THREADS": "1"}
    environment |= {"PATH": os.defpath}  # jobs find cuts3d all the same
    return subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def run(folder, *words) -> tuple[int, str]:
    process = started(folder, *words)
    out = process.communicate(timeout=300)[0]
    return process.returncode, out


def test_it_runs_the_shipped_workflow_in_the_current_folder(config):
    code, out = run(config.parent, "mine.yaml", "runs/photos/manifest.jsonl")
    assert code == 0 and (config.parent / "runs/photos/manifest.jsonl").is_file(), out
    code, out = run(config.parent, "mine.yaml", "runs/photos/manifest.jsonl")
    assert code == 0 and "Nothing to be done" in out


def test_another_folder_can_be_named(config, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    code, out = run(tmp_path / "elsewhere", "../mine.yaml", "-n")
    assert code == 1 and "data.images photos; expected a folder of images" in out
    assert f"relative paths start in the current folder, {tmp_path / 'elsewhere'}" in out, out
    code, out = run(tmp_path / "elsewhere", "../mine.yaml", "--directory", "..", "-n", "pseudo_masks")
    assert code == 0 and "prepare" in out, out


def test_targets_options_and_exit_codes_pass_through(config):
    code, out = run(config.parent, "mine.yaml", "-n", "pseudo_masks", "--config", "crf={iterations: 3}")
    assert code == 0 and "nothing was run, for -n" in out and "merge" in out and "train" not in out
    code, out = run(config.parent, "mine.yaml", "nosuch")
    assert code == 1 and "nosuch" in out
    code, out = run(config.parent, "mine.yaml", "--nosuch-option")
    assert code == 2 and "--nosuch-option" in out


def settings_of(folder) -> dict:
    """The settings that the last call of a workflow wrote for its jobs."""
    written = sorted((folder / "runs/photos/settings").glob("*.yaml"), key=lambda path: path.stat().st_mtime_ns)
    return yaml.safe_load(written[-1].read_text())


@pytest.mark.parametrize(
    "words",
    [
        ["--set", "localcut.n_instances=6", "--set=train.detector=null"],
        ["--config", "localcut.n_instances=6", "train={detector: null}"],
        ["-C", "localcut={n_instances: 6}", "--set", "train.detector=null"],
        ["--config=localcut.n_instances=5", "--set", "localcut.n_instances=6", "--set", "train.detector=~"],
    ],
    ids=["set", "dotted", "mixed", "last"],
)
def test_settings_of_a_call_go_before_those_of_the_file(config, words):
    """As with every other command; Snakemake alone knows no keys with dots, and takes null in braces for a text."""
    code, out = run(config.parent, "mine.yaml", "-n", "pseudo_masks", *words)
    assert code == 0, out
    found = settings_of(config.parent)
    assert found["localcut"]["n_instances"] == 6 and found["train"]["detector"] is None
    ours = [each.removeprefix("--set=") for each in words if each not in ("--set", "--config", "-C")]
    options = {"config_file": config, "assignments": [each.removeprefix("--config=") for each in ours]}
    assert found == build_config(options).model_dump(mode="json")  # those of `status` with the same words


@pytest.mark.parametrize("text", ["données ünd 'mehr'", 'a "b" \\ $HOME'])
def test_a_setting_may_hold_any_text(config, text):
    code, out = run(config.parent, "mine.yaml", "-n", "--set", f"depth.weights={json.dumps(text)}")
    assert code == 0 and settings_of(config.parent)["depth"]["weights"] == text, out


def test_a_job_that_is_started_apart_gets_the_settings(config):
    """As those of a cluster, whose command lines Snakemake puts together without escaping."""
    manifest = "runs/photos/manifest.jsonl"
    words = ["--set", "data.n_shards=2", "--groups", "prepare=one", "--cores", "1"]
    code, out = run(config.parent, "mine.yaml", manifest, *words)
    assert code == 0 and read_manifest(config.parent / manifest).n_shards == 2, out


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--set", "n_instances=6"], 1, "--set: unknown key n_instances; "),
        (["--set", "localcut.n_instances=many"], 1, "localcut.n_instances; expected a whole number"),
        (["--set", "localcut.tau_knn"], 1, "option --set localcut.tau_knn; expected SECTION.KEY=VALUE"),
        (["--set"], 1, "option --set ; expected SECTION.KEY=VALUE"),
        (["--config", "localcut.tau_knn=[1"], 1, "option --config localcut.tau_knn=[1; expected a YAML value"),
        (["--config", "crf.iterations=3", "report"], 2, "before --config: cuts3d run mine.yaml report --config"),
    ],
)
def test_wrong_settings_of_a_call_are_refused_in_one_line(config, cuts3d, words, code, told):
    ended = cuts3d("run", "mine.yaml", *words)
    assert ended[0] == code and told in ended[2] and "Traceback" not in ended[2], ended


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("run: runs\nlocalcut:\n  k: [1\nseed: 3\n", "config file mine.yaml; expected YAML; found"),
        ("localcut:\n  nosuch: 3\n", "mine.yaml: unknown key localcut.nosuch"),
        ("- a\n", "config file mine.yaml; expected a mapping of sections"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_place(config, cuts3d, text, told):
    config.write_text(text)
    code, _, err = cuts3d("run", "mine.yaml", "-n")
    assert code == 1 and told in err and err.count("\n") == 1, err
    assert "line 4, column 5" in err or "k:" not in text


def test_ctrl_c_ends_it_with_one_line(config, tmp_path, heeds_interrupts):
    process = started(tmp_path, "mine.yaml", "pseudo_masks", "--cores", "1")
    log = tmp_path / "runs/photos/logs/prepare.log"
    until = time.monotonic() + 60
    while not log.is_file() and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out = process.communicate(timeout=120)[0]
    assert process.returncode == 130 and out.splitlines()[-1] == INTERRUPTED, out
    assert out.count(INTERRUPTED) == 1 and not any(word in out for word in ("Error", "error", "failed", "rule")), out
    code, out = run(tmp_path, "mine.yaml", "-n", "pseudo_masks")
    assert code == 0 and "crf" in out, out  # no lock is left


def test_a_run_takes_few_lines_and_tells_what_changed(config, dataset, tmp_path):
    shutil.copytree(dataset / "depth", tmp_path / "depth")
    maps = ["pseudo_masks", "--set", "data.depth_maps=depth"]
    code, out = run(tmp_path, "mine.yaml", *maps)
    first, *steps, last = [line.partition(" INFO run: ")[2] for line in out.splitlines()[:-1]]
    assert code == 0 and first.startswith(f"{len(steps)} steps: prepare, "), out
    assert [step.split()[0] for step in steps] == [f"{n}/{len(steps)}" for n in range(1, len(steps) + 1)]
    assert last.startswith(f"all {len(steps)} steps done in "), out
    (log,) = (tmp_path / ".snakemake/log").glob("*.log")
    assert "Reason: Missing output files" in log.read_text()
    words = ["-n", *maps, "--set", "localcut.n_instances=6", "--set", "localcut.tau_knn=0.08"]
    code, out = run(tmp_path, "mine.yaml", *words)
    told = [line.partition(" INFO run: ")[2] for line in out.splitlines()]
    assert "  localcut: n_instances 5 -> 6, tau_knn 0.06 -> 0.08" in told and "  crf (2)" in told, out
    assert "  localcut: n_instances 5 -> 6" in told, out  # of MaskCut, which has no tau_knn
    code, out = run(tmp_path, "mine.yaml", *words, "-v")
    assert code == 0 and "Params have changed" in out and "run: " not in out


def test_a_failed_step_is_told_once_with_its_error_and_log(config, tmp_path):
    for image in (tmp_path / "photos").iterdir():
        image.write_text("no image")
    code, out = run(tmp_path, "mine.yaml", "pseudo_masks")
    _, _, failed, reason, log, last = out.splitlines()
    assert code == 1 and "ERROR run: failed: listing the images of photos; log: runs/photos/logs/prepare.log" in failed
    assert "expected readable images" in reason and "logs/prepare.log" in log, out
    assert last == "cuts3d: error: a step failed, as said above -> mend the cause, then run the same command"


@pytest.mark.parametrize(
    ("words", "cores"),
    [
        ([], True),
        (["pseudo_masks", "-n"], True),
        (["--cores", "2"], False),
        (["--cores=2"], False),
        (["-c2"], False),
        (["-j", "2"], False),
        (["--executor", "slurm"], False),
        (["--profile", "mine"], False),
    ],
)
def test_all_cores_unless_told_otherwise(config, words, cores):
    found = snakemake_words(Path("mine.yaml"), words, {})
    assert found[0] == "--snakefile" and Path(found[1]) == SHIPPED / "Snakefile"
    own, triggers = ["--rerun-incomplete"], ["--rerun-triggers", "mtime", "params", "input"]
    assert found[2:] == [*own, *["--cores", "all"] * cores, *words, *triggers, "--configfile", str(config)]
    asked = snakemake_words(Path("mine.yaml"), [*words, "--rerun-triggers=code"], {})
    assert triggers[0] not in asked and "--rerun-triggers=code" in asked


def test_a_profile_of_the_environment_has_its_cores(config, monkeypatch):
    monkeypatch.setitem(workflow.BEFORE, "SNAKEMAKE_PROFILE", "mine")
    assert "--cores" not in snakemake_words(config, [], {})


@pytest.mark.parametrize("words", [["--profile", "slurm"], ["--profile=slurm"]])
def test_the_shipped_profile_stands_in_where_the_folder_has_none(config, tmp_path, words):
    found = " ".join(snakemake_words(config, words, {})).replace("=", " ")
    assert f"--profile {SHIPPED / 'slurm'} " in found
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm/config.yaml").write_text("executor: slurm\n")
    assert "--profile slurm " in " ".join(snakemake_words(config, words, {})).replace("=", " ")
    assert "--profile nosuch " in " ".join([*snakemake_words(config, ["--profile", "nosuch"], {})])


def test_jobs_get_the_environment_as_it_was(config, cuts3d, monkeypatch):
    """Limits of threads are for the commands themselves; Snakemake gives each job its own."""
    taken = {}

    def execve(program, words, environment):
        taken.update(program=program, words=words, environment=environment)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execve", execve)
    assert cuts3d("run", "mine.yaml", "--", "pseudo_masks")[0] == 0
    assert taken["program"] == sys.executable and "--" in taken["words"] and "pseudo_masks" in taken["words"]
    assert {**taken["environment"], "PATH": ""} == {**workflow.BEFORE, "PATH": ""}
    for words in ([], ["--executor", "local"], ["-n"]):  # the plain command above all
        taken.clear()
        assert cuts3d("run", "mine.yaml", *words)[0] == 0 and taken


def test_without_snakemake_one_line_names_what_brings_it(config, cuts3d, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, _, err = cuts3d("run", "mine.yaml")
    line = "cuts3d: error: Python package snakemake is missing -> pip install 'cuts3d[workflow]'\n"
    assert (code, err) == (1, line)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["nosuch.yaml"], 1, "configuration nosuch.yaml; expected a YAML file; found nothing -> `cuts3d init"),
        (["photos"], 1, "configuration photos; expected a YAML file; found a folder"),
        (["mine.yaml", "--configfile", "more.yaml"], 1, "option --configfile; expected one configuration, mine.yaml"),
        (["-n", "mine.yaml"], 2, "CONFIG comes before Snakemake's options: cuts3d run mine.yaml -n"),
        ([], 2, "Missing argument 'CONFIG'"),
    ],
)
def test_wrong_calls_are_refused_in_one_line(config, cuts3d, words, code, told):
    ended = cuts3d("run", *words)
    assert ended[0] == code and told in ended[2], ended


HIDE = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if "executor_plugin" in name else find(name, package)
"""


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "cuts3d_cli", "run", "mine.yaml", "-n", "--profile", "slurm"],
        ["-m", "cuts3d_cli", "run", "mine.yaml", "-n", "--executor=slurm"],
        ["-m", "cuts3d_cli", "run", "mine.yaml", "-n", "-e", "slurm"],
        ["-m", "snakemake", "-s", str(SHIPPED / "Snakefile"), "-n", "--profile", str(SHIPPED / "slurm")],
    ],
    ids=["profile", "executor", "short", "plain snakemake"],
)
def test_without_the_plug_in_of_an_executor_one_line_names_what_brings_it(config, tmp_path, words):
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(SHIPPED)])}
    ended = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr, ended.stderr
    *_, line = ended.stderr.splitlines()
    assert line.startswith("cuts3d: error: Snakemake's executor slurm is not installed; expected its plug-in "
                           "snakemake-executor-plugin-slurm -> pip install 'cuts3d[workflow]'")  # fmt: skip


def test_an_executor_that_is_there_passes(config):
    for name in ("local", "dryrun", "touch", "slurm"):
        workflow.check_executor(name)
