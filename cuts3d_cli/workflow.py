"""Running Snakemake, and what the Snakefile takes from the package: its files, the configuration, errors of jobs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import yaml

from cuts3d_cli.config import Config, Section, check_thresholds, read_values, resolve
from cuts3d_cli.errors import ConfigError, Cuts3dError, StoreError
from cuts3d_cli.store.files import atomic_path
from cuts3d_cli.store.settings import settings_path
from cuts3d_cli.threads import BEFORE

FILES = Path(__file__).with_name("workflow_files")
"""The Snakefile and what goes with it: links to the top of a checkout, copies in a wheel."""

MAX_FAILURES = 10
"""Failed jobs whose error is shown when a workflow ends."""

MAX_FAILED_IMAGES = 20
"""Failed images that are named when a workflow ends."""

_ERROR = re.compile(r"^(?:cuts3d: error|Error|(?:\w+\.)*\w*(?:Error|Exception)): .*", re.MULTILINE)
"""A line that ends a failed command's log: ours, click's, or the last of a traceback."""

_FAILED_IMAGE = re.compile(r"^[\d:]+ WARNING ([\w-]+): (.+?) failed: (.*)$", re.MULTILINE)
"""What a stage's log says of an image (`pipeline.runner.for_each_image`)."""


_CORES = ("--cores", "-c", "--jobs", "-j", "--profile", "--workflow-profile", "--executor", "-e")
"""Options that say how much may run at once, or name what does."""

_TRIGGERS = ("mtime", "params", "input")
"""Of Snakemake's reasons to run a job again those that ``status`` knows; a stage's algorithm is one of its params."""


def run_snakemake(config_file: Path, words: Sequence[str]) -> NoReturn:
    """Replace this process by Snakemake on the package's workflow, in the current folder.

    Its exit code and what it does on Ctrl-C are those of the command.

    Args:
        config_file: the configuration.
        words: targets and options of Snakemake.

    Raises:
        Cuts3dError: no such configuration, or another one among the options.
        ModuleNotFoundError: Snakemake is not installed.
    """
    if not config_file.is_file():
        raise Cuts3dError(
            f"configuration {config_file}",
            expected="a YAML file",
            found="a folder" if config_file.is_dir() else "nothing",
            hint=f"`cuts3d init photos/ --out {config_file}` writes one for the images in photos/",
        )
    if another := next((word for word in words if word.split("=")[0] in ("--configfile", "--configfiles")), None):
        raise Cuts3dError(
            f"option {another}", expected=f"one configuration, {config_file}", found="two", hint="keep one of them"
        )
    if importlib.util.find_spec("snakemake") is None:
        raise ModuleNotFoundError(name="snakemake")
    if executor := _value(words, "--executor", "-e"):
        check_executor(executor)
    # -P: a file of the current folder must not stand in for a module
    command = [sys.executable, "-P", "-m", "snakemake", *snakemake_words(config_file, words)]
    path = os.pathsep.join([sysconfig.get_path("scripts"), BEFORE.get("PATH", os.defpath)])  # jobs call cuts3d
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, {**BEFORE, "PATH": path})


def snakemake_words(config_file: Path, words: Sequence[str]) -> list[str]:
    """Snakemake's command line: the package's Snakefile, all cores, the options given, the configuration.

    The number of cores is left to the options where they name one, a profile or an executor. A job is run again for
    `_TRIGGERS` unless they say otherwise: that a new version words a rule differently is no reason. The profile
    ``slurm`` is the package's own where Snakemake finds none of that name. What a killed Snakemake left unfinished is
    run again, as results appear whole or not at all.
    """
    chosen = "SNAKEMAKE_PROFILE" in BEFORE or any(_option(word) in _CORES for word in words)
    cores = [] if chosen else ["--cores", "all"]
    # --configfile takes any number of files, so targets must not follow it
    asked = any(_option(word) == "--rerun-triggers" for word in words)
    end = [*([] if asked else ["--rerun-triggers", *_TRIGGERS]), "--configfile", str(config_file.absolute())]
    snakefile = str((FILES / "Snakefile").resolve())
    return ["--snakefile", snakefile, "--rerun-incomplete", *cores, *_with_profiles(words), *end]


def _option(word: str) -> str:
    """The option that a word of a command line starts with: --cores=4 and -c4 give --cores and -c."""
    return word.split("=")[0] if word.startswith("--") else word[:2]


def _value(words: Sequence[str], long: str, short: str) -> str | None:
    """The value of an option in a command line, however it is written; None where it is not there."""
    for word, following in pairwise([*words, ""]):
        if word in (long, short):
            return following
        if _option(word) in (long, short):
            return word.removeprefix(f"{long}=").removeprefix(short).removeprefix("=")
    return None


