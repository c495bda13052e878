"""Checkpoints of the released detector (detectron2's format) to ours and back.

Every tensor is renamed, none is changed: channels, box coding, class order and anchors are the same on
both sides (``docs/detector.md``). What is no weight (pixel statistics, anchors) is compared with ours
and kept for the way back; what does not fit is an error with the first such key.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from torch import Tensor, nn

import cuts3d_cli.detector  # noqa: F401  (registers our classes)
from cuts3d_cli import __version__
from cuts3d_cli.config import TrainConfig
from cuts3d_cli.detector.configs import build_detector, parts
from cuts3d_cli.errors import ModelError
from cuts3d_cli.log import logger
from cuts3d_cli.store.files import fingerprint

CASCADE, SINGLE = "paper_cascade", "paper_mask_rcnn"
COUNTER = "num_batches_tracked"
PLAIN = (int, float, str, bool)

NAMES = (
    (r"backbone\.conv1", "backbone.bottom_up.stem.conv1"),
    (r"backbone\.bn1", "backbone.bottom_up.stem.conv1.norm"),
    (r"backbone\.layer(\d)\.(\d+)\.conv(\d)", "backbone.bottom_up.res{0+1}.{1}.conv{2}"),
    (r"backbone\.layer(\d)\.(\d+)\.bn(\d)", "backbone.bottom_up.res{0+1}.{1}.conv{2}.norm"),
    (r"backbone\.layer(\d)\.(\d+)\.downsample\.0", "backbone.bottom_up.res{0+1}.{1}.shortcut"),
    (r"backbone\.layer(\d)\.(\d+)\.downsample\.1", "backbone.bottom_up.res{0+1}.{1}.shortcut.norm"),
    (r"neck\.lateral_convs\.(\d)\.conv", "backbone.fpn_lateral{0+2}"),
    (r"neck\.lateral_convs\.(\d)\.bn", "backbone.fpn_lateral{0+2}.norm"),
    (r"neck\.fpn_convs\.(\d)\.conv", "backbone.fpn_output{0+2}"),
    (r"neck\.fpn_convs\.(\d)\.bn", "backbone.fpn_output{0+2}.norm"),
    (r"rpn_head\.rpn_conv", "proposal_generator.rpn_head.conv"),
    (r"rpn_head\.rpn_cls", "proposal_generator.rpn_head.objectness_logits"),
    (r"rpn_head\.rpn_reg", "proposal_generator.rpn_head.anchor_deltas"),
    (r"roi_head\.bbox_head\.(\d)\.shared_fcs\.(\d)", "roi_heads.box_head.{0}.fc{1+1}"),
    (r"roi_head\.bbox_head\.(\d)\.fc_cls", "roi_heads.box_predictor.{0}.cls_score"),
    (r"roi_head\.bbox_head\.(\d)\.fc_reg", "roi_heads.box_predictor.{0}.bbox_pred"),
    (r"roi_head\.bbox_head\.shared_fcs\.(\d)", "roi_heads.box_head.fc{0+1}"),
    (r"roi_head\.bbox_head\.fc_cls", "roi_heads.box_predictor.cls_score"),
    (r"roi_head\.bbox_head\.fc_reg", "roi_heads.box_predictor.bbox_pred"),
    (r"roi_head\.mask_head\.(?:0\.)?convs\.(\d)\.conv", "roi_heads.mask_head.mask_fcn{0+1}"),
    (r"roi_head\.mask_head\.(?:0\.)?upsample", "roi_heads.mask_head.deconv"),
    (r"roi_head\.mask_head\.(?:0\.)?conv_logits", "roi_heads.mask_head.predictor"),
)
"""Our module names and theirs; {i+k} is the i-th number of ours plus k. A parameter's own name is the same."""


def is_detectron2(content: Any) -> bool:
    """Whether a loaded file holds a detector in detectron2's format."""
    weights = content.get("model") if isinstance(content, dict) else None
    return isinstance(weights, dict) and any(key.startswith(("proposal_generator.", "roi_heads.")) for key in weights)


def from_detectron2(content: dict[str, Any], source: str | Path, digest: str | None = None) -> dict[str, Any]:
    """A checkpoint of ours from one in detectron2's format.

    Args:
        content: dict with ``model`` (tensors by name) and whatever else the training saved.
        source: name of the file, for messages and the record.
        digest: of the file, for the record.

    Returns:
        ``state_dict`` and ``meta`` as ``cuts3d train`` writes them, and ``detectron2`` with what only
        the way back needs.

    Raises:
        ModelError: a tensor is missing, unknown or of a different shape, or pixels or anchors differ from ours.
    """
    name = _architecture(content["model"])
    shapes = expected_shapes(name)
    constants = {key: value for key, value in content["model"].items() if key not in shapes and _is_constant(key)}
    weights = {key: value for key, value in content["model"].items() if key not in constants}
    _check_constants(constants, name, source)
    _check({detectron2_name(key): value for key, value in shapes.items()}, weights, source, name)
    left_out = sorted(key for key, value in content.items() if key != "model" and not isinstance(value, PLAIN))
    if left_out:
        logger.info("convert: %s: weights only, omitted: %s", source, ", ".join(left_out))
    state = {key: weights[detectron2_name(key)] for key in shapes if detectron2_name(key) in weights}
    meta = {
        "package": __version__,
        "detector": build_detector(TrainConfig(detector=name)),
        "converted_from": Path(source).name,
        "source_digest": digest,
    }
    plain = {key: value for key, value in content.items() if isinstance(value, PLAIN)}
    return {
        "state_dict": state,
        "meta": {**meta, "fingerprint": fingerprint(meta)},
        "detectron2": {"constants": constants, "plain": plain, "order": list(content["model"])},
    }


