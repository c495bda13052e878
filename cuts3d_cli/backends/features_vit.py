"""Patch features of a self-supervised ViT: what the attention of a block projects its tokens to, or the tokens.

MaskCut and CutS3D take the keys of the last block of DINO. Other trainings keep what tells objects apart elsewhere:
keys of DINOv2 are nearly all alike, its queries and values are not (docs/choices.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.nn import functional

from cuts3d_cli.backends import vit
from cuts3d_cli.backends.torch_tools import resolve_device
from cuts3d_cli.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from cuts3d_cli.config import FeaturesConfig

Facet = Literal["key", "query", "value", "token"]

PROJECTIONS = ("query", "key", "value")
"""The facets of an attention, in the order in which timm holds them side by side."""

NAMES = {"query": "queries", "key": "keys", "value": "values", "token": "normalised tokens"}

GPU_BATCH = 8
"""Images that a GPU takes at once."""


class VitFeatures:
    """Feature backend of a ViT; tokens that are no patch (class token, registers) are dropped.

    Args:
        model: a ViT of timm, plain or Eva-style.
        description: see ``FeatureBackend``.
        device: where it runs; a GPU computes in half precision.
        facet: see `patch_features`.
        block: index of the block; -1 is the last.
        center: take the image's mean out of its features.
    """

    def __init__(
        self,
        model: nn.Module,
        description: str,
        device: torch.device,
        *,
        facet: Facet = "key",
        block: int = -1,
        center: bool = False,
    ):
        self.model = model.eval().requires_grad_(False).to(device)
        self.description, self.facet, self.block, self.center = description, facet, block, center
        self.batch_size = 1 if device.type == "cpu" else GPU_BATCH
        self._device = device

    def extract(self, working: np.ndarray) -> np.ndarray:
        """Features (C, G, G) float32 of the working image (S, S, 3) uint8."""
        return self.extract_batch(working[None])[0]

    @torch.inference_mode()
    def extract_batch(self, working: np.ndarray) -> np.ndarray:
        """Features (B, C, G, G) float32 of the working images (B, S, S, 3) uint8."""
        images = vit.normalised(torch.from_numpy(working).to(self._device).permute(0, 3, 1, 2).float() / 255)
        with torch.autocast(self._device.type, torch.float16, enabled=self._device.type != "cpu"):
            features = patch_features(self.model, images, facet=self.facet, block=self.block).float()
        if self.center:
            features -= features.mean(dim=(2, 3), keepdim=True)
        return features.cpu().numpy()


def load(config: FeaturesConfig, *, device: str = "auto") -> VitFeatures:
    """The ViT that ``config.backend`` names, from ``config.weights`` or else from where `vit.load` finds them.

    Raises:
        ConfigError: ``config.patch_size`` is not the model's, it has no such block, or there is no such device.
        ModelError: weights are missing, cannot be fetched or belong to another model.
    """
    name, place = config.backend, resolve_device(device)
    loaded = vit.load(name, config.weights)
    n_blocks, patch_size = len(loaded.model.blocks), loaded.architecture.patch_size
    if config.patch_size != patch_size:
        raise ConfigError(
            f"config key features.patch_size does not fit {name}", expected=str(patch_size), found=config.patch_size
        )
    if config.block is not None and config.block > n_blocks:
        raise ConfigError(
            f"config key features.block does not fit {name}", expected=f"at most {n_blocks}", found=config.block
        )
    which = "the last block" if config.block is None else f"block {config.block}"
    description = f"{name}: {NAMES[config.facet]} of {which}{', centred' if config.center else ''} ({loaded.source})"
    block = -1 if config.block is None else config.block - 1
    return VitFeatures(loaded.model, description, place, facet=config.facet, block=block, center=config.center)


def patch_features(model: nn.Module, images: torch.Tensor, *, facet: Facet = "key", block: int = -1) -> torch.Tensor:
    """Features of the patches at one block.

    Args:
        model: a ViT of timm.
        images: (B, 3, H, W), normalised; H and W multiples of the patch size.
        facet: ``query``, ``key`` or ``value``, as the block's attention projects them, all heads side by side, before
            any normalisation or rotary position (which would make the cosine depend on where two patches lie); or
            ``token``, the block's output, normalised as that of the last block is.
        block: index of the block; -1 is the last.

    Returns:
        (B, C, H / patch, W / patch).
    """
    block %= len(model.blocks)
    seen: list[torch.Tensor] = []
    attention = model.blocks[block].attn
    hook = attention.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    try:
        (tokens,) = model.forward_intermediates(
            images, indices=[block], norm=True, stop_early=True, output_fmt="NCHW", intermediates_only=True
        )
    finally:
        hook.remove()
    if facet == "token":
        return tokens
    found = projection(attention, seen[0], facet)[:, model.num_prefix_tokens :]
    return found.transpose(1, 2).unflatten(2, tokens.shape[2:])


def projection(attention: nn.Module, x: torch.Tensor, facet: Facet) -> torch.Tensor:
    """Queries, keys or values (B, n, C) that an attention of timm makes of its input (B, n, C)."""
    index = PROJECTIONS.index(facet)
    if attention.qkv is None:
        return (attention.q_proj, attention.k_proj, attention.v_proj)[index](x)
    weight = attention.qkv.weight.chunk(3)[index]
    if attention.qkv.bias is not None:
        return functional.linear(x, weight, attention.qkv.bias.chunk(3)[index])
    apart = (getattr(attention, f"{letter}_bias", None) for letter in "qkv")  # Eva keeps the biases beside
    return functional.linear(x, weight, tuple(apart)[index])
