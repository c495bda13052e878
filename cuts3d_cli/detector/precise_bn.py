"""Batch norm statistics recomputed from many batches with the final weights.

Running statistics lag behind weights that still move; CutLER estimates them again before it tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cuts3d_cli.detector import distributed


@torch.no_grad()
def update_statistics(model: nn.Module, batches: Iterable[dict[str, Any]]) -> int:
    """Set mean and variance of each batch norm in training mode to those over all batches.

    The variance is that of the values of all batches together: the mean of the batches' variances
    and the variance of their means. Batches count alike, whatever their size. Every process gets the
    statistics of all processes' batches; nothing else of the model changes.

    Args:
        model: a detector in training mode, as ``model(**data, mode="loss")`` with a ``data_preprocessor``.
        batches: as the training's.

    Returns:
        How many batch norms were set.
    """
    layers = [layer for layer in model.modules() if _learns(layer)]
    if not layers:
        return 0
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 1.0  # a forward pass then leaves its own batch's statistics
    sums, count = [_Sums(layer) for layer in layers], 0
    try:
        for batch in batches:
            model(**model.data_preprocessor(batch, True), mode="loss")
            for total in sums:
                total.add()
            count += 1
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    for total in sums:
        total.finish(count)
    return len(layers)


class _Sums:
    """Sums of one batch norm's means and mean squares over batches, in float64."""

    def __init__(self, layer: _BatchNorm):
        self.layer = layer
        self.mean = torch.zeros_like(layer.running_mean, dtype=torch.float64)
        self.square = torch.zeros_like(self.mean)

    def add(self) -> None:
        mean = self.layer.running_mean.double()
        self.mean += mean
        self.square += self.layer.running_var.double() + mean**2

    def finish(self, count: int) -> None:
        if count == 0:
            return
        mean: Tensor = distributed.all_reduce_mean(self.mean / count)
        variance = distributed.all_reduce_mean(self.square / count) - mean**2
        self.layer.running_mean.copy_(mean)
        self.layer.running_var.copy_(variance.clamp(min=0))


def _learns(layer: nn.Module) -> bool:
    return isinstance(layer, _BatchNorm) and layer.training and layer.track_running_stats
