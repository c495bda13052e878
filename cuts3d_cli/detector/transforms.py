"""Transforms that carry Spatial Confidence beside the masks, and confident copy-paste (Sec. 3.4).

``gt_confidences`` is a float32 array (n, h, w) beside ``gt_masks``: the confidence field of each
instance over the whole image, at least SC_min everywhere. It has a meaning inside the mask only;
outside it counts as 0 for blending (Eq. 5) and as 1 for the loss (Eq. 6), whoever uses it
says so. ``gt_scores`` (n,) is the instance's mean confidence.
"""

from __future__ import annotations

from typing import Any

import cv2
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, RandomFlip, Resize
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks

from cuts3d_cli.core.geometry import nearest_indices
from cuts3d_cli.core.masks import boxes_xywh_px, resize_inside
from cuts3d_cli.errors import ImageError
from cuts3d_cli.store.coco import confidence_of
from cuts3d_cli.store.images import read_image
from cuts3d_cli.store.segmentations import sides, size_hint


@TRANSFORMS.register_module()
class LoadRgb(BaseTransform):
    """Read an image as RGB, upright by its EXIF orientation.

    Required keys: img_path. Added keys: img, img_shape, ori_shape.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the image (H, W, 3) uint8."""
        image = read_image(results["img_path"])
        results["img"] = image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadPseudoMasks(LoadAnnotations):
    """Masks, boxes, scores and confidence fields of an image.

    Required keys: img_path, ori_shape, height, width, instances.
    Added keys: gt_masks, gt_bboxes, gt_bboxes_labels, gt_ignore_flags, gt_scores, gt_confidences.

    Args:
        with_confidence: read the confidence maps; without, the field is 1.
    """

    def __init__(self, with_confidence: bool = True):
        super().__init__(with_bbox=True, with_label=True, with_mask=True)
        self.with_confidence = with_confidence

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the annotations at the image's own size.

        Raises:
            ImageError: the image is not of the size that its masks were drawn on.
        """
        recorded = results["height"], results["width"]
        if tuple(results["ori_shape"]) != recorded:
            raise ImageError(
                f"image {results['img_path']} differs in size from its masks",
                expected=sides(recorded),
                found=sides(results["ori_shape"]),
                hint=size_hint(results["ori_shape"], recorded),
            )
        results = super().transform(results)
        instances = results["instances"]
        results["gt_scores"] = np.array([entry["score"] for entry in instances], np.float32)
        fields = [self._field(entry, results["ori_shape"]) for entry in instances]
        results["gt_confidences"] = np.stack(fields) if fields else np.ones((0, *results["ori_shape"]), np.float32)
        return results

    def _field(self, instance: dict[str, Any], size_hw: tuple[int, int]) -> np.ndarray:
        confidence = confidence_of(instance) if self.with_confidence else None
        if confidence is None:
            return np.ones(size_hw, np.float32)
        return np.maximum(resize_inside(confidence.grid, size_hw), confidence.sc_min)


@TRANSFORMS.register_module()
class ConfidenceResize(Resize):
    """Resize image, boxes, masks and confidence fields, all about the centres of pixels.

    MMDetection's own resize of masks moves them by up to a pixel of the larger image.

    Required keys: img. Modified keys: img, img_shape, gt_bboxes, gt_masks, gt_confidences.
    Added keys: scale, scale_factor, keep_ratio, homography_matrix.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Resize to ``scale``."""
        results = super().transform(results)
        if "gt_confidences" in results:
            results["gt_confidences"] = resize_fields(results["gt_confidences"], results["img_shape"])
        return results

    def _resize_img(self, results: dict[str, Any]) -> None:
        height, width = results["img"].shape[:2]
        size_wh = mmcv.rescale_size((width, height), results["scale"]) if self.keep_ratio else results["scale"]
        if min(size_wh) > 0:
            super()._resize_img(results)
            return
        # Of a strip of an image the shorter side would be rounded to nothing.
        resized_wh = max(size_wh[0], 1), max(size_wh[1], 1)
        image = mmcv.imresize(results["img"], resized_wh, interpolation=self.interpolation, backend=self.backend)
        results |= {"img": image, "img_shape": image.shape[:2], "keep_ratio": True}
        results["scale_factor"] = (resized_wh[0] / width, resized_wh[1] / height)

    def _resize_masks(self, results: dict[str, Any]) -> None:
        if "gt_masks" in results:
            height, width = results["img_shape"][:2]
            resized = [resize_mask(mask, (height, width)) for mask in results["gt_masks"].masks]
            results["gt_masks"] = BitmapMasks(resized, height, width)


@TRANSFORMS.register_module()
class ConfidenceFlip(RandomFlip):
    """Flip image, boxes, masks and confidence fields.

    Required keys: img. Modified keys: img, gt_bboxes, gt_masks, gt_confidences.
    Added keys: flip, flip_direction, homography_matrix.
    """

    def _flip(self, results: dict[str, Any]) -> None:
        super()._flip(results)
        if 1 in results["img_shape"]:  # an axis of one pixel keeps the negative stride that torch refuses
            results["img"] = results["img"].copy()
            if "gt_masks" in results:
                results["gt_masks"].masks = results["gt_masks"].masks.copy()
        if "gt_confidences" in results:
            axes = {"horizontal": 2, "vertical": 1, "diagonal": (1, 2)}[results["flip_direction"]]
            results["gt_confidences"] = np.flip(results["gt_confidences"], axes).copy()


@TRANSFORMS.register_module()
class ConfidentCopyPaste(BaseTransform):
    """Paste the most confident instances of a second image, blended by their confidence (Sec. 3.4, Eq. 5).

    As in CutLER, the whole second image is scaled to a fraction of this one and shifted, all its chosen
    instances with it. An instance that would cover half of an instance already there stays out.

    Required keys: img, gt_masks, gt_bboxes, gt_bboxes_labels, gt_ignore_flags, gt_scores,
    gt_confidences, partner (a second image with the same keys).
    Modified keys: all of the first.

    Args:
        scale: range of the fraction of this image's sides that the second image takes.
        select: ``confident`` pastes the instances of the highest score, ``random`` any.
        blend: alpha is the confidence per pixel (``spatial``), its mean (``scalar``) or 1 (``none``).
        max_covered: fraction of an instance's area from which a paste is refused.
    """

    def __init__(
        self,
        scale: tuple[float, float] = (0.3, 1.0),
        select: str = "confident",
        blend: str = "spatial",
        max_covered: float = 0.5,
    ):
        self.scale, self.select, self.blend, self.max_covered = tuple(scale), select, blend, max_covered

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Paste from ``partner`` into the image."""
        source = results["partner"]
        chosen = choose_instances(source["gt_scores"], self.select)
        if len(chosen) == 0:
            return results
        size_hw = results["img"].shape[:2]
        image, masks, fields = self._placed(source, chosen, size_hw)
        target = results["gt_masks"].masks.astype(bool)
        keep = masks.any(axis=(1, 2)) & (largest_cover(masks, target) < self.max_covered)
        if not keep.any():
            return results
        masks, fields, chosen = masks[keep], fields[keep], chosen[keep]
        masks = cut_by_earlier(masks)
        alpha = blend_alpha(masks, fields, source["gt_scores"][chosen], self.blend)[..., None]
        results["img"] = np.rint(alpha * image + (1 - alpha) * results["img"]).astype(np.uint8)
        target = target & ~masks.any(axis=0)
        for key in ("gt_bboxes_labels", "gt_ignore_flags", "gt_scores"):
            results[key] = np.concatenate([results[key], source[key][chosen]])
        results["gt_confidences"] = np.concatenate([results["gt_confidences"], fields])
        set_masks(results, np.concatenate([target, masks]))
        return results

    def _placed(
        self, source: dict[str, Any], chosen: np.ndarray, size_hw: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image (h, w, 3), masks and fields (n, h, w) of the second image, scaled and shifted onto a canvas."""
        ratio = np.random.uniform(*self.scale)
        height, width = (max(1, round(side * ratio)) for side in size_hw)
        top = np.random.randint(size_hw[0] - height + 1)
        left = np.random.randint(size_hw[1] - width + 1)
        place = slice(top, top + height), slice(left, left + width)
        image = np.zeros((*size_hw, 3), np.uint8)
        image[place] = cv2.resize(source["img"], (width, height), interpolation=cv2.INTER_LINEAR)
        masks = np.zeros((len(chosen), *size_hw), bool)
        fields = np.ones((len(chosen), *size_hw), np.float32)
        for number, index in enumerate(chosen):
            masks[number][place] = resize_mask(source["gt_masks"].masks[index], (height, width)) > 0
        fields[(slice(None), *place)] = resize_fields(source["gt_confidences"][chosen], (height, width))
        return image, masks, fields


@TRANSFORMS.register_module()
class TightBoxes(BaseTransform):
    """Take boxes from masks, and drop instances too small to learn from.

    Required keys: gt_masks, gt_bboxes, gt_bboxes_labels, gt_ignore_flags, gt_scores, gt_confidences.
    Modified keys: all of them.

    Args:
        min_area: fewest pixels of an instance.
    """

    def __init__(self, min_area: int = 4):
        self.min_area = min_area

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Recompute the boxes."""
        set_masks(results, results["gt_masks"].masks.astype(bool), self.min_area)
        return results


@TRANSFORMS.register_module()
class PackConfidenceInputs(PackDetInputs):
    """Pack the sample; scores and confidences become part of ``gt_instances``.

    Required keys: img, and those of the table below.
    Added keys: inputs, data_samples (``gt_instances`` with bboxes, labels, masks, scores (n,), confidences (n, h, w)).
    """

    mapping_table = {  # noqa: RUF012 (MMDetection's convention)
        **PackDetInputs.mapping_table,
        "gt_scores": "scores",
        "gt_confidences": "confidences",
    }


def choose_instances(scores: np.ndarray, select: str) -> np.ndarray:
    """Which instances of an image are pasted: 1 of 1, else 1 to n - 1 of n (CutLER).

    Args:
        scores: (n,) mean confidences.
        select: ``confident`` takes the best, among equals any; ``random`` any.

    Returns:
        Indices; the first ones lie above the others.
    """
    n = len(scores)
    if n == 0:
        return np.zeros(0, np.int64)
    count = 1 if n == 1 else np.random.randint(1, n)
    order = np.random.permutation(n)
    if select == "confident":
        order = order[np.argsort(-scores[order], kind="stable")]  # equal scores stay in random order
    return order[:count]


def largest_cover(masks: np.ndarray, existing: np.ndarray) -> np.ndarray:
    """(n,) largest fraction of an existing instance (m, h, w) that each of ``masks`` (n, h, w) covers."""
    if len(existing) == 0:
        return np.zeros(len(masks))
    flat, other = masks.reshape(len(masks), -1), existing.reshape(len(existing), -1)
    shared = flat.astype(np.float32) @ other.astype(np.float32).T
    return (shared / np.maximum(other.sum(axis=1), 1)).max(axis=1)


def cut_by_earlier(masks: np.ndarray) -> np.ndarray:
    """Masks (n, h, w) made disjoint: an earlier (more confident) one keeps a shared pixel."""
    before = np.cumsum(masks, axis=0) - masks
    return masks & (before == 0)


def blend_alpha(masks: np.ndarray, fields: np.ndarray, scores: np.ndarray, blend: str) -> np.ndarray:
    """Share of the pasted image in each pixel, alpha of Eq. 5: the confidence inside a mask, 0 outside.

    Args:
        masks: (n, h, w) disjoint masks.
        fields: (n, h, w) confidence fields.
        scores: (n,) mean confidences.
        blend: ``spatial``, ``scalar`` or ``none``.

    Returns:
        (h, w) float32 in [0, 1].
    """
    values = {"spatial": fields, "scalar": scores[:, None, None], "none": np.float32(1)}[blend]
    return np.where(masks, values, 0).sum(axis=0, dtype=np.float32).clip(0, 1)


def resize_mask(mask: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Mask (h, w) resized to size_hw: the nearest pixel about the centres of pixels, as images are resized."""
    return mask[np.ix_(*(nearest_indices(*lengths) for lengths in zip(mask.shape, size_hw, strict=True)))]


def resize_fields(fields: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Confidence fields (n, h, w) resized bilinearly to (n, *size_hw)."""
    if fields.shape[1:] == tuple(size_hw):
        return fields
    out = np.ones((len(fields), *size_hw), np.float32)
    for number, field in enumerate(fields):
        out[number] = cv2.resize(field, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    return out


def set_masks(results: dict[str, Any], masks: np.ndarray, min_area: int = 1) -> None:
    """Put masks (n, h, w) bool into a sample with boxes made from them; emptied instances go, with all they have."""
    keep = masks.sum(axis=(1, 2)) >= min_area
    masks = masks[keep]
    for key in ("gt_bboxes_labels", "gt_ignore_flags", "gt_scores", "gt_confidences"):
        results[key] = results[key][keep]
    results["gt_masks"] = BitmapMasks(masks.astype(np.uint8), *results["img"].shape[:2])
    results["gt_bboxes"] = HorizontalBoxes(mask_boxes(masks))


def mask_boxes(masks: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) float32 x1, y1, x2, y2 in px of non-empty masks (n, h, w); x2 and y2 lie past the last pixel."""
    boxes = boxes_xywh_px(masks)
    boxes[:, 2:] += boxes[:, :2]
    return boxes.astype(np.float32)
