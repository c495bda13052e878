"""Training, self-training and predictions of the detector (Sec. 3.4 and 4, Tables 16 and 17); fine-tuning on labels."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from cuts3d_cli.config.section import Section


class TrainConfig(Section):
    """Training of the class-agnostic detector (Sec. 3.4 and 4, Tables 16 and 17)."""

    detector: str | None = Field(
        "embedded_cascade",
        description="name of a detector config of cuts3d_cli/detector/configs, or a path; null: no detector, a run "
        "ends with the pseudo-masks, their scores and the report",
    )
    init: str | None = Field(
        None,
        description="weights to start from: dino-resnet50, a file or URL of a backbone (torchvision key names) or "
        "detector (ours, CutLER's), or none",
    )
    fraction: float = Field(
        1.0, gt=0, le=1, description="share of the labelled images to learn from, drawn by the seed; with --labels"
    )
    iterations: int = Field(500, ge=1, description="optimiser steps")
    batch_size: int = Field(4, ge=1, description="images a step, over all processes and accumulated parts")
    accumulate: int = Field(
        1, ge=1, description="parts a step's images go through the network in, to save memory; batch norm sees a part"
    )
    lr: float = Field(0.02, gt=0, description="learning rate after warm-up")
    lr_batch: int | None = Field(
        None,
        ge=1,
        description="batch size that lr is meant for: lr is scaled by batch_size / lr_batch; null: lr as it is",
    )
    predictor_lr: float = Field(
        1.0, gt=0, description="factor on lr for the last layers of the heads; with --labels (CutLER: 2 or 4)"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD")
    weight_decay: float = Field(5e-5, ge=0, description="weight decay")
    warmup_iterations: int = Field(50, ge=0, description="steps of linear warm-up")
    lr_steps: list[int] = Field([400], description="steps at which the learning rate is multiplied by lr_gamma")
    lr_gamma: float = Field(0.1, gt=0, le=1, description="factor at lr_steps")
    image_size: int = Field(
        192, ge=32, description="image side the small detector trains and predicts at", json_schema_extra={"unit": "px"}
    )
    loss: Literal["spatial", "scalar", "cuvler", "none"] = Field(
        "spatial",
        description="mask loss weight: Spatial Confidence per pixel (Eq. 6), its mean per instance, CuVLER's soft "
        "target (the mean weights class, box and mask), or none",
    )
    droploss: bool = Field(True, description="drop the classification loss of proposals that no mask overlaps (CutLER)")
    droploss_rule: Literal["paper", "cutler"] = Field(
        "paper", description="masks that DropLoss compares with: all of the image, or what CutLER's code takes for them"
    )
    droploss_iou: float = Field(
        0.01, ge=0, le=1, description="largest IoU with any mask's box at which a proposal is dropped"
    )
    rpn_nms: float = Field(
        0.65, gt=0, le=1, description="IoU above which the paper's detectors suppress a proposal in training (CutLER)"
    )
    rpn_proposals: int = Field(
        4000, ge=1, description="proposals of an image the paper's detectors train on (CutLER: 4000)"
    )
    copy_paste: bool = Field(True, description="copy-paste augmentation")
    copy_paste_scale: tuple[float, float] = Field(
        (0.3, 1.0), description="range of the scale of what is pasted (Table 16)"
    )
    copy_paste_select: Literal["confident", "random"] = Field(
        "confident", description="paste an image's most confident masks, or random ones"
    )
    alpha_blend: Literal["spatial", "scalar", "none"] = Field(
        "spatial", description="blend what is pasted by its confidence (Eq. 5), by its mean (Table 8b), or not"
    )
    amp: bool = Field(False, description="compute in half precision where there is a GPU; without one it has no effect")
    precise_bn: int = Field(
        0, ge=0, description="batches that batch norm's statistics are taken from anew in the end (CutLER: 200)"
    )
    checkpoint_every: int = Field(
        100, ge=1, description="steps between checkpoints that a killed training resumes from"
    )
    workers: int = Field(1, ge=0, description="processes that load data, per training process")
    loggers: list[Literal["tensorboard", "wandb"]] = Field(
        [], description="what takes the losses beside metrics.jsonl: tensorboard, wandb; each needs its package"
    )

    @field_validator("loggers", mode="before")
    @classmethod
    def _none_is_empty(cls, value: Any) -> Any:
        return [] if value is None else value

    @property
    def used_lr(self) -> float:
        """Learning rate after warm-up for the batch size, by the linear rule."""
        return self.lr if self.lr_batch is None else self.lr * self.batch_size / self.lr_batch


class SelfTrainConfig(Section):
    """Rounds of self-training (Sec. 4, Table 17)."""

    rounds: int = Field(2, ge=0, description="rounds of self-training")
    score_threshold: float = Field(
        0.75, ge=0, le=1, description="round t keeps predictions above score_threshold - score_step * t"
    )
    score_step: float = Field(0.05, ge=0, le=1, description="what the threshold falls by each round")
    merge_iou: float = Field(
        0.5, ge=0, le=1, description="an earlier mask stays when its IoU with every kept prediction is at most this"
    )
    max_detections: int = Field(30, ge=1, description="predictions taken per image")
    iterations: int = Field(200, ge=1, description="optimiser steps a round")
    batch_size: int = Field(4, ge=1, description="images a step, over all processes and accumulated parts")
    accumulate: int = Field(1, ge=1, description="parts a step's images go through the network in, to save memory")
    lr: float = Field(0.01, gt=0, description="learning rate")
    lr_batch: int | None = Field(
        None, ge=1, description="batch size that lr is meant for: lr is scaled by batch_size / lr_batch; null: as it is"
    )
    warmup_iterations: int = Field(20, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay (CutLER's self-training: 1e-4)")
    lr_steps: list[int] = Field([150], description="steps at which the learning rate is multiplied by train.lr_gamma")
    copy_paste_scale: tuple[float, float] = Field(
        (0.5, 1.0), description="range of the scale of what is pasted (Table 17)"
    )
    droploss: bool = Field(
        False, description="drop the classification loss of unmatched proposals (CutLER: off in self-training)"
    )
    rpn_nms: float = Field(0.7, gt=0, le=1, description="as train.rpn_nms, in the rounds (CutLER: 0.7)")
    rpn_proposals: int = Field(1000, ge=1, description="as train.rpn_proposals, in the rounds (CutLER: 1000)")
    target_images: str | None = Field(
        None, description="folder of another domain's images for in-domain self-training (Sec. 4.3), without depth"
    )
    target_threshold: float = Field(
        0.7, ge=0, le=1, description="in-domain: predictions above are the labels; there are no earlier masks"
    )
    target_iterations: int = Field(200, ge=1, description="in-domain: optimiser steps (the paper on COCO: 14000)")


class PredictConfig(Section):
    """Detections on images."""

    score_threshold: float = Field(0.0, ge=0, le=1, description="detections below are left out")
    max_detections: int = Field(100, ge=1, description="detections kept per image")


class FinetuneConfig(Section):
    """Learning from labels with classes (CutLER), made on request only (`snakemake finetuned`)."""

    labels: str | None = Field(
        None, description="COCO JSON with classes to learn from; null: data.annotations. Scored on data.val_annotations"
    )
    images: str | None = Field(None, description="folder of the labelled images; null: data.images")
    fractions: list[float] = Field(
        [0.05, 0.2, 1.0], min_length=1, description="shares of the labelled images that detectors learn from"
    )
    iterations: list[int] = Field(
        [120], min_length=1, description="optimiser steps, once for all shares or one for each"
    )
    lr: list[float] = Field(
        [0.02], min_length=1, description="learning rate, once or for each; times 0.1 at 2/3 and 8/9 of the steps"
    )
    lr_batch: int | None = Field(None, ge=1, description="as train.lr_batch, for lr")
    predictor_lr: list[float] = Field(
        [2.0], min_length=1, description="factor on lr for the heads' last layers, once or for each"
    )
    batch_size: int = Field(4, ge=1, description="images a step")
    warmup_iterations: int = Field(20, ge=0, description="steps of linear warm-up")

    @model_validator(mode="after")
    def _one_for_each(self) -> FinetuneConfig:
        if len(set(self.fractions)) < len(self.fractions) or not all(0 < share <= 1 for share in self.fractions):
            raise ValueError(f"fractions must be distinct, above 0 and at most 1: {self.fractions}")
        for key in ("iterations", "lr", "predictor_lr"):
            values = getattr(self, key)
            if len(values) not in (1, len(self.fractions)) or min(values) <= 0:
                raise ValueError(f"{key} must be one number above 0, or {len(self.fractions)}: {values}")
        return self
