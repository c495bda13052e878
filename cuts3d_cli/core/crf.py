"""Dense CRF on a mask and its image, as in CutLER (Sec. 4, implementation details)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cuts3d_cli.core import masks
from cuts3d_cli.core.confidence import clamp_confidence
from cuts3d_cli.errors import Cuts3dError

CERTAIN = 0.99
"""Probability of the ``hard`` unary, and bound of the ``confidence`` one; certainty itself has no logarithm."""

Judged = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""What `refine_images` gives for an image."""

Field = Callable[[np.ndarray, int], np.ndarray]
"""An image's model: from unaries (M, N) float in (0, 1) and a number of iterations to probabilities (M, N) float32."""


class DenseCrfs:
    """Fully connected CRFs of images of one size, for any number of their masks (Kraehenbuehl and Koltun 2011).

    Building them filters each image once. A mask is a problem of two labels of its own, on its image's kernels.

    Args:
        images: each (H, W, 3) uint8 RGB.
        solver: ``lattice``, mean field on the permutohedral lattice; ``torch``, the same on torch tensors, all images
            at once; ``pydensecrf``, the package of that name, the reference for both.
        iterations: mean-field iterations.
        gaussian_sxy: standard deviation of the smoothness kernel in px.
        gaussian_compat: its weight.
        bilateral_sxy: spatial standard deviation of the appearance kernel in px.
        bilateral_srgb: colour standard deviation of it in grey levels.
        bilateral_compat: its weight.
        device: where torch computes.

    Raises:
        Cuts3dError: pydensecrf is asked for and not installed, or the standard deviations are too small for the size.
        ValueError: images that are not (H, W, 3) uint8 of one size, or an unknown solver.
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        *,
        solver: str,
        iterations: int,
        gaussian_sxy: float,
        gaussian_compat: float,
        bilateral_sxy: float,
        bilateral_srgb: float,
        bilateral_compat: float,
        device: str = "cpu",
    ):
        for image in images:
            if image.shape != (*images[0].shape[:2], 3) or image.dtype != np.uint8:
                raise ValueError(f"image: expected (H, W, 3) uint8, all of one size, got {image.shape} {image.dtype}")
        if solver not in ("lattice", "torch", "pydensecrf"):
            raise ValueError(f"solver: expected lattice, torch or pydensecrf, got {solver!r}")
        self.size_hw = images[0].shape[:2]
        self.iterations = iterations
        kernels = {
            "gaussian_sxy": gaussian_sxy,
            "gaussian_compat": gaussian_compat,
            "bilateral_sxy": bilateral_sxy,
            "bilateral_srgb": bilateral_srgb,
            "bilateral_compat": bilateral_compat,
        }
        if solver == "torch":
            self._fields = _torch_field(images, device, kernels)
        else:
            field = _lattice_field if solver == "lattice" else _pydensecrf_field
            fields = [field(image, kernels) for image in images]
            self._fields = lambda unaries, n: [one(given, n) for one, given in zip(fields, unaries, strict=True)]

    def probabilities(self, unaries: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Mean-field probability of the foreground of several masks per image, each independent of the others.

        Args:
            unaries: (M, H, W) float in (0, 1) for each image, what a pixel says by itself, see `unary_probability`.

        Returns:
            (M, H, W) float32 in [0, 1] for each image.

        Raises:
            ValueError: another size than the images', or values that are not within (0, 1).
        """
        for given in unaries:
            if given.shape[1:] != self.size_hw:
                raise ValueError(f"unary: expected {self.size_hw} as the image, got {given.shape[1:]}")
            if not ((given > 0) & (given < 1)).all():
                raise ValueError(f"unary: expected values within (0, 1), got {given.min()} to {given.max()}")
        n = self.size_hw[0] * self.size_hw[1]
        found = self._fields([given.reshape(-1, n) for given in unaries], self.iterations)
        return [one.reshape(given.shape) for one, given in zip(found, unaries, strict=True)]


class DenseCrf:
    """`DenseCrfs` of a single image, with the same keywords."""

    def __init__(self, image: np.ndarray, **settings: Any):
        self.crfs = DenseCrfs([image], **settings)

    def probabilities(self, unaries: np.ndarray) -> np.ndarray:
        """Probability (M, H, W) float32 of unaries (M, H, W)."""
        return self.crfs.probabilities([unaries])[0]


def _lattice_field(image: np.ndarray, kernels: Mapping[str, float]) -> Field:
    from cuts3d_cli.core.mean_field import field_of_image  # compiles, or loads what was compiled

    return field_of_image(image, **kernels).probabilities


def _torch_field(
    images: Sequence[np.ndarray], device: str, kernels: Mapping[str, float]
) -> Callable[[Sequence[np.ndarray], int], list[np.ndarray]]:
    from cuts3d_cli.core.permutohedral_torch import TorchField  # torch takes a second to import

    return TorchField(images, device=device, **kernels).probabilities


