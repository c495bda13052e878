"""Detector configs: Python modules with ``build(train) -> dict``, found by name here or by path.

The mapping holds ``model`` (MMDetection config of the detector), ``load`` and ``test`` (transforms
that resize an image for training and for prediction), ``optim_wrapper``, for a detector that
cannot start from nothing ``needs_init`` with the weights to choose from, and where training on labels
with classes resizes otherwise ``load_labels``.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

from cuts3d_cli.config import TrainConfig
from cuts3d_cli.errors import ConfigError

KEYS = ("model", "load", "test", "optim_wrapper")


def detector_names() -> list[str]:
    """Names of the shipped detector configs."""
    return sorted({path.stem for path in Path(__file__).parent.glob("*.py")} - {"__init__", "parts"})


def build_detector(train: TrainConfig) -> dict[str, Any]:
    """The detector named by ``train.detector``, as plain JSON-able values.

    Raises:
        ConfigError: there is no such config, or it does not follow the convention above.
    """
    module = _module(train.detector)
    build = getattr(module, "build", None)
    detector = build(train) if callable(build) else None
    if not isinstance(detector, dict) or any(key not in detector for key in KEYS):
        found = "no build(train)" if detector is None else f"keys {sorted(detector)}"
        raise ConfigError(
            f"detector config {train.detector}",
            expected=f"a function build(train) that returns {', '.join(KEYS)}",
            found=found,
        )
    # The same values whether freshly built or read back from a checkpoint.
    return json.loads(json.dumps(detector))


def _module(name: str | None) -> ModuleType:
    if name in detector_names():
        return importlib.import_module(f"{__name__}.{name}")
    path = Path(name or "")
    if path.suffix != ".py" or not path.is_file():
        raise ConfigError(
            "config key train.detector",
            expected=f"one of {', '.join(detector_names())} or a Python file",
            found=repr(name),
        )
    spec = importlib.util.spec_from_file_location(f"cuts3d_detector_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
