"""What the torch backends share: the device, weight files that load without unpickling."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

from cuts3d_cli.errors import ConfigError, ModelError, first_line
from cuts3d_cli.store.checksums import check_zip


def resolve_device(name: str) -> torch.device:
    """Device for ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError("config key device", expected="auto, cpu, cuda or cuda:N", found=repr(name)) from None
    n_gpus = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= n_gpus:
        found = f"{name} with {n_gpus} visible" if n_gpus else f"{name} where torch sees no GPU"
        raise ConfigError("config key device", expected="a GPU on this machine", found=found, hint="use auto or cpu")
    return device


def read_weights(path: str | Path) -> dict:
    """Content of a weights file (``.safetensors``, else torch's format), tensors on the CPU.

    Torch files load with ``weights_only``, so that a file from anywhere cannot run code.

    Raises:
        DamagedError: it is empty or cut off, or a part of it does not fit its checksum.
        ModelError: missing, unreadable, or holding more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"weights file {path}", expected="a file", found="a folder" if path.is_dir() else "nothing")
    check_zip(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"weights file {path} contains more than tensors and is not loaded",
            expected="a state dict saved with torch.save",
            hint="if you trust it, export model.state_dict() from it",
        ) from None
    except Exception as error:  # safetensors and torch raise many types on damage, none in common
        raise ModelError(f"weights file {path} cannot be read", found=first_line(error)) from None
    if not isinstance(content, dict):
        raise ModelError(f"weights file {path}", expected="a state dict", found=type(content).__name__)
    return content
