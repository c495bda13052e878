"""Run a trained detector on images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.dataset import Compose
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from torch import nn
from torchvision.ops import box_convert

import cuts3d_cli.detector  # noqa: F401  (registers our classes)
from cuts3d_cli.config import PredictConfig
from cuts3d_cli.detector import checkpoints
from cuts3d_cli.detector.dataset import compose
from cuts3d_cli.errors import Cuts3dError, ImageError
from cuts3d_cli.log import logger, progress
from cuts3d_cli.store.coco import CATEGORIES, annotation
from cuts3d_cli.store.images import read_image
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.store.masks import Counts


@dataclass(frozen=True)
class Detector:
    """A trained detector ready to predict.

    Attributes:
        model: MMDetection model in evaluation mode.
        pipeline: transforms of a sample, see :func:`sample_of`.
        meta: how it was made.
        score_threshold: detections below are omitted.
    """

    model: nn.Module
    pipeline: Compose
    meta: dict[str, Any]
    score_threshold: float


@dataclass(frozen=True)
class Detections:
    """What was detected in an image, best first.

    Attributes:
        masks: (M, H, W) bool, none of them empty.
        scores: (M,) float32.
        boxes: (M, 4) float64: left, top, width, height in px, as detected (not that of the mask).
        labels: (M,) int64, places in `categories_of`.
    """

    masks: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


def load_model(checkpoint: str | Path, config: PredictConfig, device: torch.device) -> Detector:
    """Build the detector a checkpoint describes, with its weights.

    Raises:
        ModelError: the checkpoint is missing, damaged or not a detector.
    """
    content = checkpoints.load_detector(checkpoint)
    described = content["meta"]["detector"]
    model_config = ConfigDict(described["model"])
    model_config.test_cfg.rcnn.max_per_img = config.max_detections
    if len(categories_of(content["meta"])) > 1:  # else every region counts once per class, however unlikely
        least = model_config.test_cfg.rcnn.score_thr
        model_config.test_cfg.rcnn.score_thr = max(least, math.nextafter(config.score_threshold, -1))
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = revert_sync_batchnorm(MODELS.build(model_config))
    pack = {"type": "PackConfidenceInputs", "meta_keys": ("img_id", "ori_shape", "img_shape", "scale_factor")}
    pipeline = compose([*described["test"], pack])
    checkpoints.fill(model, content["state_dict"], checkpoint)
    cv2.setNumThreads(0)
    return Detector(model.to(device).eval(), pipeline, content["meta"], config.score_threshold)


def predict_images(
    detector: Detector, records: Sequence[ImageRecord], image_root: str | Path
) -> tuple[list[dict[str, Any]], Counts]:
    """Detections of images as COCO annotations with ``score``, best first within an image.

    Args:
        detector: from :func:`load_model`.
        records: the images.
        image_root: folder their file names are relative to.

    Returns:
        Annotations of all images in order, and how the images ended.
    """
    counts, annotations = Counts(), []
    for record in progress(records, "predict", len(records)):
        try:
            found = predict_image(detector, record, Path(image_root) / record.file_name)
        except Cuts3dError as error:
            counts.failures[record.file_name] = str(error)
            logger.warning("predict: %s failed: %s", record.file_name, error)
            continue
        annotations.extend(found)
        counts.done += bool(found)
        counts.no_object += not found
    return annotations, counts


def predict_image(detector: Detector, record: ImageRecord, path: Path) -> list[dict[str, Any]]:
    """COCO annotations of one image, best first; ``bbox`` is the box that was detected, not that of the mask.

    Raises:
        ImageError: it cannot be read, or is not of the recorded size.
    """
    if record.error:
        raise ImageError(record.error)
    rgb = read_image(path)
    height, width = rgb.shape[:2]
    if (height, width) != (record.height, record.width):
        raise ImageError(
            f"image {path} changed", expected=f"{record.width} x {record.height} px", found=f"{width} x {height}",
            hint="rerun `cuts3d prepare`",
        )  # fmt: skip
    found = detections_of(detector, rgb)
    ids = [category["id"] for category in categories_of(detector.meta)]
    return [
        {**annotation(record.id, mask, score), "bbox": [round(v, 3) for v in box], "category_id": ids[label]}
        for mask, box, score, label in zip(
            found.masks, found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
        )
    ]


@torch.inference_mode()
def detections_of(detector: Detector, rgb: np.ndarray) -> Detections:
    """Detections in an image (H, W, 3) uint8, best first; those whose mask is empty are omitted."""
    sample = sample_of(detector, rgb)
    batch = {"inputs": [sample["inputs"]], "data_samples": [sample["data_samples"]]}
    found = detector.model.test_step(batch)[0].pred_instances
    order = found.scores.argsort(descending=True, stable=True)
    found = found[order[found.scores[order] >= detector.score_threshold]]
    masks = found.masks.cpu().numpy().astype(bool)
    some = masks.any(axis=(1, 2))
    boxes = box_convert(found.bboxes.double().cpu(), "xyxy", "xywh").numpy()
    scores, labels = found.scores.cpu().numpy(), found.labels.cpu().numpy()
    return Detections(masks[some], scores[some], boxes[some], labels[some])


def sample_of(detector: Detector, rgb: np.ndarray) -> dict[str, Any]:
    """What the model takes of an image (H, W, 3) uint8: ``inputs`` and ``data_samples``."""
    size = rgb.shape[:2]
    return detector.pipeline({"img": rgb, "img_shape": size, "ori_shape": size, "img_id": 0})


def categories_of(meta: dict[str, Any]) -> list[dict[str, Any]]:
    """``id`` and ``name`` of a detector's classes by label; the one class of the class-agnostic detector."""
    return meta.get("categories", CATEGORIES)