def check_executor(name: str) -> None:
    """Check that Snakemake has an executor; if not, end the process with one line. The profile ``slurm`` calls this.

    Snakemake itself would only say that it knows no such choice.
    """
    module = f"snakemake_executor_plugin_{name.replace('-', '_')}"
    if name in ("local", "dryrun", "touch") or importlib.util.find_spec(module) is not None:
        return
    package = "'cuts3d[workflow]'" if name == "slurm" else module.replace("_", "-")
    error = Cuts3dError(
        f"Snakemake's executor {name} is not installed", expected=f"its plug-in {module.replace('_', '-')}",
        hint=f"pip install {package}, or leave out --profile and --executor to run on this machine",
    )  # fmt: skip
    print(f"cuts3d: error: {error}", file=sys.stderr)
    raise SystemExit(1)


def _with_profiles(words: Sequence[str]) -> list[str]:
    """The words with the package's own profiles by path, where they are named and Snakemake finds no other."""
    found = list(words)
    for index, word in enumerate(words):
        if word.startswith("--profile="):
            found[index] = f"--profile={_profile(word.removeprefix('--profile='))}"
        elif index and words[index - 1] == "--profile":
            found[index] = _profile(word)
    return found


def _profile(name: str) -> str:
    from snakemake.cli import get_profile_dir

    own = (FILES / name).resolve()
    known = Path(name).is_absolute() or get_profile_dir(name) is not None
    return str(own) if not known and (own / "config.yaml").is_file() else name


def write_workflow(folder: Path, *, overwrite: bool = False) -> None:
    """Write the Snakefile, its rules, environments and profile into a folder; not the configuration.

    Raises:
        Cuts3dError: one of them is there and ``overwrite`` is off.
    """
    found = sorted(path for pattern in ("*", "*/*") for path in FILES.glob(pattern) if path.is_file())
    files = {folder / path.relative_to(FILES): path for path in found}
    if not overwrite and (there := next((path for path in files if path.exists()), None)):
        raise Cuts3dError(
            f"file {there}", expected="no such file", found="one", hint="choose another --workflow or give --overwrite"
        )
    for target, path in files.items():
        with atomic_path(target) as temporary:
            shutil.copyfile(path, temporary)


def checked_config(
    values: dict[str, Any], source: str, *, files: Iterable[str | Path] = (), full: bool = False
) -> Config:
    """Resolve the workflow's configuration; a mistake ends the workflow with one line and exit code 1.

    Args:
        values: what the workflow's configuration files and ``--config`` say.
        source: their name in messages.
        files: the files, of which Snakemake's reader takes what ours refuses, such as a key given twice.
        full: whether a file with every key is among them, under which a preset would have no effect.
    """
    with _ending_with_a_line():
        for path in files:
            read_values(path)
        if full and values.get("preset", "embedded") != "embedded":
            raise ConfigError(
                f"{source}: preset {values['preset']} has no effect, as config.yaml sets every key",
                hint=f"`cuts3d init --preset {values['preset']} --out my.yaml`, then `cuts3d run my.yaml`",
            )
        config = resolve(values, source=source)
        if config.localcut.local_cut:
            check_thresholds(config.confidence.tau_knn_min, config.localcut.tau_knn)
        _check_run(config.run, source)
        _check_images(config, source)
    return config


