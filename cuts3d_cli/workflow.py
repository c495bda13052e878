"""What the Snakefile takes from the package: its own files, the checked configuration, the errors of jobs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from cuts3d_cli.config import Config, Section, check_thresholds, resolve
from cuts3d_cli.errors import ConfigError, Cuts3dError, StoreError
from cuts3d_cli.store.files import atomic_path, fingerprint

FILES = Path(__file__).with_name("workflow_files")
"""The Snakefile and what goes with it: links to the top of a checkout, copies in a wheel."""

MAX_FAILURES = 10
"""Failed jobs whose error is shown when a workflow ends."""

_ERROR = re.compile(r"^(?:cuts3d: error|Error|(?:\w+\.)*\w*(?:Error|Exception)): .*", re.MULTILINE)
"""A line that ends a failed command's log: ours, click's, or the last of a traceback."""


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


def checked_config(values: dict[str, Any], source: str, *, full: bool = False) -> Config:
    """Resolve the workflow's configuration; a mistake ends the workflow with one line and exit code 1.

    Args:
        values: what the workflow's configuration files and ``--config`` say.
        source: their name in messages.
        full: whether a file with every key is among them, under which a preset would have no effect.
    """
    try:
        if full and values.get("preset", "embedded") != "embedded":
            raise ConfigError(
                f"{source}: preset {values['preset']} has no effect, as config.yaml sets every key",
                hint=f"`cuts3d init --preset {values['preset']} --out my.yaml`, then `snakemake --configfile my.yaml`",
            )
        config = resolve(values, source=source)
        if config.localcut.local_cut:
            check_thresholds(config.confidence.tau_knn_min, config.localcut.tau_knn)
        _check_images(config, source)
    except Cuts3dError as error:
        print(f"cuts3d: error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    return config


def _check_images(config: Config, source: str) -> None:
    """Check that the folders of images are there, but not of a run that has listed them already.

    Such a run may be complete, and its images moved away; what it still lacks is then for its jobs to say.

    Raises:
        ConfigError: there is no such folder.
    """
    for key, base in (("images", Path(config.run)), ("val_images", Path(config.run) / "val")):
        folder = getattr(config.data, key)
        if folder is None or Path(folder).is_dir() or _listed(base) == Path(folder).resolve():
            continue
        found = "a file" if Path(folder).exists() else "nothing"
        raise ConfigError(f"{source}: data.{key} {folder}", expected="a folder of images", found=found)


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
    logs = [log for base in bases for log in sorted(Path(base, "logs").rglob("*.log"))]
    found = []
    for log in logs:
        if log.stat().st_mtime >= since and (errors := _ERROR.findall(log.read_text(errors="replace"))):
            found.append(f"{errors[-1]}\n  log: {log}")
    if len(found) > MAX_FAILURES:
        found[MAX_FAILURES:] = [f"and {len(found) - MAX_FAILURES} more jobs"]
    return "\n".join(found)


def settings_file(config: Config) -> Path:
    """Write the resolved configuration below the run, named by its content, and give its path.

    Every job of the workflow reads it. Running jobs keep theirs when the configuration changes.
    """
    values = config.model_dump(mode="json")
    path = Path(config.run) / "settings" / f"{fingerprint(values)}.yaml"
    if not path.is_file():
        with atomic_path(path) as temporary:
            temporary.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def scoring(config: Config) -> dict[str, Any]:
    """What a score depends on beside the masks: the settings, and what folders of labels hold (names, sizes, times).

    Snakemake looks at a folder's own time alone, which a changed file in it leaves as it is.
    """
    values = config.evaluate.model_dump(mode="json")
    for key in ("annotations", "val_annotations"):
        if (name := getattr(config.data, key)) is not None and Path(name).is_dir():
            files = [(path.relative_to(name).as_posix(), (stat := path.stat()).st_size, stat.st_mtime_ns)
                     for path in sorted(Path(name).rglob("*")) if path.is_file()]  # fmt: skip
            values[key] = {"files": fingerprint(files), "ignore_labels": config.data.ignore_labels}
    return values


def settings(name: str, section: Section) -> str:
    """A section's values as ``--set`` options, for a command that takes another section's as its own."""
    words = [f"--set={name}.{key}={json.dumps(value)}" for key, value in section.model_dump(mode="json").items()]
    return shlex.join(words)
