"""The methods that find masks on a run's depth and features, as changes to its configuration."""

from __future__ import annotations

from cuts3d_cli.config import Config, CrfConfig, LocalCutConfig, resolve


def baseline_localcut(config: Config) -> LocalCutConfig:
    """MaskCut's cut settings on the run's own features, as the workflow's baseline uses them."""
    maskcut = resolve({"preset": "maskcut"}).localcut
    return maskcut.model_copy(update={"tau_ncut": config.baseline.tau_ncut, "n_instances": config.localcut.n_instances})


def baseline_crf(config: Config) -> CrfConfig:
    """The run's CRF for MaskCut, which has no confidence and gets none."""
    unary = "softmax" if config.crf.unary == "confidence" else config.crf.unary
    return config.crf.model_copy(update={"unary": unary, "confidence": "cuts"})


def unsharpened_localcut(config: Config) -> LocalCutConfig:
    """The run's cut settings without Spatial Importance (row "+ LocalCut")."""
    return config.localcut.model_copy(update={"sharpen": False})
