"""Checkpoints that load under torch's ``weights_only`` protection: plain dicts of tensors, numbers and text."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cuts3d_cli.errors import ModelError
from cuts3d_cli.store.checksums import check_zip
from cuts3d_cli.store.files import atomic_path, digest_file

WRAPPERS = ("state_dict", "model", "teacher", "module")
"""Keys under which weight files of others hold the tensors."""

TRUSTED = (
    'where you trust it, export its weights: python -c "import pickle, torch; m = {read}; '
    "torch.save({{'model': {{k: torch.as_tensor(v) for k, v in m['model'].items()}}}}, 'weights.pth')\""
)
READ_PICKLE, READ_TORCH = "pickle.load(open('{}', 'rb'))", "torch.load('{}', weights_only=False)"


def save(path: str | Path, content: dict[str, Any]) -> None:
    """Write a dict of tensors and plain values; the file is written atomically.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:  # torch's own file hides why writing failed
        try:
            torch.save(content, file)
        except RuntimeError as error:  # of the end of the archive, after writing failed
            if (cause := _disk_error(error)) is None:
                raise
            raise cause from None


def _disk_error(error: BaseException) -> OSError | None:
    """The failed writing that led to an error, if any did."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, OSError):
        seen = seen.__context__
    return seen


def load(path: str | Path) -> dict[str, Any]:
    """Read a file of tensors and plain values, on the CPU; nothing else is ever unpickled.

    Raises:
        DamagedError: a part of it does not fit its checksum.
        ModelError: the file is missing, cut off, or holds other objects.
    """
    if Path(path).suffix == ".pkl" and Path(path).is_file():
        raise ModelError(
            f"weights file {path} is a pickle, which can execute code when read",
            expected="a file of tensors only",
            hint=TRUSTED.format(read=READ_PICKLE.format(path)),
        )
    check_zip(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"no weights file {path}", hint="give the path of a downloaded file") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        refused = isinstance(error, pickle.UnpicklingError) and _is_pickle(path)
        raise ModelError(
            f"weights file {path} cannot be read",
            expected="a file of tensors only",
            found=_reason(error),
            hint=TRUSTED.format(read=READ_TORCH.format(path)) if refused else None,
        ) from None


def _is_pickle(path: str | Path) -> bool:
    """Whether a file starts as a pickle does, or as the zip file that torch puts one into."""
    with Path(path).open("rb") as file:
        return file.read(2) in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK")


def _reason(error: Exception) -> str:
    """What was wrong, without torch's advice on how to read it all the same."""
    text = str(error).split("WeightsUnpickler error:")[-1].split(" was not an allowed global")[0].strip()
    return text.splitlines()[0] if text else type(error).__name__


def load_detector(path: str | Path) -> dict[str, Any]:
    """Read a detector checkpoint: ``state_dict`` and ``meta``; one in detectron2's format is converted.

    Raises:
        ModelError: it is missing, neither of ours nor of CutLER's format, or of another architecture.
    """
    from cuts3d_cli.detector import d2_checkpoint

    content = load(path)
    if is_detector(content):
        return content
    if d2_checkpoint.is_detectron2(content):
        return d2_checkpoint.from_detectron2(content, path, digest_file(path))
    raise ModelError(
        f"file {path}", expected="a checkpoint written by `cuts3d train`, or one of CutLER's", found="other weights"
    )


def is_detector(content: Any) -> bool:
    """Whether a loaded file is a detector checkpoint of ours."""
    return isinstance(content, dict) and "state_dict" in content and "detector" in content.get("meta", {})


def start_from(
    model: nn.Module,
    path: str | Path,
    new_layers: Callable[[nn.Module, dict[str, Any]], dict[str, torch.Tensor]] | None = None,
) -> str:
    """Put weights into a detector: all of it from a checkpoint of ours or CutLER's, else its backbone.

    Nothing is skipped silently: every parameter that should be filled must be, and what is left
    over may only be a classifier.

    Args:
        model: the detector.
        path: the weights.
        new_layers: gives, from the model and a checkpoint's ``meta``, the tensors of the model that take the
            place of the checkpoint's.

    Returns:
        ``"detector"`` or ``"backbone"``.

    Raises:
        ModelError: the weights are of another architecture.
    """
    from cuts3d_cli.detector import d2_checkpoint

    content = load(path)
    if d2_checkpoint.is_detectron2(content):
        content = d2_checkpoint.from_detectron2(content, path)
    if is_detector(content):
        replaced = new_layers(model, content["meta"]) if new_layers is not None else {}
        fill(model, {**content["state_dict"], **replaced}, path)
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
        ModelError: a tensor is missing, unknown or of a different shape.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in weights if key not in own]
    shapes = [key for key in weights if key in own and own[key].shape != weights[key].shape]
    for problem, keys in (("missing", missing), ("unknown", unexpected), ("of a different shape", shapes)):
        if keys:
            name = type(module).__name__
            raise ModelError(
                f"weights file {path} does not fit {name}: {len(keys)} of {len(own)} tensors {problem}",
                found=f"first {keys[0]}",
                hint="use weights of the same architecture, with torchvision's key names",
            )
    module.load_state_dict(weights, strict=False)  # only counters of batch norm can be missing now
