"""The quality of masks, judged without labels: a ranking beside the paper's score.

The score of the paper, the mean Spatial Confidence (Sec. 3.4), says how stable a cut is, and walls are most stable. The
quality of a mask is a product of three factors instead (not of the paper; measured in docs/choices.md):

    contrast     its patches look like each other and unlike the rest of the image
    agreement    the CRF, which follows the edges of colour, left it as it was
    1 - border   it is not cut off by the border of the image, as most backgrounds are
"""

from __future__ import annotations

import numpy as np

from cuts3d_cli.core.affinity import directions


def contrast(features: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """How much more alike the patches of a mask are among themselves than with the patches outside it.

    (|m|^2 - m.o) / 2, at least 0, where m and o are the mean unit features inside and outside the mask: half the
    difference between the mean cosine of the pairs of patches inside and that of the pairs with one inside and one
    outside. Neither the lengths of the features nor the other masks matter.

    Args:
        features: (C, h, w), any float type.
        masks: (N, h, w) bool.

    Returns:
        (N,) float32 in [0, 1]; 0 for a mask that is empty or covers all patches.

    Raises:
        ValueError: masks on another grid, or features as `affinity.directions` refuses them.
    """
    if masks.ndim != 3 or masks.shape[1:] != features.shape[1:]:
        raise ValueError(f"masks: expected (N, {features.shape[1]}, {features.shape[2]}), got {masks.shape}")
    unit = directions(features).astype(np.float64)
    inside = masks.reshape(len(masks), unit.shape[1]).astype(np.float64)
    count = inside.sum(axis=1)
    within = inside @ unit.T
    without = unit.sum(axis=1) - within
    mean_in = within / np.maximum(count, 1)[:, None]
    mean_out = without / np.maximum(unit.shape[1] - count, 1)[:, None]
    half = (mean_in * (mean_in - mean_out)).sum(axis=1) / 2
    valid = (count > 0) & (count < unit.shape[1])
    return np.where(valid, np.clip(half, 0, 1), 0).astype(np.float32)


def border_share(masks: np.ndarray) -> np.ndarray:
    """Fraction of the pixels along the border of the image that each mask covers.

    Args:
        masks: (M, H, W) bool.

    Returns:
        (M,) float64 in [0, 1].
    """
    border = np.ones(masks.shape[1:], bool)
    border[1:-1, 1:-1] = False
    return masks[:, border].mean(axis=1)


def quality(contrast: np.ndarray, agreement: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Quality of final masks: contrast * agreement * (1 - fraction of the image's border that they cover).

    Args:
        contrast: (M,) float in [0, 1], see `contrast`, of the masks on the patch grid.
        agreement: (M,) float in [0, 1], IoU of each mask before and after the CRF; 1 without the CRF.
        masks: (M, H, W) bool, the final masks.

    Returns:
        (M,) float32 in [0, 1].
    """
    return (contrast * agreement * (1 - border_share(masks))).astype(np.float32)