def to_detectron2(checkpoint: dict[str, Any], source: str | Path) -> dict[str, Any]:
    """A checkpoint in detectron2's format from one of ours; of a converted one, every key and value it had.

    Args:
        checkpoint: content of a checkpoint of ours.
        source: name of the file, for messages.

    Returns:
        Dict with ``model`` and, where it did not come from there, ``__author__``.

    Raises:
        ModelError: the checkpoint is of a detector without counterpart.
    """
    state = checkpoint["state_dict"]
    name = CASCADE if any(key.startswith("roi_head.bbox_head.0.") for key in state) else SINGLE
    _check(expected_shapes(name), state, source, name)
    kept = checkpoint.get("detectron2", {"constants": {}, "plain": {"__author__": f"cuts3d {__version__}"}})
    model = {detectron2_name(key): value for key, value in state.items()} | kept["constants"]
    return {"model": {key: model[key] for key in kept.get("order", model)}, **kept["plain"]}


def detectron2_name(key: str) -> str:
    """Name of one of our detector's tensors in detectron2's format.

    Raises:
        ModelError: there is no such tensor.
    """
    module, _, parameter = key.rpartition(".")
    for pattern, name in NAMES:
        if found := re.fullmatch(pattern, module):
            return f"{_filled(name, found.groups())}.{parameter}"
    raise ModelError(f"tensor {key} has no counterpart in detectron2")


@lru_cache(maxsize=2)
def expected_shapes(name: str) -> dict[str, torch.Size]:
    """Shapes of all tensors of a shipped detector, by our names."""
    return {key: value.shape for key, value in _empty_model(name).state_dict().items()}


def _empty_model(name: str) -> nn.Module:
    model = ConfigDict(build_detector(TrainConfig(detector=name))["model"])
    with torch.device("meta"), DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(model)


def _architecture(weights: dict[str, Any]) -> str:
    return CASCADE if any(key.startswith("roi_heads.box_predictor.0.") for key in weights) else SINGLE


def _filled(name: str, numbers: tuple[str, ...]) -> str:
    return re.sub(r"\{(\d)(?:\+(\d))?\}", lambda m: str(int(numbers[int(m[1])]) + int(m[2] or 0)), name)


def _is_constant(key: str) -> bool:
    return key in ("pixel_mean", "pixel_std") or ".cell_anchors." in key


def _check_constants(constants: dict[str, Tensor], name: str, source: str | Path) -> None:
    """Pixel statistics and anchors, which older versions save, must be the ones our config builds."""
    ours = {"pixel_mean": torch.tensor(parts.MEAN_RGB), "pixel_std": torch.tensor(parts.STD_RGB)}
    if any(".cell_anchors." in key for key in constants):
        anchors = _anchors(name)
        ours |= {f"proposal_generator.anchor_generator.cell_anchors.{i}": level for i, level in enumerate(anchors)}
    for key, value in constants.items():
        if key not in ours or value.numel() != ours[key].numel():
            found, expected = f"{key} {tuple(value.shape)}", "pixel statistics of RGB and anchors of five levels"
        elif not torch.allclose(value.float().flatten(), ours[key].flatten(), atol=1e-2):
            found, expected = f"{key} {_short(value)}", _short(ours[key])
        else:
            continue
        raise ModelError(
            f"weights file {source} is of a detector with different inputs", expected=expected, found=found
        )


def _anchors(name: str) -> list[Tensor]:
    from mmdet.registry import TASK_UTILS

    generator = build_detector(TrainConfig(detector=name))["model"]["rpn_head"]["anchor_generator"]
    return TASK_UTILS.build(ConfigDict(generator)).base_anchors


def _check(shapes: dict[str, torch.Size], weights: dict[str, Any], source: str | Path, name: str) -> None:
    """Every tensor there, none more, each of its shape; batch norm's counters may be missing."""
    problems = {
        "missing": [key for key in shapes if key not in weights and not key.endswith(COUNTER)],
        "unknown": [key for key in weights if key not in shapes],
        "not a tensor": [key for key, value in weights.items() if not isinstance(value, Tensor)],
    }
    if not any(problems.values()):
        problems["of a different shape"] = [key for key in weights if weights[key].shape != shapes[key]]
    for problem, keys in problems.items():
        if keys:
            shown = f"{keys[0]} {tuple(weights[keys[0]].shape)}" if problem == "of a different shape" else keys[0]
            raise ModelError(
                f"weights file {source} does not fit {name}: {len(keys)} of {len(shapes)} tensors {problem}",
                expected=f"{keys[0]} {tuple(shapes[keys[0]])}" if problem == "of a different shape" else None,
                found=f"first {shown}",
                hint="only Mask R-CNN and Cascade Mask R-CNN with a ResNet-50 FPN, batch norm and one class convert",
            )


def _short(value: Tensor) -> str:
    return ", ".join(f"{number:g}" for number in value.flatten().tolist()[:4])
