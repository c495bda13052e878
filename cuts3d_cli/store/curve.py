"""Loss curves of trainings: JSON lines with ``iteration`` (from 1), ``lr`` and every loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_curve(path: str | Path) -> list[dict[str, Any]]:
    """Points of a loss curve, none where there is no file; what follows a damaged line is omitted."""
    points: list[dict[str, Any]] = []
    if not Path(path).is_file():
        return points
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            points.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return points
