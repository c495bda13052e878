"""DINOv2 parameters out of an ONNX export of transformers' Dinov2 model, under timm's names.

The file is parsed, not run. An export folds what it can: linear weights become transposed, unnamed operands of a
``MatMul`` (identified by the named bias that is added to its result), and the position embedding becomes one constant
for the class token and one for the patches.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cuts3d_cli.errors import ModelError

PREFIX = "backbone."

LAYER = "encoder.layer.{}."

LINEAR = {"attention.output.dense": "attn.proj", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
"""Linear layers of a block, transformers' name to timm's; query, key and value are joined apart."""

NAMED = {
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
}
"""Other parameters of a block."""

OUTER = {
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
"""Parameters outside the blocks."""


def timm_state(path: str | Path) -> dict[str, np.ndarray]:
    """Parameters of the DINOv2 backbone in an ONNX file, float32, as timm's ``vit_*_patch14_dinov2`` names them.

    Raises:
        ModelError: no ONNX file, or a parameter of the backbone is not in it.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(str(path)).graph
    except (OSError, DecodeError) as error:
        raise ModelError(f"weights file {path}", expected="an ONNX file", found=str(error)) from None
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    try:
        return _joined(constants, _weights_by_bias(graph, constants))
    except KeyError as error:
        raise ModelError(f"weights file {path} contains no DINOv2 backbone", found=f"no {error.args[0]}") from None


def _weights_by_bias(graph, constants: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weight of each linear layer by the name of its bias: the matrix whose product the bias is added to."""
    products = {
        node.output[0]: constants[name] for node in graph.node if node.op_type == "MatMul"
        for name in node.input if name in constants
    }  # fmt: skip
    found = {}
    for node in (node for node in graph.node if node.op_type == "Add"):
        first, second = node.input
        for product, bias in ((first, second), (second, first)):
            if product in products and bias in constants:
                found[bias] = products[product].T
    return found


def _joined(constants: dict[str, np.ndarray], weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    cls_token = constants[PREFIX + "embeddings.cls_token"]
    state = {"cls_token": cls_token, "pos_embed": _position(constants, cls_token.shape[-1])}
    state |= {own: constants[PREFIX + name] for name, own in OUTER.items()}
    layer = 0
    while PREFIX + LAYER.format(layer) + "norm1.weight" in constants:
        before, block = PREFIX + LAYER.format(layer), f"blocks.{layer}."
        state |= {block + own: constants[before + name] for name, own in NAMED.items()}
        biases = [f"{before}attention.attention.{part}.bias" for part in ("query", "key", "value")]
        state[block + "attn.qkv.weight"] = np.concatenate([weights[bias] for bias in biases])
        state[block + "attn.qkv.bias"] = np.concatenate([constants[bias] for bias in biases])
        for name, own in LINEAR.items():
            state[f"{block}{own}.weight"] = weights[f"{before}{name}.bias"]
            state[f"{block}{own}.bias"] = constants[f"{before}{name}.bias"]
        layer += 1
    return {name: np.ascontiguousarray(value, np.float32) for name, value in state.items()}


def _position(constants: dict[str, np.ndarray], channels: int) -> np.ndarray:
    """(1, 1 + n, C): the folded rows of the class token and of a square grid of patches."""
    unnamed = [value for name, value in constants.items() if name.startswith("onnx::") and value.ndim == 3]
    rows = sorted((value for value in unnamed if value.shape[::2] == (1, channels)), key=lambda value: value.shape[1])
    if len(rows) != 2 or rows[0].shape[1] != 1 or int(rows[1].shape[1] ** 0.5) ** 2 != rows[1].shape[1]:
        raise KeyError("position embedding of a class token and a square grid")
    return np.concatenate(rows, axis=1)