@contextmanager
def _ending_with_a_line() -> Iterator[None]:
    """End the workflow with one line and exit code 1 where the block raises an error of ours."""
    try:
        yield
    except Cuts3dError as error:
        print(f"cuts3d: error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def _check_run(run: str, source: str) -> None:
    """Check that Snakemake can take the run's folder as part of its targets.

    Raises:
        ConfigError: it would take braces for wildcards, a line break for an end, nothing for the root of the disk.
    """
    wrong = next((char for char in "{}\r\n" if char in run), None)
    if wrong is None and run == run.strip() and run.strip("/") and not run.startswith("~"):
        return
    expected = "a folder, without braces, line breaks, spaces at its ends or ~, which only a shell replaces"
    raise ConfigError(f"{source}: run", expected=expected, found=repr(run))


def _check_images(config: Config, source: str) -> None:
    """Check that the folders of images are there, but not of a run that has listed them already.

    Such a run may be complete, and its images moved away; what it still lacks is then for its jobs to say.

    Raises:
        ConfigError: there is no such folder.
    """
    for key, base in (("images", Path(config.run)), ("val_images", Path(config.run) / "val")):
        folder = getattr(config.data, key)
        if folder is None or Path(folder).is_dir() or _listed(base) == Path(os.path.realpath(folder)):
            continue
        found = "a file" if Path(folder).exists() else "nothing"
        hint = None if Path(folder).is_absolute() else f"relative paths start in the current folder, {Path.cwd()}"
        raise ConfigError(f"{source}: data.{key} {folder}", expected="a folder of images", found=found, hint=hint)


def _listed(base: Path) -> Path | None:
    """The folder whose images are listed below ``base``."""
    from cuts3d_cli.store.layout import manifest_path
    from cuts3d_cli.store.manifest import read_manifest

    try:
        return read_manifest(manifest_path(base)).image_root
    except StoreError:
        return None


def failures(bases: Iterable[str], since: float) -> str:
    """The errors of the jobs that failed, each with its log; empty where no log tells any.

    Args:
        bases: folders with ``logs`` below.
        since: when the workflow started, in seconds of ``time.time``; older logs are of other workflows.
    """
    found = [f"{error}\n  log: {log}" for base in bases for log, _, error in _failed_jobs(Path(base), since)]
    if len(found) > MAX_FAILURES:
        found[MAX_FAILURES:] = [f"and {len(found) - MAX_FAILURES} more jobs"]
    return "\n".join(found)


def _failed_jobs(base: Path, since: float) -> Iterator[tuple[Path, str, str]]:
    """Log, its text and the error of each job below ``base`` that failed since a time."""
    for log in sorted((base / "logs").rglob("*.log")):
        if log.stat().st_mtime >= since and (errors := _ERROR.findall(text := log.read_text(errors="replace"))):
            yield log, text, errors[-1]


def failed_images(config: Config, since: float) -> str:
    """The images of a run that failed, each once with its reason; empty where none did.

    They are told by what the stages left and, for jobs that failed as a whole and left nothing, by their logs.

    Args:
        config: the configuration of the run.
        since: when the workflow started, in seconds of ``time.time``.
    """
    from cuts3d_cli.report import run_summary

    run, told = Path(config.run), run_summary.Steps()
    for base, images in ((run, run_summary.TRAINING), (run / "val", run_summary.HELD_OUT)):
        for _, text, _ in _failed_jobs(base, since):
            for step, name, reason in _FAILED_IMAGE.findall(text):
                told.setdefault(images, {}).setdefault(step, {})[name] = reason
    return "\n".join(run_summary.failure_lines(run, config, most=MAX_FAILED_IMAGES, more=told))


def ending(config: Config, since: float) -> str:
    """What a finished workflow says last: the scores, what is odd about the depth, and where masks, detector and
    report lie.

    Args:
        config: the configuration of the run.
        since: when the workflow started, in seconds of ``time.time``; an older report is of other masks.
    """
    from cuts3d_cli.pipeline.methods import OWN
    from cuts3d_cli.report.depth_facts import depth_of_sets
    from cuts3d_cli.report.notes import depth_notes
    from cuts3d_cli.store.layout import pseudo_masks_path, round_path

    run = Path(config.run)
    table, page = run / "results.txt", run / "report.html"
    is_new = table.exists() and table.stat().st_mtime >= since
    places = {"masks": pseudo_masks_path(run, OWN)}
    if config.trainings:
        places["detector"] = round_path(run, config.trainings[-1]) / "checkpoint.pth"
    if is_new:
        places["report"] = page
    lines = [f"{name}: {path.resolve()}\n" for name, path in places.items() if path.exists()]
    scores = f"{table.read_text()}\n" if is_new else ""
    lines = [f"note: {note}\n" for note in depth_notes(depth_of_sets(run))] + lines
    return scores + "".join(lines) + (where_detections_are(config) if is_new else "")


def where_detections_are(config: Config) -> str:
    """A line on the detections that the scores of a finished run do not tell of, or nothing."""
    from cuts3d_cli.report.run_summary import detections_command, unscored_detections

    if (path := unscored_detections(config)) is not None:
        return f"detections on the held-out images, which have no labels: {path}, drawn in the report\n"
    if command := detections_command(config.run, config.trainings):
        return f"to see what the detector finds: {command}\n"
    return ""


def take_back(workflow: Any) -> None:
    """Make the next call of a workflow that ended with an error run again what did not end well.

    Snakemake notes the new parameters and inputs of a failed job as if it had succeeded. Where all that follows is
    there from an earlier call, it would then find nothing to be done. Outputs of a job that was interrupted it takes
    for incomplete, but ours are whole: what a command writes appears in one step, and until then an earlier one stays.

    Args:
        workflow: Snakemake's.
    """
    persistence = workflow.persistence
    if not hasattr(persistence, "_write_record"):  # it is no part of Snakemake's interface
        return
    for job in workflow.dag.needrun_jobs():
        for output in job.output:
            record = persistence.metadata(output)
            persistence.cleanup_metadata(output)
            if record is not None:
                record.params = ["the last job failed"]
                persistence._write_record(str(output), record)


def settings_file(config: Config) -> Path:
    """Write the resolved configuration below the run, named by its content, and give its path.

    Every job of the workflow reads it. Running jobs keep theirs when the configuration changes.
    """
    values = config.model_dump(mode="json")
    path = settings_path(config.run, values)
    text = yaml.safe_dump(values, sort_keys=False)
    if not path.is_file() or path.read_bytes() != text.encode():
        with _ending_with_a_line(), atomic_path(path) as temporary:
            temporary.write_text(text)
    return path


def settings(name: str, section: Section) -> str:
    """A section's values as ``--set`` options, for a command that takes another section's as its own."""
    words = [f"--set={name}.{key}={json.dumps(value)}" for key, value in section.model_dump(mode="json").items()]
    return shlex.join(words)
