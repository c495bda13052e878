"""The embedded depth model: a small head on frozen DINOv2 ViT-S/14 tokens, its weights in the package.

The head reads the tokens of four blocks and, on a shallow path, the image's pixels, and predicts inverse depth up
to scale and shift. ``scripts/train_depth`` trains it; ``docs/depth_model.md`` is its model card.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from cuts3d_cli.backends import vit
from cuts3d_cli.backends.architectures import EMBEDDED_BACKBONE
from cuts3d_cli.backends.base import EMBEDDED_WEIGHTS, Convention
from cuts3d_cli.backends.torch_tools import resolve_device
from cuts3d_cli.errors import ModelError
from cuts3d_cli.log import logger
from cuts3d_cli.store.files import atomic_path

if TYPE_CHECKING:
    from cuts3d_cli.config import DepthConfig


WEIGHTS = EMBEDDED_WEIGHTS

PATCH = vit.ARCHITECTURES[EMBEDDED_BACKBONE].patch_size
"""Side of a backbone patch in pixels."""

BLOCKS = (2, 5, 8, 11)
"""Blocks (from 0) whose tokens the head reads."""

PATCHES = 1036
"""Patches of the working image, about: 28 x 37 (392 x 518 px) for an image of 3:4."""

FEWEST, MOST = 7, 148
"""Limits of either side of the grid; beyond them the image's aspect ratio gives way."""

PIXELS = 16
"""Image samples a patch side on the pixel path; the output has half as many."""


FINER = 4
"""Finer values a side of a coarse one."""


def grid_of(height: int, width: int, patches: int = PATCHES) -> tuple[int, int]:
    """Rows and columns of patches for an image: its aspect ratio, about ``patches`` in all."""
    rows = math.sqrt(patches * height / width)
    return tuple(min(max(round(side), FEWEST), MOST) for side in (rows, patches / rows))


