"""Self-supervised ViT features: the keys of the last block's attention, as MaskCut and CutS3D take them.

Two different files of DINO ViT-S/8 are about, of the same shapes: timm, torch hub and DINO's README
have ``dino_deitsmall8_pretrain.pth``; CutLER, TokenCut and DiffNCuts' own comparison load
``dino_deitsmall8_300ep_pretrain.pth``. ``dino-vits8`` downloads the former; for the latter give
its file in ``features.weights``. Of the ViT-B/8 there is one.

``diffncuts`` is a ViT-S fine-tuned by DiffNCuts; its file comes from that project's page and has no
licence, so it is never downloaded here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from cuts3d_cli.backends.torch_tools import download, read_weights, resolve_device
from cuts3d_cli.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

    from cuts3d_cli.config import FeaturesConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

WRAPPERS = ("state_dict", "model", "teacher")
"""Keys under which training checkpoints keep the model."""

PREFIXES = ("module.", "net.", "backbone.")
"""What training wrappers put before the names of the parameters."""

HEADS = ("head.", "head1.", "head2.", "head2d_proj.", "head2d_pred.", "fc_norm.")
"""Training heads of DINO and DiffNCuts, not part of the features."""


class Architecture(NamedTuple):
    """A ViT: timm's name with its pretrained tag (None: weights come as a file), width and patch side in pixels."""

    timm_name: str
    tag: str | None
    channels: int
    patch_size: int


ARCHITECTURES = {
    "dino-vits8": Architecture("vit_small_patch8_224", "dino", 384, 8),
    "dino-vitb8": Architecture("vit_base_patch8_224", "dino", 768, 8),
    "dino-vits16": Architecture("vit_small_patch16_224", "dino", 384, 16),
    "dino-vitb16": Architecture("vit_base_patch16_224", "dino", 768, 16),
}

DIFFNCUTS_SIZES = {8: "dino-vits8", 16: "dino-vits16"}
"""DiffNCuts trained the ViT-S at either patch size; the file decides."""


class VitKeys:
    """Feature backend of a ViT: keys of the last block, all heads side by side, CLS dropped.

    Args:
        model: a plain timm ViT with one leading class token.
        description: see ``FeatureBackend``.
        device: where it runs.
    """

    def __init__(self, model: VisionTransformer, description: str, device: torch.device):
        self.model = model.eval().requires_grad_(False).to(device)
        self.description = description
        self._device = device
        self._mean = torch.tensor(IMAGENET_MEAN, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(IMAGENET_STD, device=device).view(1, 3, 1, 1)

    @torch.inference_mode()
    def extract(self, working: np.ndarray) -> np.ndarray:
        """Features (C, G, G) float32 of the working image (S, S, 3) uint8."""
        image = torch.from_numpy(working).to(self._device).permute(2, 0, 1)[None].float() / 255
        keys = last_block_keys(self.model, (image - self._mean) / self._std)
        return keys[0].float().cpu().numpy()


def load(config: FeaturesConfig, *, device: str = "auto") -> VitKeys:
    """The ViT that ``config.backend`` names, from ``config.weights`` or else downloaded by timm.

    Raises:
        ConfigError: ``config.patch_size`` is not the model's, or there is no such device.
        ModelError: weights are missing, cannot be fetched or belong to another model.
    """
    name, place = config.backend, resolve_device(device)
    state = None if config.weights is None else backbone_state(read_weights(config.weights), config.weights)
    architecture = _diffncuts(config, state) if name == "diffncuts" else ARCHITECTURES[name]
    if config.patch_size != architecture.patch_size:
        raise ConfigError(
            f"config key features.patch_size does not fit {name}",
            expected=str(architecture.patch_size),
            found=str(config.patch_size),
        )
    model = build(architecture, name, pretrained=state is None)
    if state is not None:
        fill(model, state, name, config.weights)
    source = config.weights or f"{architecture.timm_name}.{architecture.tag} of timm"
    return VitKeys(model, f"{name}: keys of the last block ({source})", place)


def build(architecture: Architecture, name: str, *, pretrained: bool) -> VisionTransformer:
    """A timm ViT that takes images of any size, with random or downloaded weights.

    Raises:
        ModelError: the weights cannot be fetched.
    """
    import timm

    options = {"num_classes": 0, "dynamic_img_size": True}
    if not pretrained:
        return timm.create_model(architecture.timm_name, pretrained=False, **options)
    full_name = f"{architecture.timm_name}.{architecture.tag}"
    with download(name, f"the hub (timm {full_name})", "features.weights"):
        return timm.create_model(full_name, pretrained=True, **options)


def last_block_keys(model: VisionTransformer, images: torch.Tensor) -> torch.Tensor:
    """Keys of the last block's attention.

    Args:
        images: (B, 3, H, W), normalised; H and W multiples of the patch size.

    Returns:
        (B, C, H / patch, W / patch), the heads of a token side by side.
    """
    taken: list[torch.Tensor] = []
    last = model.blocks[-1].attn.qkv.register_forward_hook(lambda _module, _args, out: taken.append(out))
    try:
        model.forward_features(images)
    finally:
        last.remove()
    channels = taken[0].shape[-1] // 3
    keys = taken[0][:, model.num_prefix_tokens :, channels : 2 * channels]  # q, k, v lie side by side
    patch_h, patch_w = model.patch_embed.patch_size
    return keys.transpose(1, 2).unflatten(2, (images.shape[2] // patch_h, images.shape[3] // patch_w))


def backbone_state(content: dict, path: str) -> dict[str, torch.Tensor]:
    """The ViT's own parameters out of a checkpoint: unwrapped, prefixes stripped, heads dropped.

    Raises:
        ModelError: there are none.
    """
    for key in WRAPPERS:
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    state = {}
    for name, value in content.items():
        while any(name.startswith(prefix) for prefix in PREFIXES):
            name = name.split(".", 1)[1]
        if isinstance(value, torch.Tensor) and not name.startswith(HEADS):
            state[name] = value
    if "patch_embed.proj.weight" not in state:
        raise ModelError(
            f"weights file {path} is no ViT's",
            expected="a parameter patch_embed.proj.weight (DINO's or timm's names)",
            found=", ".join(list(content)[:3]) + ", ..." if content else "nothing",
        )
    return state


def fill(model: VisionTransformer, state: dict[str, torch.Tensor], name: str, path: str) -> None:
    """Load ``state`` into ``model``; every parameter must be there and fit.

    Raises:
        ModelError: a parameter is missing, too many or of another shape.
    """
    own = model.state_dict()
    for key, value in own.items():
        if key in state and state[key].shape != value.shape:
            raise ModelError(
                f"weights file {path} is not of {name}: {key}",
                expected=f"shape {tuple(value.shape)}",
                found=str(tuple(state[key].shape)),
            )
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    for what, keys in (("lacks", missing), ("has unknown", extra)):
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise ModelError(f"weights file {path} is not of {name}: it {what} {', '.join(keys[:3])}{more}")
    model.load_state_dict(state)


def _diffncuts(config: FeaturesConfig, state: dict[str, torch.Tensor] | None) -> Architecture:
    if state is None:
        raise ModelError(
            "backend diffncuts has no download",
            expected="features.weights, a checkpoint file of DiffNCuts",
            hint="get it from that project's page, or use dino-vitb8",
        )
    patch = state["patch_embed.proj.weight"].shape[-1]
    if patch not in DIFFNCUTS_SIZES:
        raise ModelError(
            f"weights file {config.weights}", expected="a ViT with patches of 8 or 16 px", found=f"{patch} px"
        )
    return ARCHITECTURES[DIFFNCUTS_SIZES[patch]]
