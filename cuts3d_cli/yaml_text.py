"""Reading YAML that anybody may have written."""

from __future__ import annotations

from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, of which the last would count without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if name in seen and name != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"key {name} is given twice", key.start_mark)
            seen |= {name} if name else set()
        return super().construct_mapping(node, deep)


def parsed_yaml(text: str) -> Any:
    """What a YAML text holds.

    Raises:
        ValueError: it is not YAML, gives a key twice, holds a value that is none (a date such as 2024-13-40), or is
            nested too deeply.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("lists or mappings nested too deeply") from None
