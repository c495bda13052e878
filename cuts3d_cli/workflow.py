"""What the Snakefile takes from the package: the checked configuration and command-line flags.

Flags are rule parameters, so a changed value reruns the rules that use it and what follows them.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from typing import Any

from cuts3d_cli.config import ConfidenceConfig, Config, CrfConfig, LocalCutConfig, Section, check_thresholds, resolve
from cuts3d_cli.errors import ConfigError, Cuts3dError


def checked_config(values: dict[str, Any], source: str, *, full: bool = False) -> Config:
    """Resolve the workflow's configuration; a mistake ends the workflow with one line and exit code 1.

    Args:
        values: what the workflow's configuration files and ``--config`` say.
        source: their name in messages.
        full: whether a file with every key is among them, under which a preset would have no effect.
    """
    try:
        if full and values.get("preset", "embedded") != "embedded":
            raise ConfigError(
                f"{source}: preset {values['preset']} has no effect, as config.yaml sets every key",
                hint=f"`cuts3d init --preset {values['preset']} --out my.yaml`, then `snakemake --configfile my.yaml`",
            )
        config = resolve(values, source=source)
        if config.localcut.local_cut:
            check_thresholds(config.confidence.tau_knn_min, config.localcut.tau_knn)
    except Cuts3dError as error:
        print(f"cuts3d: error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    return config


def baseline_localcut(config: Config) -> LocalCutConfig:
    """MaskCut's cut settings on the run's own features, as the workflow's baseline uses them."""
    maskcut = resolve({"preset": "maskcut"}).localcut
    return maskcut.model_copy(update={"tau_ncut": config.baseline.tau_ncut, "n_instances": config.localcut.n_instances})


def baseline_crf(config: Config) -> CrfConfig:
    """The run's CRF for MaskCut, which has no confidence and gets none."""
    unary = "softmax" if config.crf.unary == "confidence" else config.crf.unary
    return config.crf.model_copy(update={"unary": unary, "confidence": "cuts"})


def crf_flags(crf: CrfConfig, confidence: ConfidenceConfig) -> str:
    """Options of the crf command; its own confidence needs the least value of the confidence section."""
    return flags(crf) + (f" --set confidence.sc_min={confidence.sc_min}" if crf.confidence == "crf" else "")


def confidence_folder(config: Config) -> str | None:
    """Where the confidence maps that the masks point to lie below a run; None where there are none."""
    if config.crf.confidence == "crf":
        return "crf-confidence"
    return "confidence" if config.localcut.local_cut else None


def flag_name(field: str) -> str:
    """Name of a config field on the command line."""
    return "--" + field.replace("_", "-")


def flags(section: Section, *, leave_out: Iterable[str] = ()) -> str:
    """A section's values as command-line options, quoted for a shell; what is None is left out."""
    words: list[str] = []
    for name, value in section.model_dump(mode="json").items():
        if name in leave_out or value is None:
            continue
        flag = flag_name(name)
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif value == []:  # an option left out would mean the default
            words.append(f"--set={_name_of(section)}.{name}=[]")
        elif isinstance(type(section).model_fields[name].default, list):
            words += [word for item in value for word in (flag, str(item))]
        elif isinstance(value, list):
            words += [flag, *map(str, value)]
        else:
            words += [flag, str(value)]
    return shlex.join(words)


def _name_of(section: Section) -> str:
    return next(name for name, field in Config.model_fields.items() if field.annotation is type(section))


def settings(name: str, section: Section) -> str:
    """A section's values as ``--set`` options, for a command that takes another section's as its own."""
    words = [f"--set={name}.{key}={json.dumps(value)}" for key, value in section.model_dump(mode="json").items()]
    return shlex.join(words)
