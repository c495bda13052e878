"""Dense CRF on a mask and its image, with CutLER's numbers (Sec. 4, implementation details)."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuts3d_cli.core import masks
from cuts3d_cli.core.confidence import clamp_confidence
from cuts3d_cli.errors import Cuts3dError

CERTAIN = 0.99
"""Probability of the ``hard`` unary, and bound of the ``confidence`` one; certainty itself has no logarithm."""


LEAST_CHANNELS = 3
"""Fewer are filtered by another routine of pydensecrf with other rounding; padded, a mask's result is its own."""


class DenseCrf:
    """Fully connected CRF of one image, for any number of its masks.

    Building it filters the image once. The masks are two-label problems of their own on the same kernels, so their
    mean-field iterations run side by side, one filter channel a mask: with q the foreground and S the sum of both
    kernels, weighted by their compatibility, the next q is the sigmoid of u + S(q) - S(1 - q), and
    S(1 - q) = S(1) - S(q). These are the equations of two labels a mask, at a third of the time for three masks.

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
            from pydensecrf.eigen import matrixXf
        except ImportError as error:
            raise Cuts3dError(
                "the dense CRF needs pydensecrf",
                expected="an importable module pydensecrf",
                found=str(error),
                hint="pip install pydensecrf2, or switch the CRF off (crf.enabled: false)",
            ) from None
        self.size_hw = image.shape[:2]
        self.iterations = iterations
        self._matrix = matrixXf
        self._crf = DenseCRF2D(image.shape[1], image.shape[0], 2)
        self._crf.addPairwiseGaussian(sxy=gaussian_sxy, compat=gaussian_compat)
        self._crf.addPairwiseBilateral(
            sxy=bilateral_sxy, srgb=bilateral_srgb, rgbim=np.ascontiguousarray(image), compat=bilateral_compat
        )
        ones, total = self._channels(1), self._channels(1)
        self._columns(ones)[:] = 1
        self._crf.stepInference(ones, total, self._channels(1))
        self._total = self._columns(total).copy()

    def _channels(self, count: int):
        """A matrix of pydensecrf, zeros, with a row a channel."""
        return self._matrix(np.zeros((count, self.size_hw[0] * self.size_hw[1]), dtype=np.float32))

    @staticmethod
    def _columns(matrix) -> np.ndarray:
        """The memory of such a matrix as (pixels, channels), to read and write."""
        return np.asarray(matrix).T

    def probabilities(self, unaries: np.ndarray) -> np.ndarray:
        """Mean-field probability of the foreground of several masks, each independent of the others.

        Args:
            unaries: (M, H, W) float in (0, 1), what each pixel says by itself, see `unary_probability`.

        Returns:
            (M, H, W) float32 in [0, 1].

        Raises:
            ValueError: another size than the image, or values that are not within (0, 1).
        """
        if unaries.shape[1:] != self.size_hw:
            raise ValueError(f"unary: expected {self.size_hw} as the image, got {unaries.shape[1:]}")
        if not ((unaries > 0) & (unaries < 1)).all():
            raise ValueError(f"unary: expected values within (0, 1), got {unaries.min()} to {unaries.max()}")
        count = len(unaries)
        if count == 0:
            return np.zeros(unaries.shape, dtype=np.float32)
        flat = np.full((max(count, LEAST_CHANNELS), self.size_hw[0] * self.size_hw[1]), 0.5)
        flat[:count] = unaries.reshape(count, -1)
        q, energy, scratch = (self._channels(len(flat)) for _ in range(3))
        foreground, sums = self._columns(q), self._columns(energy)
        foreground[:] = flat.T
        fixed = (np.log(flat) - np.log1p(-flat)).T.astype(np.float32) - self._total
        odds = np.empty_like(fixed)
        for _ in range(self.iterations):
            # Without a unary of its own the step leaves S(q) in its second matrix; what it makes of q (a softmax over
            # the channels) is of no use and overwritten.
            self._crf.stepInference(q, energy, scratch)
            np.multiply(sums, -2, out=odds)
            odds -= fixed
            np.exp(odds, out=odds)
            odds += 1
            np.divide(1, odds, out=foreground)
        return np.ascontiguousarray(foreground.T[:count]).reshape(unaries.shape)

    def probability(self, unary: np.ndarray) -> np.ndarray:
        """`probabilities` of a single mask, (H, W)."""
        return self.probabilities(unary[None])[0]


def unary_probability(mask: np.ndarray, *, unary: str = "softmax", confidence: np.ndarray | None = None) -> np.ndarray:
    """Foreground probability of each pixel by itself.

    ``softmax``: that of the mask taken as two scores, so 0.731 inside and 0.269 outside (CutLER);
    ``hard``: 0.99 and 0.01;
    ``confidence``: the Spatial Confidence inside the mask and 0.01 outside, kept within 0.01 and 0.99.

    Args:
        mask: (..., H, W) bool.
        unary: softmax, hard or confidence.
        confidence: (..., H, W) float in [0, 1]; needed by ``confidence``.

    Returns:
        (..., H, W) float64 in (0, 1).

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


