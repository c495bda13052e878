"""Reading everything that a run holds, to list what is damaged."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cuts3d_cli.config import read_values
from cuts3d_cli.errors import Cuts3dError, DamagedError, StoreError
from cuts3d_cli.log import progress
from cuts3d_cli.pipeline.results import open_listed
from cuts3d_cli.store.checksums import check_zip, parsed
from cuts3d_cli.store.layout import how_to_remake, manifest_path
from cuts3d_cli.store.manifest import Manifest, read_manifest
from cuts3d_cli.store.settings import check_settings
from cuts3d_cli.store.zarr_store import open_store

_SHARD = re.compile(r"\d{5}\.zarr")
"""Name of a shard's store; those of the cache have others."""


@dataclass(frozen=True)
class Damage:
    """A store or file that cannot be used as it is, and why, with what to do, in one line."""

    path: str
    problem: str


def verify(run: Path) -> tuple[Counter[str], list[Damage]]:
    """Read all stores, mask files, scores, settings, loss curves and checkpoints below a folder.

    Files that somebody edited on purpose, and said so, count as sound, as do those of others.

    Returns:
        How many there are of each kind, and those that are damaged, of another format version, or of other images
        than the list has; and lists that are missing.

    Raises:
        Cuts3dError: there is no such folder, or no file of a run in it.
    """
    found = list(_files(run)) if run.is_dir() else []
    if not found:
        raise Cuts3dError(f"run {run}", expected="a folder with results", found="none", hint="`cuts3d run` makes one")
    counts, damaged = Counter(kind for kind, _ in found), []
    for kind, path in progress(found, "verify", len(found)):
        try:
            _CHECKS[kind](path)
        except Cuts3dError as error:
            damaged.append(Damage(str(path), str(error)))
        except (OSError, ValueError) as error:
            cannot = DamagedError(f"file {path} cannot be read", found=str(error), hint=how_to_remake(path))
            damaged.append(Damage(str(path), str(cannot)))
    shards = [path for kind, path in found if kind == "store" and _SHARD.fullmatch(path.name)]
    return counts, [*damaged, *_misplaced(shards, {each.path for each in damaged})]


def _misplaced(stores: Iterable[Path], damaged: Collection[str]) -> Iterator[Damage]:
    """Image lists that are missing, and stores that hold other images than the list has for their shard."""
    lists: dict[Path, Manifest | None] = {}
    for path in stores:
        base = path.parents[3] if path.parents[2].name == "masks" else path.parents[1]
        if base not in lists:
            lists[base] = None
            try:
                lists[base] = read_manifest(manifest_path(base))
            except DamagedError:  # listed already
                pass
            except StoreError as error:
                yield Damage(str(manifest_path(base)), str(error))
        manifest = lists[base]
        if manifest is None or str(path) in damaged:
            continue
        try:
            open_listed(None, path, manifest.records(int(path.stem)))
        except DamagedError:
            pass
        except StoreError as error:
            yield Damage(str(path), str(error))


def _files(run: Path) -> Iterator[tuple[str, Path]]:
    """The stores and files below a run by their kind, in order; not those that are being written."""
    for folder, folders, names in os.walk(run):
        for name in sorted(folders):
            if name.endswith(".zarr") and not name.startswith("."):
                yield "store", Path(folder) / name
        folders[:] = sorted(name for name in folders if not name.endswith(".zarr") and not name.startswith("."))
        for name in sorted(names):
            kind = _KINDS.get(Path(name).suffix)
            if kind is not None and not name.startswith("."):
                yield kind, Path(folder) / name


def _check_lines(path: Path) -> None:
    if path.name == manifest_path("").name:
        read_manifest(path).records()
        return
    for line in path.read_bytes().splitlines():
        json.loads(line)


def _check_settings(path: Path) -> None:
    check_settings(path, read_values(path))


_KINDS = {".json": "JSON file", ".jsonl": "list", ".pth": "checkpoint", ".yaml": "settings file"}
_CHECKS = {
    "store": lambda path: open_store(path).check_values(),
    "JSON file": lambda path: parsed(path, path.read_bytes()),
    "list": _check_lines,
    "checkpoint": check_zip,
    "settings file": _check_settings,
}
"""How a store or file is checked, by its kind."""
