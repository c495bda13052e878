"""The typed configuration: the one source of every name, default, range, unit and paper reference.

``config.yaml``, the command-line options and the presets are made from or checked against these
models; ``tests/test_config.py`` keeps them together. The defaults are the embedded preset, which
needs no weights and no network; the other presets override what differs (``presets/*.yaml``).
Section numbers, equations and tables refer to CutS3D (Sick et al., ICCV 2025, arXiv 2411.16319).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cuts3d_cli.backends.base import KERNEL, backend_defaults, feature_names, needs_depth
from cuts3d_cli.errors import ConfigError

BY_BACKEND = {
    "features": ("image_size", "patch_size", "facet", "center"),
    "localcut": ("tau_ncut",),
    "baseline": ("tau_ncut",),
}
"""Keys, by section, whose default is the feature backend's own (`backends.base.FEATURES`); null asks for it."""


EMBEDDED, PHOTO = "embedded", "photo"
"""The presets that are taken where none is named."""


def with_backend_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` with the keys of `BY_BACKEND` that are missing or null set to what fits the feature backend."""
    result = dict(values)
    features = values.get("features")
    joined = features.get("join") if isinstance(features, dict) else None
    for section, defaults in backend_defaults(backend_of(values)).items():
        if joined and section == "features":  # a joined ViT fixes the grid
            defaults = {**defaults, **backend_defaults(str(joined))[section]}
        given = result.get(section, {})
        if isinstance(given, dict):
            result[section] = {
                **defaults,
                **{key: v for key, v in given.items() if v is not None or key not in defaults},
            }
    return result


def backend_of(values: dict[str, Any]) -> str:
    """The feature backend that nested values name, or the default one."""
    features = values.get("features")
    named = features.get("backend") if isinstance(features, dict) else None
    return str(named or KERNEL)


class Section(BaseModel):
    """A group of settings; unknown keys are errors, values are checked and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(Section):
    """Which images, and what lies beside them; with images other than the sample's, nothing of the sample."""

    images: str = Field(
        "sample/train/images",
        description="folder of unlabelled images (searched recursively); where it is not the sample's, every other key "
        "of this section that is not given is null (n_shards: 1)",
    )
    depth_maps: str | None = Field(
        "sample/train/depth",
        description="folder with a depth map per image, same relative path and stem, for depth.backend auto and files; "
        "null: beside the images",
    )
    annotations: str | None = Field(
        "sample/train/annotations.json", description="COCO ground truth of the images; read by evaluate only"
    )
    val_images: str | None = Field(
        "sample/val/images",
        description="folder of held-out images to evaluate on; where it is not the sample's, val_depth_maps and "
        "val_annotations are null unless given",
    )
    val_depth_maps: str | None = Field("sample/val/depth", description="depth maps of the held-out images")
    val_annotations: str | None = Field(
        "sample/val/annotations.json", description="COCO ground truth of the held-out images; read by evaluate only"
    )
    val_shards: int = Field(1, ge=1, description="parts the list of held-out images is cut into")
    n_shards: int = Field(
        2, ge=1, description="parts the image list is cut into; each is one job and one store per stage"
    )


class DepthConfig(Section):
    """Depth per image, normalised so that 0 is nearest and 1 farthest (Sec. 3.1)."""

    backend: str = Field(
        "auto",
        description="files; auto: a file where there is one, else the embedded model; or the name of a depth model "
        "(see `cuts3d depth --help`)",
    )
    kind: Literal["metric", "inverse"] = Field(
        "metric",
        description="what depth files hold: metric (far = large) or inverse depth (near = large); models know theirs",
    )
    inverse_to: Literal["affine", "reciprocal"] = Field(
        "affine",
        description="how inverse depth is turned: affine (1 - d, affine in disparity) or reciprocal (1/d)",
    )
    holes: Literal["zero", "none"] = Field(
        "zero", description="which values of a depth file mean no reading; NaN always does"
    )
    clip: float = Field(
        0.001,
        ge=0,
        lt=0.5,
        description="share of readings clipped at either end before normalising; 0: the paper's minimum and maximum",
    )
    size: int = Field(480, ge=8, description="height and width of the stored map", json_schema_extra={"unit": "px"})
    weights: str | None = Field(None, description="file with the depth model's weights instead of a download")


class FeaturesConfig(Section):
    """Patch features whose cosine is the semantic affinity (Sec. 3.1)."""

    backend: str = Field(
        KERNEL, description="kernel (embedded, no weights), or the name of a ViT (see `cuts3d features --help`)"
    )
    image_size: int = Field(
        480,
        ge=16,
        description="size of the image for the backend, both sides, Lanczos (Table 15: 480); null: the backend's own",
        json_schema_extra={"unit": "px"},
    )
    patch_size: int = Field(
        8,
        ge=1,
        description="side of a patch; the grid is image_size / patch_size; null: the backend's own",
        json_schema_extra={"unit": "px"},
    )
    facet: Literal["key", "query", "value", "token"] | None = Field(
        None,
        description="what of a ViT's block: keys (MaskCut, CutS3D), queries or values of its attention, or normalised "
        "tokens; null: the backend's own",
    )
    block: int | None = Field(None, ge=1, description="block of a ViT, from 1; null: the last")
    center: bool = Field(
        False, description="take the image's mean out of a ViT's features; null: the backend's own choice"
    )
    weights: str | None = Field(None, description="file with the model's weights instead of a download")
    kernel_width: float = Field(
        12.0, gt=0, description="deviation of the embedded colour kernel", json_schema_extra={"unit": "Lab"}
    )
    kernel_lightness: float = Field(
        0.25, ge=0, description="weight of lightness against the colour axes in the embedded features"
    )
    kernel_background: float = Field(
        1.0, ge=0, le=1, description="how far the embedded features draw background together: 0 not, 1 to a point"
    )
    kernel_dims: int = Field(128, ge=8, description="channels of the embedded features (rank of the kernel)")
    focal: float = Field(
        0.82,
        gt=0,
        description="focal length of the camera for backend geometry (0.82: Kinect, 63 degrees across)",
        json_schema_extra={"unit": "longer side of the image"},
    )
    relative_range: float = Field(
        3.0,
        gt=1,
        description="distance of the farthest over that of the nearest point that backend geometry takes inverse depth "
        "for, where depth is known no better",
    )
    join: str | None = Field(
        None,
        description="a ViT whose cosine weighs neighbouring patches beside their geometry (backend geometry only); its "
        "weights are features.weights",
    )

    @model_validator(mode="after")
    def _joins_to_geometry(self) -> FeaturesConfig:
        if self.join is not None and self.backend != "geometry":
            raise ValueError(f"join goes with backend geometry, not with {self.backend}")
        if self.join is not None and self.join not in (names := [n for n in feature_names() if not needs_depth(n)]):
            raise ValueError(f"join must be one of {', '.join(names)}: {self.join!r}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _fit_backend(cls, values: Any) -> Any:
        return with_backend_defaults({"features": values})["features"] if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _whole_grid(self) -> FeaturesConfig:
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size must be a multiple of patch_size: {self.image_size} is not one of {self.patch_size}"
            )
        return self

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size


class SpatialImportanceConfig(Section):
    """Spatial Importance: where depth changes, affinities are sharpened (Sec. 3.3, Eq. 1-2)."""

    beta: float = Field(0.45, gt=0, le=1, description="least importance (Eq. 2, Table 15)")
    sigma: float = Field(
        3.0,
        gt=0,
        description="deviation of the Gaussian (Eq. 1), in pixels of the resolution below",
        json_schema_extra={"unit": "px or patches"},
    )
    resolution: Literal["image", "grid"] = Field(
        "image", description="whether Eq. 1 runs on the depth map or on the patch grid"
    )


class LocalCutConfig(Section):
    """NCut and LocalCut, repeated until N instances are tried (Sec. 3.1-3.3)."""

    n_instances: int = Field(5, ge=1, description="instances tried per image, N (Table 15: 3)")
    tau_ncut: float = Field(
        0.13,
        ge=-1,
        le=1,
        description="threshold that binarises the affinity (Table 15: 0.13); null: the feature backend's own",
    )
    tau_ncut_at: Literal["sharpened", "cosine"] = Field(
        "sharpened",
        description="what tau_ncut is a threshold of: the sharpened affinity (the paper), or the plain cosine, so it "
        "keeps its meaning for pairs of the least importance",
    )
    sharpen: bool = Field(True, description="sharpen the affinity by Spatial Importance (Eq. 3)")
    exponent: Literal["mean", "row", "max"] = Field(
        "mean", description="which importance a pair of patches takes in Eq. 3"
    )
    local_cut: bool = Field(True, description="cut the semantic mask in 3D; off keeps the semantic mask, as MaskCut")
    tau_knn: float = Field(
        0.06,
        gt=0,
        description="longest edge kept in the 3D graph (Table 15: 0.115)",
        json_schema_extra={"unit": "cube side"},
    )
    k: int = Field(20, ge=1, description="neighbours of a point in the 3D graph")
    xy_extent: float = Field(
        1.0, gt=0, description="extent of x and y relative to z", json_schema_extra={"unit": "cube side"}
    )
    background_z: float = Field(
        1.5,
        ge=1,
        description="depth of the plane that takes the points outside the semantic mask",
        json_schema_extra={"unit": "cube side"},
    )
    capacity: Literal["inverse", "distance", "unit"] = Field("inverse", description="edge capacity from edge length")
    sink: Literal["outside", "anywhere"] = Field(
        "outside", description="patch of the smallest |x| outside the semantic mask, or anywhere"
    )
    maxflow: Literal["scipy", "networkx"] = Field(
        "scipy", description="max-flow solver: scipy (Dinic), networkx (Dinitz, slow oracle)"
    )
    eigensolver: Literal["lanczos", "torch", "dense"] = Field(
        "lanczos",
        description="second eigenvector: lanczos (with `device: cuda` as torch), torch (several images at once on "
        "`device`), or dense, the fallback of both",
    )
    exclude: Literal["nodes", "features"] = Field(
        "nodes",
        description="how found instances leave the graph: nodes are removed (CutS3D) or features zeroed (CutLER)",
    )
    component: Literal["none", "seed", "alike"] = Field(
        "seed",
        description="what is kept of a mask: all, the connected part that holds the seed patch, or what neighbours "
        "above tau_ncut join to it",
    )
    max_overlap: float = Field(
        0.5, ge=0, le=1, description="a later mask is rejected at a larger IoU with the mask before (CutLER)"
    )
    min_area: float = Field(
        0.01, ge=0, le=1, description="a later mask is rejected at this share of the patches or less (CutLER)"
    )
    corners: int = Field(
        3, ge=1, le=5, description="a side with this many image corners is background (CutLER: 3; 5 never flips)"
    )
    stop_at_rest: bool = Field(
        True, description="stop when the foreground is the inverse of all instances so far (CutLER: off)"
    )


class ConfidenceConfig(Section):
    """Spatial Confidence: agreement of cuts over thresholds (Sec. 3.4, Eq. 4)."""

    n_thresholds: int = Field(6, ge=1, description="thresholds between tau_knn_min and tau_knn, T (Table 15)")
    tau_knn_min: float = Field(
        0.03, gt=0, description="smallest threshold (Table 15: 0.05)", json_schema_extra={"unit": "cube side"}
    )
    sc_min: float = Field(0.5, gt=0, le=1, description="least confidence inside an instance (Sec. 3.4)")


class CrfConfig(Section):
    """Dense CRF at a working size, then the fill and reject of CutLER."""

    enabled: bool = Field(True, description="refine masks with the CRF; off only resizes them")
    image_size: int = Field(
        480, ge=16, description="size of the image that the CRF works at, both sides", json_schema_extra={"unit": "px"}
    )
    unary: Literal["softmax", "hard", "confidence"] = Field(
        "softmax", description="softmax of the 0/1 mask (CutLER: 0.731/0.269), near-certain, or the Spatial Confidence"
    )
    confidence: Literal["cuts", "crf"] = Field(
        "cuts",
        description="confidence and score of the masks: Spatial Confidence, or the CRF's own probability (Table 11b)",
    )
    solver: Literal["lattice", "torch", "pydensecrf"] = Field(
        "lattice",
        description="mean field: lattice (with `device: cuda` as torch), torch (several images at once on `device`), "
        "or pydensecrf, the oracle of both, which needs that package",
    )
    iterations: int = Field(10, ge=1, description="mean-field iterations")
    gaussian_sxy: float = Field(
        3.0, gt=0, description="deviation of the smoothness kernel", json_schema_extra={"unit": "px"}
    )
    gaussian_compat: float = Field(7.0, ge=0, description="weight of the smoothness kernel")
    bilateral_sxy: float = Field(
        50.0, gt=0, description="deviation in space of the appearance kernel", json_schema_extra={"unit": "px"}
    )
    bilateral_srgb: float = Field(
        5.0, gt=0, description="deviation in colour of the appearance kernel", json_schema_extra={"unit": "grey levels"}
    )
    bilateral_compat: float = Field(10.0, ge=0, description="weight of the appearance kernel")
    fill_holes: bool = Field(True, description="fill the holes of a refined mask")
    min_iou: float = Field(
        0.5, ge=0, le=1, description="a refined mask below this IoU with the mask before is rejected"
    )

    @model_validator(mode="after")
    def _has_probability(self) -> CrfConfig:
        if self.confidence == "crf" and not self.enabled:
            raise ValueError("confidence crf is the CRF's probability and needs enabled: true")
        return self


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
    droploss_rule: Literal["paper", "released"] = Field(
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


class EvaluateConfig(Section):
    """Class-agnostic COCO evaluation (Sec. 4)."""

    max_dets: tuple[int, int, int] = Field(
        (1, 10, 100), description="detections per image at which AR is taken; AP uses the last"
    )
    iou_types: list[Literal["bbox", "segm"]] = Field(
        ["bbox", "segm"], description="what is compared: boxes, masks or both"
    )
    class_agnostic: bool = Field(
        True, description="score all categories as one (zero-shot evaluation); off is the usual COCO evaluation"
    )
    pseudo_mask_rank: Literal["score", "tries"] = Field(
        "score",
        description="what ranks pseudo-masks for AP: their score, or the try that found them, the first one highest; "
        "detections are ranked by their score",
    )
    difficult: Literal["ignore", "count"] = Field(
        "ignore", description="objects flagged difficult (VOC) or ignore: their detections count neither way, or count"
    )


class ReportConfig(Section):
    """The HTML report."""

    n_images: int = Field(12, ge=1, description="images shown with every intermediate")
    thumbnail: int = Field(240, ge=64, description="longer side of the pictures", json_schema_extra={"unit": "px"})
    min_score: float = Field(0.3, ge=0, le=1, description="detections below are not drawn; they count all the same")


class BaselineConfig(Section):
    """The MaskCut baseline that the workflow computes beside (CutLER)."""

    enabled: bool = Field(True, description="also make and score MaskCut pseudo-masks from the same features")
    tau_ncut: float = Field(
        0.15, ge=-1, le=1, description="threshold that binarises the affinity (CutLER's recipe: 0.15)"
    )


class ExperimentsConfig(Section):
    """The ablations of Tables 4 to 6, made on request only (`snakemake results`)."""

    seeds: list[int] = Field([0, 1, 2], min_length=1, description="seeds that every training is repeated with")
    iterations: int = Field(180, ge=1, description="optimiser steps of a first training, instead of train.iterations")
    lr_steps: list[int] = Field([140], description="steps at which its learning rate is multiplied by train.lr_gamma")
    rounds: int = Field(3, ge=0, description="rounds of self-training (Sec. 4; Table 17 has 1)")
    round_iterations: int = Field(60, ge=1, description="optimiser steps a round, instead of selftrain.iterations")
    round_lr_steps: list[int] = Field(
        [45], description="steps at which a round's learning rate is multiplied by train.lr_gamma"
    )

    @model_validator(mode="after")
    def _seeds_once(self) -> ExperimentsConfig:
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds must be distinct and 0 or more: {self.seeds}")
        return self


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


class Config(Section):
    """Everything a run is made with."""

    preset: str = Field(
        "embedded", description="set of defaults: embedded, photo, rgbd, paper, paper-dino, maskcut or tokencut"
    )
    run: str = Field("runs/sample", description="folder that takes all results")
    seed: int = Field(0, ge=0, description="seed of everything random")
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto (a GPU where there is one), cpu, cuda or cuda:N"
    )
    max_failed: float = Field(0.2, ge=0, le=1, description="a stage fails when a larger share of its images failed")
    data: DataConfig = DataConfig()
    depth: DepthConfig = DepthConfig()
    features: FeaturesConfig = FeaturesConfig()
    spatial_importance: SpatialImportanceConfig = SpatialImportanceConfig()
    localcut: LocalCutConfig = LocalCutConfig()
    confidence: ConfidenceConfig = ConfidenceConfig()
    crf: CrfConfig = CrfConfig()
    train: TrainConfig = TrainConfig()
    selftrain: SelfTrainConfig = SelfTrainConfig()
    predict: PredictConfig = PredictConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()
    baseline: BaselineConfig = BaselineConfig()
    experiments: ExperimentsConfig = ExperimentsConfig()
    finetune: FinetuneConfig = FinetuneConfig()

    @property
    def trainings(self) -> range:
        """Numbers of a run's trainings: 0 is the first, then the rounds of self-training; empty without a detector."""
        return range(self.selftrain.rounds + 1 if self.train.detector is not None else 0)


def check_thresholds(tau_knn_min: float, tau_knn: float) -> None:
    """Check that the thresholds of Spatial Confidence rise (Eq. 4).

    Not part of the model: localcut alone may use any tau_knn.

    Raises:
        ConfigError: the smallest exceeds the largest.
    """
    if tau_knn_min > tau_knn:
        raise ConfigError(
            "confidence.tau_knn_min", expected=f"at most localcut.tau_knn, {tau_knn:g}", found=f"{tau_knn_min:g}"
        )


def preset_names() -> list[str]:
    """Names of the shipped presets."""
    folder = resources.files("cuts3d_cli") / "presets"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def preset_values(name: str) -> dict[str, Any]:
    """What a preset overrides, as nested mappings, with what the preset it extends overrides."""
    if name not in preset_names():
        raise ConfigError("config key preset", expected=f"one of {', '.join(preset_names())}", found=repr(name))
    values = yaml.safe_load((resources.files("cuts3d_cli") / "presets" / f"{name}.yaml").read_text()) or {}
    base = values.pop("extends", None)
    return merge_values(preset_values(base), values) if base else values


def merge_values(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """``base`` with what ``top`` sets, section by section; neither is changed."""
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge_values(merged[key], value) if both else value
    return merged


def resolve(values: dict[str, Any] | None = None, *, source: str = "config") -> Config:
    """Build the configuration: class defaults, then the preset named in ``values``, then ``values``.

    Images other than the sample's take nothing of the sample's: see `DataConfig`.

    Raises:
        ConfigError: an unknown key or a value of the wrong type or range, in one line with its key.
    """
    values = values or {}
    name = values.get("preset") or default_preset(values)
    merged = with_backend_defaults({**_merged(preset_values(name), values), "preset": name})
    if isinstance(data := merged.get("data"), dict):
        merged["data"] = _without_sample(data)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise _first_error(error, source) from None


def default_preset(values: dict[str, Any]) -> str:
    """The preset of values that name none: ``embedded`` for the sample's images, ``photo`` for others."""
    data = values.get("data")
    images = data.get("images") if isinstance(data, dict) else None
    return EMBEDDED if images is None else preset_of_images([Path(str(images))])


def preset_of_images(images: Sequence[Path]) -> str:
    """The preset of images, files or folders, of which nothing else is said; see `default_preset`."""
    folders = [Path(DataConfig.model_fields[key].default).resolve() for key in ("images", "val_images")]
    ours = all(any(path.resolve().is_relative_to(folder) for folder in folders) for path in images)
    return EMBEDDED if ours else PHOTO


def _merged(preset: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """A preset with what ``values`` set; what the preset chose for its backend does not hold for another one."""
    features = values.get("features")
    if isinstance(features, dict) and features.get("backend") not in (None, backend_of(preset)):
        preset = {
            section: {key: v for key, v in given.items() if key not in BY_BACKEND[section]}
            if section in BY_BACKEND and isinstance(given, dict)
            else given
            for section, given in preset.items()
        }
    return merge_values(preset, values)


def _is_sample(key: str, value: Any) -> bool:
    return Path(str(value)).resolve() == Path(DataConfig.model_fields[key].default).resolve()


def _without_sample(data: dict[str, Any]) -> dict[str, Any]:
    """The data section, with what belongs to the sample's images put to null where the images are others."""

    def others(key: str) -> bool:
        return key in data and not _is_sample(key, data[key])

    held_out = {"val_depth_maps": None, "val_annotations": None}
    if others("images"):
        return {"depth_maps": None, "annotations": None, "val_images": None, **held_out, "n_shards": 1, **data}
    return {**held_out, **data} if others("val_images") else data


def read_values(path: str | Path) -> dict[str, Any]:
    """The mapping a YAML file holds, unchecked.

    Raises:
        ConfigError: the file is missing, is not YAML or is no mapping.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text())
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(
            f"config file {path}", expected="a YAML file", found="none", hint="`cuts3d init` writes one"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path}", expected="YAML", found=str(error)) from None
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"config file {path}", expected="a mapping of sections", found=type(values).__name__)
    return values or {}


def load(path: str | Path) -> Config:
    """Read a YAML file and resolve it.

    Raises:
        ConfigError: the file is missing, is not YAML or holds a wrong key or value.
    """
    return resolve(read_values(path), source=str(path))


def fingerprint(value: Any) -> str:
    """Short stable hash of a JSON-able value; equal content gives an equal fingerprint."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def _fields_beside(location: tuple) -> dict[str, Any]:
    """Fields of the model that the key at ``location`` belongs to."""
    model: Any = Config
    for part in location[:-1]:
        model = model.model_fields[part].annotation if part in getattr(model, "model_fields", {}) else None
    return getattr(model, "model_fields", {})


def _first_error(error: ValidationError, source: str) -> ConfigError:
    from difflib import get_close_matches

    detail = error.errors()[0]
    location = tuple(str(part) for part in detail["loc"])
    key = ".".join(location)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if detail["type"] == "extra_forbidden":
        known = sorted(_fields_beside(location))
        close = get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {close[0]}?" if close else None
        return ConfigError(f"{source}: unknown key {key}{more}", expected=f"one of {', '.join(known)}", hint=hint)
    message = detail["msg"].removeprefix("Value error, ")
    where = f"{source}: {key}" if key else source
    if detail["type"] == "string_pattern_mismatch":  # its description says in words what the pattern means
        expected = _fields_beside(location)[location[-1]].description
        return ConfigError(f"{where}{more}", expected=expected, found=repr(detail["input"]))
    found = None if detail["type"] == "value_error" else repr(detail.get("input"))
    return ConfigError(f"{where}: {message}{more}", found=found)
