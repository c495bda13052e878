"""From images to pseudo-masks: data, depth, features and the steps of CutS3D (Sec. 3.1-3.4, Table 15)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from cuts3d_cli.config.backends import (
    KERNEL,
    depth_keys,
    feature_keys,
    feature_names,
    needs_depth,
    with_backend_defaults,
)
from cuts3d_cli.config.section import Count, Length, Pixels, Section, Shards, Weight, without_effect
from cuts3d_cli.errors import ConfigError

MOST_GRID = 512
"""Patches along a side: the affinities of so many take 75 GB, see `pipeline.memory`."""


class DataConfig(Section):
    """The images and what belongs to them; with images other than the sample's, nothing of the sample is used."""

    images: str = Field(
        "sample/train/images",
        description="folder of unlabelled images (searched recursively); if it is not the sample's, every other key of "
        "this section defaults to null (n_shards: 1)",
    )
    depth_maps: str | None = Field(
        "sample/train/depth",
        description="folder with one depth map per image, same relative path and stem, for depth.backend "
        "auto and files; "
        "null: beside the images",
    )
    annotations: str | None = Field(
        "sample/train/annotations.json",
        description="ground truth of the images, a file or folder of any format of `cuts3d evaluate`; never used to "
        "find objects",
    )
    val_images: str | None = Field(
        "sample/val/images",
        description="folder of held-out images to evaluate on; if it is not the sample's, val_depth_maps and "
        "val_annotations default to null",
    )
    val_depth_maps: str | None = Field("sample/val/depth", description="depth maps of the held-out images")
    val_annotations: str | None = Field(
        "sample/val/annotations.json",
        description="ground truth of the held-out images, a file or folder; never used to find objects",
    )
    ignore_labels: list[int] | None = Field(
        None,
        description="values of label maps (PNG) that are no object; null: 0 as background, and 255 in 8-bit maps with "
        "other values as the outline",
    )
    val_shards: Shards = Field(1, description="shards into which the list of held-out images is split")
    n_shards: Shards = Field(
        2, description="shards into which the image list is split; each is one job and one store per stage"
    )


class DepthConfig(Section):
    """Depth per image, normalised so that 0 is nearest and 1 farthest (Sec. 3.1)."""

    backend: str = Field(
        "auto",
        description="files; auto: a file if there is one, else the embedded model (files, if the features are made of "
        "depth); or the name of a depth model (see `cuts3d depth --help`)",
    )
    kind: Literal["metric", "inverse"] = Field(
        "metric",
        description="content of depth files: metric (far = large) or inverse depth (near = large); models "
        "set their own",
    )
    inverse_to: Literal["affine", "reciprocal"] = Field(
        "affine",
        description="conversion of inverse depth: affine (1 - d, affine in disparity) or reciprocal (1/d)",
    )
    holes: Literal["zero", "none"] = Field(
        "zero",
        description="values of a depth file that mean no reading, besides NaN and infinity: zero (and, if metric, "
        "values below 0 and the largest value of the file's type, if it is more than twice all others), or none",
    )
    clip: float = Field(
        0.001,
        ge=0,
        lt=0.5,
        description="fraction of readings clipped at either end before normalising; 0: minimum and maximum, as "
        "in the paper",
    )
    size: Pixels = Field(480, ge=8, description="height and width of the stored map", json_schema_extra={"unit": "px"})
    weights: str | None = Field(None, description="file with the depth model's weights instead of a download")

    @model_validator(mode="after")
    def _only_what_is_used(self) -> DepthConfig:
        return without_effect(self, self.backend)

    def used_keys(self) -> tuple[str, ...]:
        """The keys that the backend reads."""
        return ("backend", *depth_keys(self.backend))


