"""The ViTs by our names: what they are called elsewhere and whether their weights are at hand; imports no torch."""

from __future__ import annotations

from typing import NamedTuple

from cuts3d_cli.backends import model_weights
from cuts3d_cli.errors import ModelError


class Architecture(NamedTuple):
    """A ViT: timm's name with its pretrained tag, width, patch side in pixels, and tokens that are no patch."""

    timm_name: str
    tag: str
    channels: int
    patch_size: int
    prefix_tokens: int = 1

    @property
    def hub_name(self) -> str:
        """The name under which timm has pretrained weights."""
        return f"{self.timm_name}.{self.tag}"


ARCHITECTURES = {
    "dino-vits8": Architecture("vit_small_patch8_224", "dino", 384, 8),
    "dino-vitb8": Architecture("vit_base_patch8_224", "dino", 768, 8),
    "dino-vits16": Architecture("vit_small_patch16_224", "dino", 384, 16),
    "dino-vitb16": Architecture("vit_base_patch16_224", "dino", 768, 16),
    "dinov2-vits14": Architecture("vit_small_patch14_dinov2", "lvd142m", 384, 14),
    "dinov2-vitb14": Architecture("vit_base_patch14_dinov2", "lvd142m", 768, 14),
    "dinov2-vits14-reg": Architecture("vit_small_patch14_reg4_dinov2", "lvd142m", 384, 14, 5),
    "dinov2-vitb14-reg": Architecture("vit_base_patch14_reg4_dinov2", "lvd142m", 768, 14, 5),
    "dinov3-vits16": Architecture("vit_small_patch16_dinov3", "lvd1689m", 384, 16, 5),
    "dinov3-vitb16": Architecture("vit_base_patch16_dinov3", "lvd1689m", 768, 16, 5),
}

DIFFNCUTS = "diffncuts"

DIFFNCUTS_SIZES = {8: "dino-vits8", 16: "dino-vits16"}
"""DiffNCuts trained the ViT-S at either patch size; the file decides."""


EMBEDDED_BACKBONE = "dinov2-vits14"
"""The ViT on which the head of the embedded depth model stands."""


def ask_ahead(name: str, weights: str | None = None) -> None:
    """Begin to ask where the weights of a ViT may be had, if they are not at hand: importing torch takes as long."""
    if weights is None and name in ARCHITECTURES:
        model_weights.ask_ahead(name, ARCHITECTURES[name].hub_name)


def missing(name: str, weights: str | None = None) -> ModelError | None:
    """Why `vit.load` would find no weights, so far as it can be told without a download; None if nothing is known."""
    if weights is not None:
        return None
    return no_download() if name == DIFFNCUTS else model_weights.missing(name, ARCHITECTURES[name].hub_name)


def no_download() -> ModelError:
    """The error about the model that nobody offers for download."""
    return ModelError(
        f"backend {DIFFNCUTS} has no download",
        expected="features.weights, a checkpoint file of DiffNCuts",
        hint="get it from that project's page, or take --preset paper-dino, on the public DINO ViT-B/8",
    )
