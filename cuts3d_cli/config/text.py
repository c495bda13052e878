"""The text of config.yaml, generated from the models of this package."""

from __future__ import annotations

import textwrap
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from cuts3d_cli.config import Config, Section
from cuts3d_cli.config.backends import BY_BACKEND, backend_defaults
from cuts3d_cli.config.ranges import allowed

HEADER = """\
# Settings of cuts3d: every key with its meaning, unit and range; written by `cuts3d init` (preset {preset}).
# When a value changes, snakemake reruns the stages that use it and those that depend on them.
# To start from another preset: `cuts3d init --preset paper --out paper.yaml`, or a short file with
# `preset: paper` and only what differs, run with `cuts3d run FILE`.
"""


def config_text(config: Config, *, preset: str = "embedded") -> str:
    """YAML of a configuration with a comment on every key; reading it back gives the same configuration."""
    lines = [HEADER.format(preset=preset)]
    values = config.model_dump(mode="json")
    for own, defaults in backend_defaults(config.features.backend).items():
        for key in BY_BACKEND[own]:
            if values[own][key] == defaults[key]:
                values[own][key] = None
    for name, field in Config.model_fields.items():
        if name in ("preset", "finder"):  # the first selects the values, the second is set by the method
            continue
        section = getattr(config, name)
        if isinstance(section, Section):
            lines += ["", f"# {_first_line(type(section))}", f"{name}:"]
            for key, inner in type(section).model_fields.items():
                lines += _entry(key, values[name][key], inner, indent="  ")
        else:
            lines += _entry(name, values[name], field, indent="")
    return "\n".join(lines) + "\n"


def yaml_text(value: Any) -> str:
    """A value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()


def explanation(field: FieldInfo) -> str:
    """Meaning, unit and range of a setting."""
    extra = field.json_schema_extra
    unit = extra.get("unit") if isinstance(extra, dict) else None
    limits = allowed(field)
    return (field.description or "") + (f" [{unit}]" if unit else "") + (f" ({limits})" if limits else "")


def _first_line(section: type[Section]) -> str:
    return (section.__doc__ or "").strip().splitlines()[0]


def _entry(key: str, value: Any, field: FieldInfo, *, indent: str) -> list[str]:
    comment = textwrap.wrap(
        explanation(field), 110 - len(indent), initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
    )
    return [*comment, f"{indent}{key}: {yaml_text(value)}"]
