"""Settings given on the command line as ``section.key=value``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cuts3d_cli.config import merge_values
from cuts3d_cli.errors import ConfigError
from cuts3d_cli.yaml_text import parsed_yaml


def assigned(assignments: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """The nested values that assignments ``section.key=value`` of an option set; of a key the last counts.

    Raises:
        ConfigError: one is no assignment, or its value is not YAML.
    """
    values: dict[str, Any] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"option {option} {text}", expected="SECTION.KEY=VALUE, such as localcut.tau_knn=0.1")
        try:
            nested: Any = parsed_yaml(value)
        except ValueError as error:
            raise ConfigError(f"option {option} {text}", expected="a YAML value", found=str(error)) from None
        for part in reversed(key.strip().split(".")):
            nested = {part: nested}
        values = merge_values(values, nested)
    return values
