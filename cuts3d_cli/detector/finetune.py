"""Learning from labels with classes: dataset, classes in the detector, and weights to start from.

CutLER's "Label-efficient and fully-supervised learning": the class-agnostic detector gets a classifier
and a mask for each class, every other tensor comes from the unsupervised training, and the training is the
standard one.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import torch
from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS, MODELS, TRANSFORMS
from torch import Tensor, nn

from cuts3d_cli.detector.heads import SoftTargetMaskHead
from cuts3d_cli.detector.labels import Labels
from cuts3d_cli.detector.transforms import LoadPseudoMasks
from cuts3d_cli.log import logger
from cuts3d_cli.store.coco import CATEGORIES

OF_CLASSES = re.compile(r"roi_head\..*\b(fc_cls|conv_logits)\.(weight|bias)")
"""Tensors whose rows belong to classes: the classifiers of all stages and the last layer of the masks."""

PREDICTORS = ("fc_cls", "fc_reg", "conv_logits")
"""Last layers of the heads, which CutLER's fine-tuning trains at a higher rate; part of their tensors' names."""


@DATASETS.register_module()
class LabelDataset(BaseDetDataset):
    """The chosen images of a COCO JSON with classes.

    Args:
        labels: from :func:`cuts3d_cli.detector.labels.read_labels`.
    """

    def __init__(self, labels: Labels, **kwargs):
        self.labels = labels
        super().__init__(metainfo={"classes": tuple(category["name"] for category in labels.categories)}, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """One entry per image."""
        return list(self.labels.entries)  # the parent empties what it gets


@TRANSFORMS.register_module()
class LoadLabels(LoadPseudoMasks):
    """Masks, boxes and classes of an image; scores and confidences are 1.

    Keys as :class:`LoadPseudoMasks`.
    """

    def __init__(self):
        super().__init__(with_confidence=False)


@MODELS.register_module()
class ClassMaskHead(SoftTargetMaskHead):
    """Mask head with a mask for each class, of which an object's own is trained."""

    def loss_and_target(self, mask_preds, sampling_results, batch_gt_instances, rcnn_train_cfg) -> dict:
        """Loss of mask logits (n, classes, h, w)."""
        labels = torch.cat([sampled.pos_gt_labels for sampled in sampling_results])
        own = mask_preds[torch.arange(len(labels), device=labels.device), labels][:, None]
        return super().loss_and_target(own, sampling_results, batch_gt_instances, rcnn_train_cfg)


def with_classes(detector: dict[str, Any], n_classes: int, predictor_lr: float = 1.0) -> dict[str, Any]:
    """A detector config for ``n_classes``: classifiers and masks per class, boxes for all classes alike.

    Images are resized as it says for labels (``load_labels``), if it does.

    Args:
        detector: what ``configs.build_detector`` gave.
        n_classes: number of classes; with one, the detector is the class-agnostic one.
        predictor_lr: factor on the learning rate of the last layers.
    """
    detector = deepcopy(detector)
    detector["load"] = detector.pop("load_labels", detector["load"])
    roi_head = detector["model"]["roi_head"]
    stages = roi_head["bbox_head"]
    for head in stages if isinstance(stages, list) else [stages]:
        head["num_classes"] = n_classes
    mask_head = roi_head.get("mask_head")
    if mask_head is not None and n_classes > 1:
        mask_head |= {"num_classes": n_classes, "class_agnostic": False}
        if mask_head["type"] == "SoftTargetMaskHead":
            mask_head["type"] = "ClassMaskHead"
    if predictor_lr != 1:
        special = detector["optim_wrapper"].setdefault("paramwise_cfg", {}).setdefault("custom_keys", {})
        special |= {name: {"lr_mult": predictor_lr} for name in PREDICTORS}
    return detector


def new_layers(model: nn.Module, meta: dict[str, Any], categories: list[dict[str, Any]]) -> dict[str, Tensor]:
    """The detector's own tensors that stay as initialised, since a checkpoint's are of other classes.

    A detector of one class keeps its classifier when it learns one class again, whatever its name;
    with more, the classes must have the same names in the same order.

    Args:
        model: the detector to fill.
        meta: of the checkpoint; without ``categories`` it is class-agnostic.
        categories: classes of the model.
    """
    before = [category["name"] for category in meta.get("categories", CATEGORIES)]
    now = [category["name"] for category in categories]
    if len(before) == len(now) == 1 or before == now:
        return {}
    kept = {key: value for key, value in model.state_dict().items() if OF_CLASSES.fullmatch(key)}
    logger.info("train: reinitialised for %d classes: %s", len(now), ", ".join(kept))
    return kept
