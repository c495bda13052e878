"""What is waited for before any work starts: the help, a run with nothing to do, the plan of 1300 shards.

    python benchmarks/workflow.py --repeat 3

"Nothing to do" is `snakemake` on the run of the configuration, where it is finished. The plan is a dry run of the
whole workflow on an image list of ImageNet's size: 1300 shards of 1000 images each.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import click
import yaml
from measuring import ROOT, median, seconds_of

from cuts3d_cli.tables import markdown_table

NOTHING = "Nothing to be done"


def snakemake(folder: Path, config_file: Path, *words: str) -> subprocess.CompletedProcess:
    """Run the workflow in a working directory."""
    command = [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "-d", folder, "--cores", "2"]
    return run([*command, "--configfile", config_file.resolve(), *words])


def run(command: list) -> subprocess.CompletedProcess:
    """Run a command.

    Raises:
        RuntimeError: it failed.
    """
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {(ended.stderr or ended.stdout).strip()[-500:]}")
    return ended


def time_help(repeat: int) -> list[float]:
    """Seconds of ``cuts3d --help``."""
    return [seconds_of(run, [sys.executable, "-m", "cuts3d_cli.cli.main", "--help"])[0] for _ in range(repeat)]


def time_no_work(config_file: Path, folder: Path, repeat: int) -> list[float]:
    """Seconds of a workflow with nothing to do; none where there is something to do."""
    planned = snakemake(folder, config_file, "-n")
    if NOTHING not in planned.stdout + planned.stderr:
        return []
    return [seconds_of(snakemake, folder, config_file)[0] for _ in range(repeat)]


def time_plan(shards: int, repeat: int) -> tuple[list[float], int]:
    """Seconds of a dry run of the whole workflow on many shards, and how many jobs it plans."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for sub in ("images", "depth"):
            (folder / sub).mkdir()
        (folder / "annotations.json").write_text("{}")
        (folder / "config.yaml").write_text(yaml.safe_dump(plan_config(folder, shards)))
        runs = [seconds_of(snakemake, folder, folder / "config.yaml", "-n", "--quiet", "rules") for _ in range(repeat)]
        return [seconds for seconds, _ in runs], _jobs(runs[0][1].stdout + runs[0][1].stderr)


def plan_config(folder: Path, shards: int) -> dict:
    """Settings of a run on many shards, with its baseline, and one shard of held-out images."""
    data = {"images": folder / "images", "depth_maps": folder / "depth", "annotations": folder / "annotations.json"}
    data = {key: str(path) for key, path in data.items()}
    held_out = {f"val_{key}": path for key, path in data.items()}
    return {"run": "out", "data": {**data, **held_out, "n_shards": shards, "val_shards": 1}}


def _jobs(text: str) -> int:
    """Number of jobs in the table that snakemake prints."""
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("total"))


def row(name: str, target: float, seconds: list[float]) -> list[str]:
    """A line of the table."""
    if not seconds:
        return [name, f"<= {target:g} s", "-", "-", "not measured: the run is not finished"]
    value = median(seconds)
    spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
    return [name, f"<= {target:g} s", f"{value:.2f}", spread, "pass" if value <= target else "miss"]


@click.command(help=__doc__)
@click.option("--config", "config_file", default=ROOT / "config.yaml", type=click.Path(path_type=Path))
@click.option("--folder", default=ROOT, type=click.Path(path_type=Path), help="Working directory of that run.")
@click.option("--shards", default=1300, show_default=True, help="Shards of the plan.")
@click.option("--repeat", default=3, show_default=True, help="Repetitions; medians are shown.")
def main(config_file: Path, folder: Path, shards: int, repeat: int) -> None:
    plan, jobs = time_plan(shards, repeat)
    rows = [
        row("cuts3d --help", 0.5, time_help(repeat)),
        row("snakemake, nothing to do", 15, time_no_work(config_file, folder, repeat)),
        row(f"snakemake -n, {shards} shards, {jobs} jobs", 30, plan),
    ]
    click.echo(markdown_table(["command", "target", "seconds", "range", ""], rows))


if __name__ == "__main__":
    main()
