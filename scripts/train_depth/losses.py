"""The scale-and-shift-invariant loss with gradient matching (Ranftl et al., MiDaS, TPAMI 2022)."""

from __future__ import annotations

import torch
from torch.nn import functional


def standardised(values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """``values`` (B, H, W) with median 0 and mean absolute deviation 1 over the ``known`` pixels of each map."""
    masked = torch.where(known, values, torch.nan).flatten(1)
    median = masked.nanmedian(dim=1).values.nan_to_num()[:, None, None]
    centred = values - median
    deviation = (centred.abs() * known).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
    return centred / deviation.clamp(min=1e-6)[:, None, None]


def depth_loss(
    predicted: torch.Tensor, truth: torch.Tensor, *, gradient: float = 1.0, scales: int = 4, far: bool = False
) -> torch.Tensor:
    """Loss between maps of inverse depth, each up to a positive scale and a shift of its own.

    Args:
        predicted: (B, H, W).
        truth: (B, H, W), NaN where unknown.
        gradient: weight of the gradient term of each scale beside the pointwise one.
        scales: number of scales at which gradients are compared, each half as fine.
        far: pointwise errors count relative to the true inverse depth, within limits, as relative errors of depth do.

    Returns:
        Scalar; 0 where ``predicted`` is the truth up to scale and shift.
    """
    known = torch.isfinite(truth)
    weight = known.float()
    if far:
        middle = truth.flatten(1).nanmedian(dim=1).values[:, None, None]
        weight = (middle / truth).nan_to_num().clamp(0.4, 2.5) * known
    truth = standardised(torch.where(known, truth, 0.0), known)
    off = (standardised(predicted, known) - truth) * known
    loss = ((off.abs() * weight).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1)).mean()
    for scale in range(scales):
        step = 2**scale
        loss = loss + gradient * _gradients(off[:, ::step, ::step], known[:, ::step, ::step])
    return loss


def _gradients(off: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of neighbours in ``off``, where both are known."""
    found = off.new_zeros(())
    for axis in (1, 2):
        size = off.shape[axis] - 1
        both = known.narrow(axis, 0, size) & known.narrow(axis, 1, size)
        found = found + (off.diff(dim=axis).abs() * both).sum() / both.sum().clamp(min=1)
    return found


def resized_truth(truth: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """``truth`` (H, W) at another size by the nearest pixel, so that steps stay steps and NaN stays NaN."""
    return functional.interpolate(truth[None, None], size=(height, width), mode="nearest-exact")[0, 0]
