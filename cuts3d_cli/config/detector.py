"""Training, self-training and predictions of the detector (Sec. 3.4 and 4, Tables 16 and 17); fine-tuning on labels."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from cuts3d_cli.config.section import Batch, Detections, Pixels, Rate, Section, Step, Steps, Weight

Scale = Annotated[float, Field(gt=0, le=10)]


class TrainConfig(Section):
    """Training of the class-agnostic detector (Sec. 3.4 and 4, Tables 16 and 17)."""

    detector: str | None = Field(
        "embedded_cascade",
        description="name of a detector config in cuts3d_cli/detector/configs, or a path; null: no detector, the run "
        "ends with the pseudo-masks, their scores and the report",
    )
    init: str | None = Field(
        None,
        description="weights to start from: dino-resnet50, a file or URL of a backbone (torchvision key names) or "
        "detector (ours, CutLER's), or none",
    )
    fraction: float = Field(
        1.0, gt=0, le=1, description="fraction of the labelled images to train on, sampled with the seed; with --labels"
    )
    iterations: Step = Field(500, description="optimiser steps")
    batch_size: Batch = Field(4, description="images per step, over all processes and accumulated parts")
    accumulate: Batch = Field(
        1,
        description="gradient accumulation: parts into which the images of a step are split, to save memory; "
        "batch norm sees one part",
    )
    lr: Rate = Field(0.02, description="learning rate after warm-up")
    lr_batch: Batch | None = Field(
        None,
        description="batch size for which lr is given: lr is scaled by batch_size / lr_batch; null: no scaling",
    )
    predictor_lr: Rate = Field(
        1.0, description="factor on lr for the last layers of the heads; with --labels (CutLER: 2 or 4)"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD")
    weight_decay: Weight = Field(5e-5, description="weight decay")
    warmup_iterations: Steps = Field(50, description="steps of linear warm-up")
    lr_steps: list[Step] = Field([400], description="steps at which the learning rate is multiplied by lr_gamma")
    lr_gamma: float = Field(0.1, gt=0, le=1, description="factor at lr_steps")
    image_size: Pixels = Field(
        192,
        ge=32,
        description="image side at which the small detector trains and predicts",
        json_schema_extra={"unit": "px"},
    )
    loss: Literal["spatial", "scalar", "cuvler", "none"] = Field(
        "spatial",
        description="mask loss weight: Spatial Confidence per pixel (Eq. 6), its mean per instance, CuVLER's soft "
        "target (the mean weights class, box and mask), or none",
    )
    droploss: bool = Field(True, description="drop the classification loss of proposals that no mask overlaps (CutLER)")
    droploss_rule: Literal["paper", "cutler"] = Field(
        "paper",
        description="masks that DropLoss compares with: all masks of the image, or those that CutLER's code "
        "compares with",
    )
    droploss_iou: float = Field(
        0.01, ge=0, le=1, description="largest IoU with any mask's box at which a proposal is dropped"
    )
    rpn_nms: float = Field(
        0.65, gt=0, le=1, description="IoU above which the paper's detectors suppress a proposal in training (CutLER)"
    )
    rpn_proposals: Detections = Field(
        4000, description="proposals per image on which the paper's detectors train (CutLER: 4000)"
    )
    copy_paste: bool = Field(True, description="copy-paste augmentation")
    copy_paste_scale: tuple[Scale, Scale] = Field(
        (0.3, 1.0), description="range of scales of pasted objects (Table 16)"
    )
    copy_paste_select: Literal["confident", "random"] = Field(
        "confident", description="paste an image's most confident masks, or random ones"
    )
    alpha_blend: Literal["spatial", "scalar", "none"] = Field(
        "spatial", description="blend pasted objects by their confidence (Eq. 5), by its mean (Table 8b), or not at all"
    )
    amp: bool = Field(False, description="use mixed precision on a GPU; no effect on a CPU")
    precise_bn: Steps = Field(
        0, description="batches over which batch norm's statistics are recomputed at the end (CutLER: 200)"
    )
    checkpoint_every: Step = Field(
        100, description="steps between checkpoints from which an interrupted training resumes"
    )
    workers: int = Field(1, ge=0, le=256, description="data-loading processes per training process")
    loggers: list[Literal["tensorboard", "wandb"]] = Field(
        [], description="loggers of the losses besides metrics.jsonl: tensorboard, wandb; each needs its package"
    )

    @field_validator("loggers", mode="before")
    @classmethod
    def _none_is_empty(cls, value: Any) -> Any:
        return [] if value is None else value

    @property
    def used_lr(self) -> float:
        """Learning rate after warm-up for the batch size, by the linear scaling rule."""
        return self.lr if self.lr_batch is None else self.lr * self.batch_size / self.lr_batch


class SelfTrainConfig(Section):
    """Rounds of self-training (Sec. 4, Table 17)."""

    rounds: int = Field(2, ge=0, le=100, description="rounds of self-training")
    score_threshold: float = Field(
        0.75, ge=0, le=1, description="round t keeps predictions above score_threshold - score_step * t"
    )
    score_step: float = Field(0.05, ge=0, le=1, description="decrease of the threshold per round")
    merge_iou: float = Field(
        0.5, ge=0, le=1, description="an earlier mask is kept if its IoU with every kept prediction is at most this"
    )
    max_detections: Detections = Field(30, description="predictions used per image")
    iterations: Step = Field(200, description="optimiser steps per round")
    batch_size: Batch = Field(4, description="images per step, over all processes and accumulated parts")
    accumulate: Batch = Field(1, description="gradient accumulation: parts of a step, to save memory")
    lr: Rate = Field(0.01, description="learning rate")
    lr_batch: Batch | None = Field(
        None,
        description="batch size for which lr is given: lr is scaled by batch_size / lr_batch; null: no scaling",
    )
    warmup_iterations: Steps = Field(20, description="steps of linear warm-up")
    weight_decay: Weight = Field(1e-4, description="weight decay (CutLER's self-training: 1e-4)")
    lr_steps: list[Step] = Field([150], description="steps at which the learning rate is multiplied by train.lr_gamma")
    copy_paste_scale: tuple[Scale, Scale] = Field(
        (0.5, 1.0), description="range of scales of pasted objects (Table 17)"
    )
    droploss: bool = Field(
        False, description="drop the classification loss of unmatched proposals (CutLER: off in self-training)"
    )
    rpn_nms: float = Field(0.7, gt=0, le=1, description="as train.rpn_nms, in the rounds (CutLER: 0.7)")
    rpn_proposals: Detections = Field(1000, description="as train.rpn_proposals, in the rounds (CutLER: 1000)")
    target_images: str | None = Field(
        None, description="folder of images of another domain for in-domain self-training (Sec. 4.3); needs no depth"
    )
    target_threshold: float = Field(
        0.7,
        ge=0,
        le=1,
        description="in-domain: predictions above this score are the labels; there are no earlier masks",
    )
    target_iterations: Step = Field(200, description="in-domain: optimiser steps (the paper on COCO: 14000)")


class PredictConfig(Section):
    """Detections on images."""

    score_threshold: float = Field(0.0, ge=0, le=1, description="detections below this score are dropped")
    max_detections: Detections = Field(100, description="detections kept per image")


class FinetuneConfig(Section):
    """Learning from labels with classes (CutLER), made on request only (`snakemake finetuned`)."""

    labels: str | None = Field(
        None,
        description="COCO JSON with classes to train on; null: data.annotations. Evaluated on data.val_annotations",
    )
    images: str | None = Field(None, description="folder of the labelled images; null: data.images")
    fractions: list[float] = Field(
        [0.05, 0.2, 1.0], min_length=1, description="fractions of the labelled images on which detectors are trained"
    )
    iterations: list[Step] = Field(
        [120], min_length=1, description="optimiser steps, one number for all fractions or one each"
    )
    lr: list[Rate] = Field(
        [0.02],
        min_length=1,
        description="learning rate, one number or one each; multiplied by 0.1 at 2/3 and 8/9 of the steps",
    )
    lr_batch: Batch | None = Field(None, description="as train.lr_batch, for lr")
    predictor_lr: list[Rate] = Field(
        [2.0], min_length=1, description="factor on lr for the last layers of the heads, one number or one each"
    )
    batch_size: Batch = Field(4, description="images per step")
    warmup_iterations: Steps = Field(20, description="steps of linear warm-up")

    @model_validator(mode="after")
    def _one_for_each(self) -> FinetuneConfig:
        if len(set(self.fractions)) < len(self.fractions) or not all(0 < fraction <= 1 for fraction in self.fractions):
            raise ValueError(f"fractions must be distinct, above 0 and at most 1: {self.fractions}")
        for key in ("iterations", "lr", "predictor_lr"):
            values = getattr(self, key)
            if len(values) not in (1, len(self.fractions)) or min(values) <= 0:
                raise ValueError(f"{key} must be one number above 0, or {len(self.fractions)}: {values}")
        return self
