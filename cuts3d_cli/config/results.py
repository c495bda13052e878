"""Scores, the report, and the paper's ablations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cuts3d_cli.config.section import Count, Detections, Pixels, Section, Seed, Step


class EvaluateConfig(Section):
    """Class-agnostic COCO evaluation (Sec. 4)."""

    max_dets: tuple[Detections, Detections, Detections] = Field(
        (1, 10, 100), description="detections per image at which AR is computed; AP uses the last"
    )
    iou_types: list[Literal["bbox", "segm"]] = Field(
        ["bbox", "segm"], description="what is compared: boxes, masks or both"
    )
    class_agnostic: bool = Field(
        True, description="score all categories as one (zero-shot evaluation); off: the usual COCO evaluation"
    )
    pseudo_mask_rank: Literal["score", "attempts", "quality"] = Field(
        "score",
        description="ranking of pseudo-masks for AP: by score (the stability of the cut), by the attempt that found "
        "them, the first one highest, or by quality; detections are always ranked by score",
        json_schema_extra={"option_default": "that which a mask file names, else score"},
    )
    difficult: Literal["ignore", "count"] = Field(
        "ignore",
        description="objects flagged difficult (VOC) or ignore: ignore them and their detections, or count them",
    )


class ReportConfig(Section):
    """The HTML report."""

    n_images: Count = Field(12, description="images shown with every intermediate")
    n_sheet: int = Field(
        24,
        ge=0,
        le=10_000,
        description="images on each contact sheet: of the training images' masks, and of the detections",
    )
    thumbnail: Pixels = Field(480, ge=64, description="longer side of the pictures", json_schema_extra={"unit": "px"})
    min_score: float = Field(
        0.3,
        ge=0,
        le=1,
        description="detections below this score are evaluated but not drawn, unless an image has none above",
    )
    embed_originals: bool = Field(
        False,
        description="embed the photographs at full size; off: the report links to the image files",
    )


class ExperimentsConfig(Section):
    """The ablations of Tables 4 to 6, made on request only (`snakemake results`)."""

    seeds: list[Seed] = Field([0, 1, 2], min_length=1, description="seeds with which every training is repeated")
    iterations: Step = Field(180, description="optimiser steps of a first training, instead of train.iterations")
    lr_steps: list[Step] = Field([140], description="steps at which its learning rate is multiplied by train.lr_gamma")
    rounds: int = Field(3, ge=0, le=100, description="rounds of self-training (Sec. 4; Table 17 has 1)")
    round_iterations: Step = Field(60, description="optimiser steps per round, instead of selftrain.iterations")
    round_lr_steps: list[Step] = Field(
        [45], description="steps at which a round's learning rate is multiplied by train.lr_gamma"
    )

    @model_validator(mode="after")
    def _seeds_once(self) -> ExperimentsConfig:
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds must be distinct and 0 or more: {self.seeds}")
        return self
