"""Checkpoints that load under torch's ``weights_only`` protection: plain dicts of tensors, numbers and text."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cuts3d_cli.errors import ModelError
from cuts3d_cli.store.files import atomic_path

WRAPPERS = ("state_dict", "model", "teacher", "module")
"""Keys under which weight files of others hold the tensors."""


def save(path: str | Path, content: dict[str, Any]) -> None:
    """Write a dict of tensors and plain values; the file appears whole or not at all."""
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def load(path: str | Path) -> dict[str, Any]:
    """Read a file of tensors and plain values, on the CPU; nothing else is ever unpickled.

    Raises:
        ModelError: the file is missing, damaged, or holds other objects.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"no weights file {path}", hint="give the path of a downloaded file") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"weights file {path} cannot be read", expected="a file of tensors only", found=reason
        ) from None


def load_detector(path: str | Path) -> dict[str, Any]:
    """Read a detector checkpoint of ours: ``state_dict`` and ``meta``.

    Raises:
        ModelError: it is missing or not one of ours.
    """
    content = load(path)
    if not is_detector(content):
        raise ModelError(f"file {path}", expected="a checkpoint written by `cuts3d train`", found="other weights")
    return content


def is_detector(content: Any) -> bool:
    """Whether a loaded file is a detector checkpoint of ours."""
    return isinstance(content, dict) and "state_dict" in content and "detector" in content.get("meta", {})


def start_from(model: nn.Module, path: str | Path) -> str:
    """Put weights into a detector: all of it from a checkpoint of ours, else its backbone.

    Nothing is skipped silently: every parameter that should be filled must be, and what is left
    over may only be a classifier.

    Returns:
        ``"detector"`` or ``"backbone"``.

    Raises:
        ModelError: the weights are of another architecture.
    """
    content = load(path)
    if is_detector(content):
        fill(model, content["state_dict"], path)
        return "detector"
    fill(model.backbone, backbone_weights(content, path), path)
    return "backbone"


def backbone_weights(content: Any, path: str | Path) -> dict[str, torch.Tensor]:
    """Weights of a backbone with torchvision's key names, wrappers, prefixes and classifier taken off.

    Raises:
        ModelError: there are no tensors in it.
    """
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = (
        {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
        if isinstance(content, dict)
        else {}
    )
    if not tensors:
        raise ModelError(f"weights file {path}", expected="tensors by name", found="none")
    for prefix in ("module.", "backbone."):
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return {key: value for key, value in tensors.items() if not key.startswith(("fc.", "head.", "projection_head."))}


def fill(module: nn.Module, weights: dict[str, torch.Tensor], path: str | Path) -> None:
    """Load weights that must fit exactly.

    Raises:
        ModelError: a tensor is missing, unknown or of another shape.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in weights if key not in own]
    shapes = [key for key in weights if key in own and own[key].shape != weights[key].shape]
    for problem, keys in (("missing", missing), ("unknown", unexpected), ("of another shape", shapes)):
        if keys:
            name = type(module).__name__
            raise ModelError(
                f"weights file {path} does not fit {name}: {len(keys)} of {len(own)} tensors {problem}",
                found=f"first {keys[0]}",
                hint="use weights of the same architecture, with torchvision's key names",
            )
    module.load_state_dict(weights, strict=False)  # only counters of batch norm can be missing now
