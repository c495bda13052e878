"""The methods that find masks in a run's images, each a change to the run's configuration.

All of them share depth and features, and have their own results below ``<run>/masks/<method>``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cuts3d_cli.config import Config, resolve
from cuts3d_cli.errors import ConfigError
from cuts3d_cli.store.layout import DEFAULT_METHOD

OWN = DEFAULT_METHOD
"""The method that takes the run's configuration as it is; detectors learn from its masks."""


@dataclass(frozen=True)
class Method:
    """A way of finding masks.

    Attributes:
        title: its name in tables and pictures.
        about: what it is, in a few words.
        configure: the configuration that it runs with, from the run's.
        in_run: whether a run with this configuration makes and scores its masks; others are made on request.
        cuts: settings of ``localcut`` that all its masks were made with.
    """

    title: str
    about: str
    configure: Callable[[Config], Config]
    in_run: Callable[[Config], bool]
    cuts: Mapping[str, bool] = field(default_factory=dict)


def _maskcut(config: Config) -> Config:
    """MaskCut's cuts on the run's own features and its CRF, which has no confidence to start from or to give."""
    cut = resolve({"preset": "maskcut"}).localcut
    unary = "softmax" if config.crf.unary == "confidence" else config.crf.unary
    return config.model_copy(
        update={
            "localcut": cut.model_copy(
                update={"tau_ncut": config.baseline.tau_ncut, "n_instances": config.localcut.n_instances}
            ),
            "crf": config.crf.model_copy(update={"unary": unary, "confidence": "cuts"}),
        }
    )


def _unsharpened(config: Config) -> Config:
    return config.model_copy(update={"localcut": config.localcut.model_copy(update={"sharpen": False})})


METHODS: dict[str, Method] = {
    "maskcut": Method(
        "MaskCut",
        "NCut on the same features, without depth (CutLER)",
        _maskcut,
        in_run=lambda config: config.baseline.enabled and config.localcut.local_cut,
        cuts={"local_cut": False},
    ),
    "localcut": Method(
        "LocalCut, affinity not sharpened",
        "CutS3D without Spatial Importance (Table 4)",
        _unsharpened,
        in_run=lambda config: False,
        cuts={"local_cut": True, "sharpen": False},
    ),
    OWN: Method("CutS3D", "the configuration as it is", lambda config: config, in_run=lambda config: True),
}
"""In the order in which they are shown, the run's own last."""


def method_config(name: str, config: Config) -> Config:
    """The configuration that a method runs with, from that of the run.

    Raises:
        ConfigError: there is no such method.
    """
    if name not in list(METHODS):  # in a list, as not everything that callers give has a hash
        raise ConfigError("method", expected=f"one of {', '.join(METHODS)}", found=repr(name))
    return METHODS[name].configure(config)


def methods_of(config: Config) -> list[str]:
    """The methods whose masks a run with this configuration makes, in the order in which they are shown."""
    return [name for name, method in METHODS.items() if method.in_run(config)]
