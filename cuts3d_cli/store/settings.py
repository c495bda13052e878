"""The configurations that the jobs of a workflow read: files of a run that are named by the hash of their content."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cuts3d_cli.errors import DamagedError
from cuts3d_cli.store.files import fingerprint

FOLDER = "settings"


def settings_path(run: str | Path, values: Any) -> Path:
    """Where a configuration lies."""
    return Path(run) / FOLDER / f"{fingerprint(values)}.yaml"


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
