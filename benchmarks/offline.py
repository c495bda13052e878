"""Time until a preset that needs weights fails where they can be had from nowhere: target, measured, pass or miss.

    python benchmarks/offline.py --repeat 3

Each command starts with empty caches on an image without a depth map. Model hub and package index are a server of this
benchmark: one that refuses connections, as a machine without a network does, and one that takes them and never answers,
as behind some firewalls. A command that does not fail, or not for want of weights, ends the benchmark.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
from measuring import median, thread_environment
from PIL import Image

from cuts3d_cli.tables import markdown_table

PRESETS = ("photo", "paper", "paper-dino", "maskcut", "tokencut")
NETWORKS = ("refuses", "keeps silent")
TARGET_S = 5.0


@contextmanager
def server(network: str) -> Iterator[str]:
    """A URL where nobody answers, in one of the ways of `NETWORKS`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url, taken = f"http://127.0.0.1:{listener.getsockname()[1]}", []
        if network == "refuses":
            listener.close()
            yield url
            return

        def take() -> None:
            try:
                while True:
                    taken.append(listener.accept())
            except OSError:
                return

        threading.Thread(target=take, daemon=True).start()
        yield url


def environment(url: str, folder: Path) -> dict[str, str]:
    """The environment of a command that finds no weights: empty caches, all servers at one URL."""
    left_out = ("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "HF_HUB_OFFLINE", "no_proxy", "NO_PROXY")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    servers = dict.fromkeys(("HF_ENDPOINT", "PIP_INDEX_URL", "http_proxy", "https_proxy"), url)
    caches = {name: str(folder / name) for name in ("CUTS3D_CACHE", "HF_HOME", "HF_HUB_CACHE", "TORCH_HOME")}
    return {**kept, **servers, **caches, "PIP_CONFIG_FILE": os.devnull, **thread_environment(1)}


def seconds_to_fail(preset: str, network: str) -> float:
    """Seconds that ``cuts3d masks`` takes with a preset until it says that weights are missing.

    Raises:
        RuntimeError: it ends otherwise.
    """
    with tempfile.TemporaryDirectory() as name, server(network) as url:
        folder = Path(name)
        drawn = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
        Image.fromarray(drawn).save(folder / "image.png")
        command = [sys.executable, "-m", "cuts3d_cli", "masks", "image.png", "--out", "out", "--preset", preset]
        start = time.perf_counter()
        ended = subprocess.run(
            command, cwd=folder, env=environment(url, folder), capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - start
    lines = [line for line in ended.stderr.splitlines() if "cuts3d: error" in line]
    if ended.returncode != 1 or len(lines) != 1 or "weights" not in lines[0]:
        raise RuntimeError(f"preset {preset}, the network {network}: exit code {ended.returncode}\n{ended.stderr}")
    return seconds


@click.command(help=__doc__)
@click.option("--preset", "presets", multiple=True, type=click.Choice(PRESETS), default=PRESETS, help="Repeatable.")
@click.option("--repeat", default=3, show_default=True, help="Repetitions.")
def main(presets: tuple[str, ...], repeat: int) -> None:
    rows = []
    for preset in presets:
        for network in NETWORKS:
            measured = [seconds_to_fail(preset, network) for _ in range(repeat)]
            spread = f"{min(measured):.2f} to {max(measured):.2f}"
            met = "pass" if max(measured) <= TARGET_S else "miss"
            rows.append([preset, network, f"<= {TARGET_S:g} s", f"{median(measured):.2f}", spread, met])
    click.echo(markdown_table(["preset", "network", "target", "seconds", "range", ""], rows))


if __name__ == "__main__":
    main()