def resized(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """``rgb`` (H, W, 3) uint8 at another size, without aliasing."""
    smaller = height * width < rgb.shape[0] * rgb.shape[1]
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def normalised(rgb: np.ndarray, device: torch.device) -> torch.Tensor:
    """``rgb`` (H, W, 3) uint8 as (1, 3, H, W) float32, normalised by ImageNet's mean and standard deviation."""
    return vit.normalised(torch.from_numpy(np.ascontiguousarray(rgb)).to(device).permute(2, 0, 1)[None].float() / 255)


def backbone_tokens(backbone: nn.Module, rgb: np.ndarray, grid: tuple[int, int]) -> torch.Tensor:
    """Tokens (4, 1 + rows * cols, C) of ``BLOCKS`` for ``rgb`` (H, W, 3) uint8, the class token first."""
    image = resized(rgb, grid[0] * PATCH, grid[1] * PATCH)
    found = backbone.forward_intermediates(
        normalised(image, next(backbone.parameters()).device),
        indices=list(BLOCKS),
        norm=False,
        output_fmt="NLC",
        return_prefix_tokens=True,
        intermediates_only=True,
    )
    return torch.stack([torch.cat([prefix[:, :1], patches], dim=1)[0] for patches, prefix in found])


def fingerprint(backbone: nn.Module) -> str:
    """Hash (SHA-256) over a model's parameters: names and float32 values, in the order of the names."""
    found = hashlib.sha256()
    for name, value in sorted(backbone.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


class DepthHead(nn.Module):
    """Inverse depth from backbone tokens and pixels.

    A linear map of the tokens gives depth per patch, which convolutions correct at two values a patch side. Each of
    the eight final ones is then a weighted mean of its nearest nine, the weights from the pixels (the convex
    upsampling of RAFT, Teed and Deng 2020): steps stay steps.

    Args:
        channels: width of the tokens.
        width: channels on the grid of patches.
        fine: channels on the grid of half patches.
    """

    def __init__(self, channels: int = 384, width: int = 128, fine: int = 80):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in BLOCKS)
        self.probe = nn.Linear(len(BLOCKS) * channels, 1)
        self.reduce = nn.Linear(len(BLOCKS) * channels, width)
        self.whole = nn.Linear(channels, width)
        self.context = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), *(Residual(width) for _ in range(3)))
        self.pixels = nn.ModuleList([_conv(12, 16), _conv(16, 24, stride=2), _conv(24, 32, stride=2)])
        self.lift = nn.Conv2d(width, fine, 1)
        self.merge = nn.Sequential(_conv(fine + 32, fine), Residual(fine))
        self.coarse = nn.Conv2d(fine, 1, 3, padding=1, padding_mode="replicate")
        nn.init.zeros_(self.coarse.weight)
        nn.init.zeros_(self.coarse.bias)
        self.weigh = nn.Sequential(nn.Conv2d(fine + 16 * FINER**2, 128, 1), nn.GELU(), nn.Conv2d(128, 9 * FINER**2, 1))

    def forward(self, tokens: torch.Tensor, image: torch.Tensor, *, fine: bool = True) -> torch.Tensor:
        """Inverse depth (B, 8 rows, 8 cols), near is large, scale and shift without meaning.

        Args:
            tokens: (B, 4, 1 + rows * cols, C), the class token first.
            image: (B, 3, 16 rows, 16 cols), normalised.
            fine: False leaves the upsampling out, for (B, 2 rows, 2 cols).
        """
        rows, cols = image.shape[2] // PIXELS, image.shape[3] // PIXELS
        joined = self.joined(tokens)
        first = self.probe(joined[:, 1:]).transpose(1, 2).unflatten(2, (rows, cols)).float()
        found = self.reduce(joined[:, 1:]) + self.whole(joined[:, :1, -self.whole.in_features :])
        found = self.context(found.transpose(1, 2).unflatten(2, (rows, cols)))
        finest = self.pixels[0](functional.pixel_unshuffle(image, 2))
        first, found = (
            functional.interpolate(values, scale_factor=2, mode="bilinear", align_corners=False)
            for values in (first, self.lift(found))
        )
        found = self.merge(torch.cat([found, self.pixels[2](self.pixels[1](finest))], dim=1))
        coarse = first[:, 0] + self.coarse(found)[:, 0].float()
        if not fine:
            return coarse
        weights = self.weigh(torch.cat([found, functional.pixel_unshuffle(finest, FINER)], dim=1))
        return upsampled(coarse, weights.float())

    def joined(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (B, 4, N, C) as (B, N, 4 C), each block's normalised."""
        return torch.cat([norm(block) for norm, block in zip(self.norms, tokens.unbind(1), strict=True)], dim=-1)


def upsampled(coarse: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """``coarse`` (B, H, W) ``FINER`` times as fine, each value a mean of the nearest nine, edges repeated.

    Args:
        coarse: the values.
        weights: (B, 9 * FINER ** 2, H, W), logits of the nine for each of the finer values.
    """
    height, width = coarse.shape[1:]
    around = functional.pad(coarse[:, None], (1, 1, 1, 1), mode="replicate")
    nine = [around[:, :, top : top + height, left : left + width] for top in range(3) for left in range(3)]
    shares = weights.unflatten(1, (9, FINER**2)).softmax(dim=1)
    mixed = sum(share * values for share, values in zip(shares.unbind(1), nine, strict=True))
    return functional.pixel_shuffle(mixed, FINER)[:, 0]


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside the identity (He et al. 2016)."""

    def __init__(self, width: int):
        super().__init__()
        self.inner = nn.Sequential(
            _conv(width, width), nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """``values`` (B, C, H, W) and what the convolutions add, not below 0."""
        return functional.relu(values + self.inner(values))


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class EmbeddedDepth:
    """Depth backend of a frozen backbone and a trained head.

    Args:
        backbone: DINOv2 ViT-S/14 as timm has it.
        head: the trained head.
        description: see ``DepthBackend``.
        device: where both run.
    """

    convention: Convention = "inverse"

    def __init__(self, backbone: nn.Module, head: DepthHead, description: str, device: torch.device):
        self.backbone = backbone.eval().requires_grad_(False).to(device)
        self.head = head.float().eval().requires_grad_(False).to(device)
        self.description = description

    def predict(self, rgb: np.ndarray, size: int) -> np.ndarray:
        """Inverse depth of ``rgb`` (H, W, 3) uint8 as (size, size) float32, near is large.

        The model sees the image in its own aspect ratio; only its output is made square.
        """
        return cv2.resize(self.predict_map(rgb), (size, size), interpolation=cv2.INTER_LINEAR)

    @torch.inference_mode()
    def predict_map(self, rgb: np.ndarray) -> np.ndarray:
        """Inverse depth (8 rows, 8 cols) float32 as the head gives it, in the image's aspect ratio."""
        grid = grid_of(*rgb.shape[:2])
        tokens = backbone_tokens(self.backbone, rgb, grid)
        return self.from_tokens(tokens, rgb)

    @torch.inference_mode()
    def from_tokens(self, tokens: torch.Tensor, rgb: np.ndarray) -> np.ndarray:
        """Inverse depth (8 rows, 8 cols) float32 from tokens (4, 1 + rows * cols, C) of ``rgb``."""
        device = next(self.head.parameters()).device
        grid = grid_of(*rgb.shape[:2])
        image = normalised(resized(rgb, grid[0] * PIXELS, grid[1] * PIXELS), device)
        return self.head(tokens[None].to(device).float(), image)[0].cpu().numpy()


def load(config: DepthConfig, *, device: str = "auto") -> EmbeddedDepth:
    """The embedded model, its head from the package or else from the file ``config.weights``.

    Raises:
        ConfigError: no such device.
        ModelError: the head's file is missing or damaged, or the backbone's weights cannot be had.
    """
    place = resolve_device(device)
    head, notes = read_head(config.weights or WEIGHTS)
    backbone = load_backbone()
    if notes.get("backbone") != fingerprint(backbone):
        logger.warning(
            "the embedded depth model was trained with other weights of %s; expect worse depth",
            EMBEDDED_BACKBONE,
        )
    version = notes.get("version", "unknown")
    return EmbeddedDepth(backbone, head, f"embedded depth model {version} on {EMBEDDED_BACKBONE}", place)


def load_backbone(weights: str | None = None) -> nn.Module:
    """The backbone on the CPU, from a file or else from where `vit.load` finds its weights.

    Raises:
        ModelError: there are none, or they are another model's.
    """
    return vit.load(EMBEDDED_BACKBONE, weights).model


def write_head(path: str | Path, head: DepthHead, notes: dict[str, str]) -> None:
    """Write ``head`` in half precision with ``notes`` (recipe, version, the backbone's fingerprint), atomically."""
    state = {
        name: (value.half() if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in head.state_dict().items()
    }
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata=notes)


def read_head(path: str | Path) -> tuple[DepthHead, dict[str, str]]:
    """A head and the notes it was written with.

    Raises:
        ModelError: the file is missing, damaged or of another model.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"weights of the embedded depth model in {path}", expected="a file", found="nothing")
    try:
        with safe_open(path, framework="pt") as file:
            notes = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
        head = DepthHead()
        head.load_state_dict(state)
    except (SafetensorError, OSError, RuntimeError) as error:
        found = str(error).strip().splitlines()
        raise ModelError(
            f"weights of the embedded depth model in {path} cannot be read",
            found=found[0][:200] if found else type(error).__name__,
            hint="reinstall cuts3d" if path == WEIGHTS else "depth.weights needs a head trained by scripts/train_depth",
        ) from None
    return head, notes