def pydensecrf_model(image: np.ndarray, kernels: Mapping[str, float]) -> Any:
    """pydensecrf's two-label model of an image with both kernels, no unaries set yet."""
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError as error:
        raise Cuts3dError(
            "crf.solver pydensecrf",
            expected="an importable module pydensecrf",
            found=str(error),
            hint="pip install pydensecrf2 (Python 3.12 or older, a C++ compiler), or crf.solver = lattice",
        ) from None
    crf = DenseCRF2D(image.shape[1], image.shape[0], 2)
    crf.addPairwiseGaussian(sxy=kernels["gaussian_sxy"], compat=kernels["gaussian_compat"])
    crf.addPairwiseBilateral(
        sxy=kernels["bilateral_sxy"],
        srgb=kernels["bilateral_srgb"],
        rgbim=np.ascontiguousarray(image),
        compat=kernels["bilateral_compat"],
    )
    return crf


def _pydensecrf_field(image: np.ndarray, kernels: Mapping[str, float]) -> Field:
    crf = pydensecrf_model(image, kernels)

    def probabilities(unaries: np.ndarray, iterations: int) -> np.ndarray:
        found = np.empty(unaries.shape, np.float32)
        for one, unary in zip(found, unaries, strict=True):
            crf.setUnaryEnergy(np.ascontiguousarray(-np.log([1 - unary, unary]), dtype=np.float32))
            one[:] = np.array(crf.inference(iterations))[1]
        return found

    return probabilities


def unary_probability(mask: np.ndarray, *, unary: str, confidence: np.ndarray | None = None) -> np.ndarray:
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


def refine_images(
    crfs: DenseCrfs,
    mask: Sequence[np.ndarray],
    *,
    unary: str,
    fill_holes: bool,
    min_iou: float,
    confidence: Sequence[np.ndarray | None] | None = None,
) -> list[Judged]:
    """Refine the masks of images by the CRF, fill their holes and judge them (CutLER).

    Args:
        crfs: of the images.
        mask: (M, H, W) bool for each image.
        unary: see `unary_probability`.
        fill_holes: fill the holes of the refined masks.
        min_iou: below this IoU with the mask before, the refined one is rejected.
        confidence: (M, H, W) float for each, for the unary ``confidence``.

    Returns:
        For each image
        refined: (M, H, W) bool.
        probability: (M, H, W) float32, the CRF's foreground probability (a confidence of its own, Table 11b).
        accepted: (M,) bool, whether the refined mask is not empty and reaches ``min_iou``.
        agreement: (M,) float64, its IoU with the mask before.
    """
    given = list(zip(mask, confidence or [None] * len(mask), strict=True))
    unaries = [unary_probability(one.astype(bool), unary=unary, confidence=sure) for one, sure in given]
    pairs = zip(mask, crfs.probabilities(unaries), strict=True)
    return [_judged(one, p, fill_holes=fill_holes, min_iou=min_iou) for one, p in pairs]


def _judged(mask: np.ndarray, probability: np.ndarray, *, fill_holes: bool, min_iou: float) -> Judged:
    refined = probability > 0.5
    if fill_holes:
        refined = np.array([masks.fill_holes(one) for one in refined], dtype=bool).reshape(refined.shape)
    pairs = zip(refined[:, None], mask[:, None].astype(bool), strict=True)
    iou = np.array([masks.mask_iou(*pair)[0, 0] for pair in pairs])
    return refined, probability, refined.any(axis=(1, 2)) & (iou >= min_iou), iou


def refine_together(
    crf: DenseCrf, mask: np.ndarray, *, confidence: np.ndarray | None = None, **settings: Any
) -> Judged:
    """`refine_images` of a single image's masks (M, H, W), with the same keywords."""
    return refine_images(crf.crfs, [mask], confidence=None if confidence is None else [confidence], **settings)[0]


def refine(
    crf: DenseCrf, mask: np.ndarray, *, confidence: np.ndarray | None = None, **settings: Any
) -> tuple[np.ndarray, np.ndarray, bool, float]:
    """`refine_together` of a single mask (H, W), with the same keywords; refined and probability are (H, W)."""
    stacked = None if confidence is None else confidence[None]
    refined, probability, accepted, agreement = refine_together(crf, mask[None], confidence=stacked, **settings)
    return refined[0], probability[0], bool(accepted[0]), float(agreement[0])


def probability_on_grid(
    probability: np.ndarray, mask: np.ndarray, grid_hw: tuple[int, int], *, sc_min: float
) -> np.ndarray:
    """The CRF's probability as a confidence map: the mean over a patch's pixels inside the mask (Table 11b).

    Args:
        probability: (S, S) float in [0, 1].
        mask: (S, S) bool, the refined mask.
        grid_hw: rows and columns of the patch grid.
        sc_min: minimum confidence inside.

    Returns:
        grid_hw float32 in {0} or [sc_min, 1]; 0 where a patch holds no pixel of the mask.
    """
    share = masks.resize_map(mask, grid_hw)
    inside = share > 0
    mean = masks.resize_map(np.where(mask, probability, 0), grid_hw) / np.where(inside, share, 1)
    return clamp_confidence(np.minimum(mean, 1), inside, sc_min=sc_min)