class FeaturesConfig(Section):
    """Patch features, whose cosine similarity is the semantic affinity (Sec. 3.1)."""

    backend: str = Field(
        KERNEL, description="kernel (embedded, no weights), or the name of a ViT (see `cuts3d features --help`)"
    )
    image_size: Pixels = Field(
        480,
        ge=16,
        description="side of the square input of the backend, Lanczos (Table 15: 480); null: the backend's default",
        json_schema_extra={"unit": "px"},
    )
    patch_size: Pixels = Field(
        8,
        ge=1,
        description="side of a patch; the grid is image_size / patch_size; null: the backend's default",
        json_schema_extra={"unit": "px"},
    )
    facet: Literal["key", "query", "value", "token"] | None = Field(
        None,
        description="output of a ViT's block: keys (MaskCut, CutS3D), queries or values of its attention, "
        "or normalised "
        "tokens; null: the backend's default",
    )
    block: int | None = Field(None, ge=1, description="block of a ViT, from 1; null: the last")
    center: bool = Field(
        False, description="subtract the image's mean from a ViT's features; null: the backend's default"
    )
    weights: str | None = Field(None, description="file with the model's weights instead of a download")
    kernel_width: Length = Field(
        12.0, description="standard deviation of the embedded colour kernel", json_schema_extra={"unit": "Lab"}
    )
    kernel_lightness: Weight = Field(
        0.25, description="weight of lightness relative to the colour axes in the embedded features"
    )
    kernel_background: float = Field(
        1.0,
        ge=0,
        le=1,
        description="how strongly the embedded features contract the background: 0 not at all, 1 to a point",
    )
    kernel_dims: Pixels = Field(128, ge=8, description="channels of the embedded features (rank of the kernel)")
    focal: Length = Field(
        0.82,
        description="focal length of the camera for backend geometry (0.82: Kinect, 63 degrees across)",
        json_schema_extra={"unit": "longer side of the image"},
    )
    relative_range: float = Field(
        3.0,
        gt=1,
        le=1000,
        description="ratio of farthest to nearest distance that backend geometry assumes for inverse depth of unknown "
        "scale",
    )
    join: str | None = Field(
        None,
        description="a ViT whose cosine similarity is combined with the geometry of neighbouring patches (backend "
        "geometry only); its weights are features.weights",
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
        if self.grid > MOST_GRID:
            sizes = f"image_size {self.image_size} with patch_size {self.patch_size}"
            raise ValueError(f"{sizes} gives {self.grid} patches along a side; at most {MOST_GRID} can be handled")
        return self

    @model_validator(mode="after")
    def _only_what_is_used(self) -> FeaturesConfig:
        return without_effect(self, self.backend)

    def used_keys(self) -> tuple[str, ...]:
        """The keys that the backend reads."""
        return ("backend", *feature_keys(self.backend, self.join))

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size


class SpatialImportanceConfig(Section):
    """Spatial Importance: affinities are sharpened where depth changes (Sec. 3.3, Eq. 1-2)."""

    beta: float = Field(0.45, gt=0, le=1, description="minimum importance (Eq. 2, Table 15)")
    sigma: Length = Field(
        3.0,
        description="standard deviation of the Gaussian (Eq. 1), at the resolution below",
        json_schema_extra={"unit": "px or patches"},
    )
    resolution: Literal["image", "grid"] = Field(
        "image", description="whether Eq. 1 is computed on the depth map or on the patch grid"
    )


class LocalCutConfig(Section):
    """NCut and LocalCut, N attempts per image (Sec. 3.1-3.3)."""

    n_instances: Count = Field(5, description="attempts to find an instance per image, N (Table 15: 3)")
    tau_ncut: float = Field(
        0.13,
        ge=-1,
        le=1,
        description="threshold that binarises the affinity (Table 15: 0.13); null: the feature backend's default",
    )
    tau_ncut_at: Literal["sharpened", "cosine"] = Field(
        "sharpened",
        description="what tau_ncut applies to: the sharpened affinity (the paper), or the plain cosine similarity, "
        "which it then thresholds for pairs of minimum importance",
    )
    sharpen: bool = Field(True, description="sharpen the affinity by Spatial Importance (Eq. 3)")
    exponent: Literal["mean", "row", "max"] = Field(
        "mean", description="importance used for a pair of patches in Eq. 3"
    )
    local_cut: bool = Field(True, description="cut the semantic mask in 3D; off: keep the semantic mask, as in MaskCut")
    tau_knn: Length = Field(
        0.06,
        description="longest edge kept in the 3D graph (Table 15: 0.115)",
        json_schema_extra={"unit": "cube side"},
    )
    k: Count = Field(20, description="neighbours of a point in the 3D graph")
    xy_extent: Length = Field(
        1.0, description="extent of x and y relative to z", json_schema_extra={"unit": "cube side"}
    )
    background_z: Length = Field(
        1.5,
        ge=1,
        description="depth of the plane to which points outside the semantic mask are moved",
        json_schema_extra={"unit": "cube side"},
    )
    capacity: Literal["inverse", "distance", "unit"] = Field("inverse", description="edge capacity from edge length")
    sink: Literal["outside", "anywhere"] = Field(
        "outside", description="sink: patch of smallest |x| outside the semantic mask, or anywhere"
    )
    maxflow: Literal["scipy", "networkx"] = Field(
        "scipy", description="max-flow solver: scipy (Dinic), networkx (Dinitz, slow reference)"
    )
    eigensolver: Literal["lanczos", "torch", "dense"] = Field(
        "lanczos",
        description="solver of the second eigenvector: lanczos (torch with `device: cuda`), torch (several images at "
        "once on `device`), or dense, the fallback of both",
    )
    exclude: Literal["nodes", "features"] = Field(
        "nodes",
        description="how found instances are excluded from the graph: nodes removed (CutS3D) or features "
        "zeroed (CutLER)",
    )
    component: Literal["none", "seed", "alike"] = Field(
        "seed",
        description="part of a mask that is kept: all, the connected component of the seed patch, or the patches "
        "connected to it by neighbours above tau_ncut",
    )
    max_overlap: float = Field(
        0.5, ge=0, le=1, description="a later mask is rejected above this IoU with the previous mask (CutLER)"
    )
    min_area: float = Field(
        0.01, ge=0, le=1, description="a later mask is rejected at this fraction of the patches or less (CutLER)"
    )
    corners: int = Field(
        3, ge=1, le=5, description="a side with this many image corners is background (CutLER: 3; 5 never flips)"
    )
    stop_at_rest: bool = Field(
        True, description="stop when the foreground is the complement of all instances so far (CutLER: off)"
    )


class ConfidenceConfig(Section):
    """Spatial Confidence: agreement of cuts across thresholds (Sec. 3.4, Eq. 4)."""

    n_thresholds: Count = Field(6, description="thresholds between tau_knn_min and tau_knn, T (Table 15)")
    tau_knn_min: Length = Field(
        0.03, description="smallest threshold (Table 15: 0.05)", json_schema_extra={"unit": "cube side"}
    )
    sc_min: float = Field(0.5, gt=0, le=1, description="minimum confidence inside an instance (Sec. 3.4)")


class CrfConfig(Section):
    """Dense CRF at a working size, then hole filling and rejection as in CutLER."""

    enabled: bool = Field(True, description="run the CRF; off: masks are only resized")
    outlines: Literal["refined", "grid"] = Field(
        "refined",
        description="outlines of the masks: refined by the CRF, or those of the patch grid, which the CRF then only "
        "judges (min_iou, quality)",
    )
    image_size: Pixels = Field(
        480, ge=16, description="side of the square image on which the CRF works", json_schema_extra={"unit": "px"}
    )
    unary: Literal["softmax", "hard", "confidence"] = Field(
        "softmax",
        description="unary term: softmax of the 0/1 mask (CutLER: 0.731/0.269), near-certain, or the "
        "Spatial Confidence",
    )
    confidence: Literal["cuts", "crf"] = Field(
        "cuts",
        description="confidence and score of the masks: Spatial Confidence, or the CRF's own probability (Table 11b)",
    )
    solver: Literal["lattice", "torch", "pydensecrf"] = Field(
        "lattice",
        description="mean-field solver: lattice (torch with `device: cuda`), torch (several images at once "
        "on `device`), "
        "or pydensecrf, the reference, which needs that package",
    )
    iterations: Count = Field(10, description="mean-field iterations")
    gaussian_sxy: Length = Field(
        3.0, description="standard deviation of the smoothness kernel", json_schema_extra={"unit": "px"}
    )
    gaussian_compat: Weight = Field(7.0, description="weight of the smoothness kernel")
    bilateral_sxy: Length = Field(
        50.0, description="spatial standard deviation of the appearance kernel", json_schema_extra={"unit": "px"}
    )
    bilateral_srgb: Length = Field(
        5.0,
        description="colour standard deviation of the appearance kernel",
        json_schema_extra={"unit": "grey levels"},
    )
    bilateral_compat: Weight = Field(10.0, description="weight of the appearance kernel")
    fill_holes: bool = Field(True, description="fill the holes of a refined mask")
    min_iou: float = Field(
        0.5, ge=0, le=1, description="a mask whose refined version has a lower IoU with it is rejected"
    )

    @model_validator(mode="after")
    def _has_probability(self) -> CrfConfig:
        if self.confidence == "crf" and not self.enabled:
            raise ValueError("confidence crf is the CRF's probability and needs enabled: true")
        return self


class BaselineConfig(Section):
    """The MaskCut baseline (CutLER), computed by the workflow for comparison."""

    enabled: bool = Field(True, description="also make and evaluate MaskCut pseudo-masks from the same features")
    tau_ncut: float = Field(
        0.15, ge=-1, le=1, description="threshold that binarises the affinity (CutLER's recipe: 0.15)"
    )


def check_unary(unary: str, local_cut: bool) -> None:
    """Check that there is a Spatial Confidence for a CRF that uses it as unary.

    Raises:
        ConfigError: the unary is the confidence, and nothing is cut in 3D.
    """
    if unary == "confidence" and not local_cut:
        raise ConfigError("crf.unary confidence", expected="Spatial Confidence", found="localcut.local_cut off")


def check_thresholds(tau_knn_min: float, tau_knn: float) -> None:
    """Check that the thresholds of Spatial Confidence are in order (Eq. 4).

    Not part of the model: localcut alone may use any tau_knn.

    Raises:
        ConfigError: the smallest exceeds the largest.
    """
    if tau_knn_min > tau_knn:
        raise ConfigError(
            "confidence.tau_knn_min", expected=f"at most localcut.tau_knn, {tau_knn:g}", found=f"{tau_knn_min:g}",
            hint="lower it as well",
        )  # fmt: skip
