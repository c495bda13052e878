"""Monocular depth models of transformers, with what each predicts: metres or inverse depth.

Weights are downloaded by the library, or read from a local folder named in ``depth.weights``: the
model's repository as fetched elsewhere (``config.json``, ``preprocessor_config.json``,
``model.safetensors``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from cuts3d_cli.backends.base import WITHOUT_MODEL, Convention
from cuts3d_cli.backends.model_weights import download, not_here
from cuts3d_cli.backends.network import hub_answers
from cuts3d_cli.backends.torch_tools import resolve_device
from cuts3d_cli.errors import ModelError

if TYPE_CHECKING:
    from cuts3d_cli.config import DepthConfig


class Model(NamedTuple):
    """A model's repository on the hub, its ``model_type`` in transformers, and what it predicts."""

    repository: str
    model_type: str
    convention: Convention


_V2 = "depth-anything/Depth-Anything-V2-"

MODELS = {
    "depth-anything-v2-small": Model(_V2 + "Small-hf", "depth_anything", "inverse"),
    "depth-anything-v2-base": Model(_V2 + "Base-hf", "depth_anything", "inverse"),
    "depth-anything-v2-large": Model(_V2 + "Large-hf", "depth_anything", "inverse"),
    "depth-anything-v2-metric-indoor": Model(_V2 + "Metric-Indoor-Small-hf", "depth_anything", "metric"),
    "depth-anything-v2-metric-outdoor": Model(_V2 + "Metric-Outdoor-Small-hf", "depth_anything", "metric"),
    "zoedepth": Model("Intel/zoedepth-nyu-kitti", "zoedepth", "metric"),
    "midas-dpt-large": Model("Intel/dpt-large", "dpt", "inverse"),
}


FILES = ("config.json", "preprocessor_config.json", "model.safetensors")
"""What a model needs of its repository."""

UNUSED = "fusion_stage.layers.0.residual_layer1"
"""Parameters that DPT-like models declare and never use; published weights come without them."""


class TransformersDepth:
    """Depth backend around a depth-estimation model of transformers and its image processor."""

    def __init__(self, model, processor, convention: Convention, description: str, device: torch.device):
        self.model, self.processor = model.eval().requires_grad_(False).to(device), processor
        self.convention, self.description = convention, description
        self._device = device

    @torch.inference_mode()
    def predict(self, rgb: np.ndarray, size: int) -> np.ndarray:
        """Raw depth of ``rgb`` (H, W, 3) uint8 as (size, size) float32, in ``convention``.

        The model sees the image in its own aspect ratio; only its output is made square.
        """
        inputs = self.processor(images=rgb, return_tensors="pt", input_data_format="channels_last").to(self._device)
        outputs = self.model(**inputs)
        sizes: dict[str, list] = {"target_sizes": [(size, size)]}
        if self.model.config.model_type == "zoedepth":
            # ZoeDepth's processor pads the image; without the source size the padding stays in the map.
            sizes["source_sizes"] = [rgb.shape[:2]]
        found = self.processor.post_process_depth_estimation(outputs, **sizes)[0]["predicted_depth"]
        return found.squeeze().float().cpu().numpy()


def load(config: DepthConfig, *, device: str = "auto") -> TransformersDepth:
    """The model that ``config.backend`` names, from the folder ``config.weights`` or else downloaded.

    Raises:
        ConfigError: no such device.
        ModelError: weights are missing, cannot be fetched or belong to another model.
    """
    name = config.backend
    entry, place = MODELS[name], resolve_device(device)
    source = entry.repository if config.weights is None else _local_folder(name, config.weights)
    # Where the hub is out of reach its client would retry for half a minute before it looks into its cache.
    local = config.weights is not None or not hub_answers()
    if config.weights is None and local and not _is_cached(entry.repository):
        raise not_here(name, entry.repository, FILES, "depth.weights", without=WITHOUT_MODEL)
    try:
        from transformers import AutoConfig, AutoImageProcessor, AutoModelForDepthEstimation
    except ImportError as error:
        raise ModelError(
            f"backend {name} needs transformers", found=str(error), hint="pip install 'cuts3d[models]'"
        ) from error
    with download(name, f"the hub ({source})" if config.weights is None else source, "depth.weights"):
        options = {"local_files_only": local}
        _check(name, entry, AutoConfig.from_pretrained(source, **options), source)
        model, report = AutoModelForDepthEstimation.from_pretrained(source, output_loading_info=True, **options)
        missing = sorted(key for key in report["missing_keys"] if UNUSED not in key)
        if missing:
            raise ModelError(f"weights of {name} in {source} lack {len(missing)} parameters", found=f"no {missing[0]}")
        processor = AutoImageProcessor.from_pretrained(source, **options)
    return TransformersDepth(model, processor, entry.convention, f"{name} ({source})", place)


def _is_cached(repository: str) -> bool:
    """Whether the hub's client has fetched a model before, so far as its first file tells."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repository, FILES[0]), str)


def _local_folder(name: str, weights: str) -> str:
    path = Path(weights)
    folder = path.parent if path.is_file() else path
    for needed in FILES[:2]:
        if not (folder / needed).is_file():
            raise ModelError(
                f"weights of {name} in {weights}",
                expected=f"a folder with {', '.join(FILES)}",
                found=f"no {needed}",
                hint=f"copy the repository {MODELS[name].repository} from the hub",
            )
    return str(folder)


def _check(name: str, entry: Model, found, source: str) -> None:
    """Refuse another model's files: its depth might run the other way."""
    if found.model_type != entry.model_type:
        raise ModelError(
            f"weights of {name} in {source}", expected=f"a model of type {entry.model_type}", found=found.model_type
        )
    if entry.model_type == "depth_anything":
        wanted = "metric" if entry.convention == "metric" else "relative"
        if found.depth_estimation_type != wanted:
            raise ModelError(
                f"weights of {name} in {source}", expected=f"{wanted} depth", found=found.depth_estimation_type
            )
