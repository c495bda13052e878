"""The whole configuration."""

from __future__ import annotations

from pydantic import Field

from cuts3d_cli.config.detector import FinetuneConfig, PredictConfig, SelfTrainConfig, TrainConfig
from cuts3d_cli.config.masks import (
    BaselineConfig,
    ConfidenceConfig,
    CrfConfig,
    DataConfig,
    DepthConfig,
    FeaturesConfig,
    LocalCutConfig,
    SpatialImportanceConfig,
)
from cuts3d_cli.config.results import EvaluateConfig, ExperimentsConfig, ReportConfig
from cuts3d_cli.config.section import Section, Seed


class Config(Section):
    """All settings of a run."""

    preset: str = Field(
        "embedded", description="set of defaults: embedded, photo, rgbd, paper, paper-dino, maskcut or tokencut"
    )
    run: str = Field("runs/sample", description="folder for all results")
    seed: Seed = Field(0, description="random seed")
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto (a GPU where there is one), cpu, cuda or cuda:N"
    )
    max_failed: float = Field(0.2, ge=0, le=1, description="a stage fails when a larger fraction of its images failed")
    finder: str = Field("localcut", description="stage that finds the instances; set by the method")
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
