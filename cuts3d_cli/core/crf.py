"""Dense CRF on a mask and its image, with CutLER's numbers (Sec. 4, implementation details)."""

from __future__ import annotations

import numpy as np

from cuts3d_cli.core import masks
from cuts3d_cli.errors import Cuts3dError

CERTAIN = 0.99
"""Probability of the ``hard`` unary, and bound of the ``confidence`` one; certainty itself has no logarithm."""


class DenseCrf:
    """Fully connected CRF of one image, for any number of its masks.

    Building it filters the image once; every mask then costs the mean-field iterations only.

    Args:
        image: (H, W, 3) uint8 RGB.
        iterations: mean-field iterations.
        gaussian_sxy: deviation of the smoothness kernel in px.
        gaussian_compat: its weight.
        bilateral_sxy: deviation in space of the appearance kernel in px.
        bilateral_srgb: deviation in colour of it in grey levels.
        bilateral_compat: its weight.

    Raises:
        Cuts3dError: pydensecrf is not installed.
        ValueError: an image that is not (H, W, 3) uint8.
    """

    def __init__(
        self,
        image: np.ndarray,
        *,
        iterations: int = 10,
        gaussian_sxy: float = 3.0,
        gaussian_compat: float = 7.0,
        bilateral_sxy: float = 50.0,
        bilateral_srgb: float = 5.0,
        bilateral_compat: float = 10.0,
    ):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"image: expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
        try:
            from pydensecrf.densecrf import DenseCRF2D
        except ImportError as error:
            raise Cuts3dError(
                "the dense CRF needs pydensecrf",
                expected="an importable module pydensecrf",
                found=str(error),
                hint="pip install pydensecrf2, or switch the CRF off (crf.enabled: false)",
            ) from None
        self.size_hw = image.shape[:2]
        self.iterations = iterations
        self._crf = DenseCRF2D(image.shape[1], image.shape[0], 2)
        self._crf.addPairwiseGaussian(sxy=gaussian_sxy, compat=gaussian_compat)
        self._crf.addPairwiseBilateral(
            sxy=bilateral_sxy, srgb=bilateral_srgb, rgbim=np.ascontiguousarray(image), compat=bilateral_compat
        )

    def probability(self, unary: np.ndarray) -> np.ndarray:
        """Mean-field probability of the foreground.

        Args:
            unary: (H, W) float in (0, 1), what each pixel says by itself, see `unary_probability`.

        Returns:
            (H, W) float32 in [0, 1].

        Raises:
            ValueError: another size than the image, or values that are not within (0, 1).
        """
        if unary.shape != self.size_hw:
            raise ValueError(f"unary: expected {self.size_hw} as the image, got {unary.shape}")
        if not (unary.min() > 0 and unary.max() < 1):
            raise ValueError(f"unary: expected values within (0, 1), got {unary.min()} to {unary.max()}")
        both = np.stack([1 - unary, unary]).reshape(2, -1)
        self._crf.setUnaryEnergy(np.ascontiguousarray(-np.log(both), dtype=np.float32))
        return np.array(self._crf.inference(self.iterations))[1].reshape(self.size_hw)


def unary_probability(mask: np.ndarray, *, unary: str = "softmax", confidence: np.ndarray | None = None) -> np.ndarray:
    """Foreground probability of each pixel by itself.

    ``softmax``: that of the mask taken as two scores, so 0.731 inside and 0.269 outside (CutLER);
    ``hard``: 0.99 and 0.01;
    ``confidence``: the Spatial Confidence inside the mask and 0.01 outside, kept within 0.01 and 0.99.

    Args:
        mask: (H, W) bool.
        unary: softmax, hard or confidence.
        confidence: (H, W) float in [0, 1]; needed by ``confidence``.

    Returns:
        (H, W) float64 in (0, 1).

    Raises:
        ValueError: an unknown unary, or a confidence map that is missing or of another size.
    """
    if unary == "softmax":
        inside = 1 / (1 + np.exp(-1.0))
        return np.where(mask, inside, 1 - inside)
    if unary == "hard":
        return np.where(mask, CERTAIN, 1 - CERTAIN)
    if unary == "confidence":
        if confidence is None or confidence.shape != mask.shape:
            found = None if confidence is None else confidence.shape
            raise ValueError(f"confidence: expected a map {mask.shape}, got {found}")
        return np.clip(np.where(mask, confidence.astype(np.float64), 0), 1 - CERTAIN, CERTAIN)
    raise ValueError(f"unary: expected softmax, hard or confidence, got {unary!r}")


def refine(
    crf: DenseCrf,
    mask: np.ndarray,
    *,
    unary: str = "softmax",
    confidence: np.ndarray | None = None,
    fill_holes: bool = True,
    min_iou: float = 0.5,
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Refine a mask by the CRF, fill its holes and judge it (CutLER).

    Args:
        crf: of the image.
        mask: (H, W) bool.
        unary: see `unary_probability`.
        confidence: (H, W) float, for the unary ``confidence``.
        fill_holes: fill the holes of the refined mask.
        min_iou: below this IoU with the mask before, the refined one is rejected.

    Returns:
        refined: (H, W) bool.
        probability: (H, W) float32, the CRF's foreground probability (a confidence of its own, Table 11b).
        accepted: whether the refined mask is not empty and reaches ``min_iou``.
    """
    mask = mask.astype(bool)
    probability = crf.probability(unary_probability(mask, unary=unary, confidence=confidence))
    refined = probability > 0.5
    if fill_holes:
        refined = masks.fill_holes(refined)
    accepted = bool(refined.any() and masks.mask_iou(refined[None], mask[None])[0, 0] >= min_iou)
    return refined, probability, accepted
