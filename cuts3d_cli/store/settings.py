"""The configurations that the jobs of a workflow read: files of a run that are named by the hash of their content."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cuts3d_cli.errors import DamagedError, StoreError
from cuts3d_cli.store.checksums import read_own
from cuts3d_cli.store.files import fingerprint, write_json

FOLDER = "settings"

LAST = "last.json"
"""File among them that names the one of the last workflow that made something, or began to."""


def settings_path(run: str | Path, values: Any) -> Path:
    """Where a configuration lies."""
    return Path(run) / FOLDER / f"{fingerprint(values)}.yaml"


def note_settings(path: Path) -> None:
    """Note that a workflow makes something under a configuration; a mere look at what it would make notes nothing."""
    write_json(path.with_name(LAST), {"settings": path.name})


def last_settings(run: str | Path) -> Path | None:
    """The configuration of the last workflow that made something of a run; None where that is not known."""
    folder = Path(run) / FOLDER
    try:
        path = folder / str(read_own(folder / LAST)["settings"])
    except (StoreError, KeyError):
        return None
    return path if path.is_file() else None


def check_settings(path: Path, values: Any) -> None:
    """Check that such a file holds what its name says; other files pass.

    Args:
        path: the file.
        values: its content.

    Raises:
        DamagedError: it was changed.
    """
    own = path.parent.name == FOLDER and re.fullmatch("[0-9a-f]{20}", path.stem)
    if own and fingerprint(values) != path.stem:
        raise DamagedError(
            f"settings {path} are damaged, or were edited",
            expected="the settings that their name is the hash of",
            hint="`cuts3d run` with your own configuration writes them again; edit that one",
            path=path,
        )