def refine_together(
    crf: DenseCrf,
    mask: np.ndarray,
    *,
    unary: str = "softmax",
    confidence: np.ndarray | None = None,
    fill_holes: bool = True,
    min_iou: float = 0.5,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Refine the masks of an image by the CRF, fill their holes and judge them (CutLER).

    Args:
        crf: of the image.
        mask: (M, H, W) bool.
        unary: see `unary_probability`.
        confidence: (M, H, W) float, for the unary ``confidence``.
        fill_holes: fill the holes of the refined masks.
        min_iou: below this IoU with the mask before, the refined one is rejected.

    Returns:
        refined: (M, H, W) bool.
        probability: (M, H, W) float32, the CRF's foreground probability (a confidence of its own, Table 11b).
        accepted: (M,) bool, whether the refined mask is not empty and reaches ``min_iou``.
    """
    mask = mask.astype(bool)
    probability = crf.probabilities(unary_probability(mask, unary=unary, confidence=confidence))
    refined = probability > 0.5
    if fill_holes:
        refined = np.array([masks.fill_holes(one) for one in refined], dtype=bool).reshape(refined.shape)
    iou = np.array([masks.mask_iou(*pair)[0, 0] for pair in zip(refined[:, None], mask[:, None], strict=True)])
    return refined, probability, refined.any(axis=(1, 2)) & (iou >= min_iou)


def refine(
    crf: DenseCrf, mask: np.ndarray, *, confidence: np.ndarray | None = None, **settings: Any
) -> tuple[np.ndarray, np.ndarray, bool]:
    """`refine_together` of a single mask (H, W), with the same keywords; refined and probability are (H, W)."""
    stacked = None if confidence is None else confidence[None]
    refined, probability, accepted = refine_together(crf, mask[None], confidence=stacked, **settings)
    return refined[0], probability[0], bool(accepted[0])


def probability_on_grid(
    probability: np.ndarray, mask: np.ndarray, grid_hw: tuple[int, int], *, sc_min: float
) -> np.ndarray:
    """The CRF's probability as a confidence map: the mean over a patch's pixels inside the mask (Table 11b).

    Args:
        probability: (S, S) float in [0, 1].
        mask: (S, S) bool, the refined mask.
        grid_hw: rows and columns of the patch grid.
        sc_min: least confidence inside.

    Returns:
        grid_hw float32 in {0} or [sc_min, 1]; 0 where a patch holds no pixel of the mask.
    """
    share = masks.resize_map(mask, grid_hw)
    inside = share > 0
    mean = masks.resize_map(np.where(mask, probability, 0), grid_hw) / np.where(inside, share, 1)
    return clamp_confidence(np.minimum(mean, 1), inside, sc_min=sc_min)
