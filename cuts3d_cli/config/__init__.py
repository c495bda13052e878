"""The typed configuration: the single source of every name, default, range, unit and paper reference.

``config.yaml``, the command-line options and the presets are generated from or checked against these
models; ``tests/config`` keeps them in step. The defaults are the embedded preset, which
needs no weights and no network; the other presets override what differs (``presets/*.yaml``).
Section numbers, equations and tables refer to CutS3D (Sick et al., ICCV 2025, arXiv 2411.16319).
"""

from cuts3d_cli.config.detector import FinetuneConfig, PredictConfig, SelfTrainConfig, TrainConfig
from cuts3d_cli.config.loading import (
    default_preset,
    load,
    merge_values,
    preset_names,
    preset_of_images,
    preset_values,
    read_values,
    resolve,
    why_preset,
)
from cuts3d_cli.config.masks import (
    BaselineConfig,
    ConfidenceConfig,
    CrfConfig,
    DataConfig,
    DepthConfig,
    FeaturesConfig,
    LocalCutConfig,
    SpatialImportanceConfig,
    check_thresholds,
    check_unary,
)
from cuts3d_cli.config.results import EvaluateConfig, ExperimentsConfig, ReportConfig
from cuts3d_cli.config.root import Config
from cuts3d_cli.config.section import Section

__all__ = [
    "BaselineConfig",
    "ConfidenceConfig",
    "Config",
    "CrfConfig",
    "DataConfig",
    "DepthConfig",
    "EvaluateConfig",
    "ExperimentsConfig",
    "FeaturesConfig",
    "FinetuneConfig",
    "LocalCutConfig",
    "PredictConfig",
    "ReportConfig",
    "Section",
    "SelfTrainConfig",
    "SpatialImportanceConfig",
    "TrainConfig",
    "check_thresholds",
    "check_unary",
    "default_preset",
    "load",
    "merge_values",
    "preset_names",
    "preset_of_images",
    "preset_values",
    "read_values",
    "resolve",
    "why_preset",
]
