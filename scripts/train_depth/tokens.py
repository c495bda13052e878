"""The frozen backbone's tokens, computed once per image and kept as float16 files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from cuts3d_cli.backends.depth_embedded import BLOCKS, backbone_tokens, grid_of
from cuts3d_cli.store.files import atomic_path


class TokenCache:
    """Tokens of images under ``folder``, one file per image, orientation and grid.

    Args:
        folder: where the files are; one sub-folder per backbone.
        backbone: the ViT.
        fingerprint: hash of its parameters.
    """

    def __init__(self, folder: Path, backbone: torch.nn.Module, fingerprint: str):
        self.folder = folder / f"{fingerprint[:12]}-blocks{'-'.join(str(block) for block in BLOCKS)}"
        self.backbone = backbone

    def path(self, key: str, grid: tuple[int, int], flip: bool) -> Path:
        """File of the image ``key`` (dataset/name)."""
        return self.folder / f"{key}{'-flip' if flip else ''}-{grid[0]}x{grid[1]}.npy"

    def get(self, key: str, rgb: np.ndarray, flip: bool = False, *, grid: tuple[int, int] | None = None) -> np.ndarray:
        """Tokens (4, 1 + rows * cols, C) float16 of ``rgb`` (H, W, 3) uint8, mirrored first where ``flip``."""
        grid = grid or grid_of(*rgb.shape[:2])
        path = self.path(key, grid, flip)
        if not path.is_file():
            device = next(self.backbone.parameters()).device
            half = torch.float16 if device.type == "cuda" else torch.bfloat16
            with torch.inference_mode(), torch.autocast(device.type, dtype=half):
                found = backbone_tokens(self.backbone, rgb[:, ::-1] if flip else rgb, grid)
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.save(file, found.half().cpu().numpy())
        return np.load(path)
