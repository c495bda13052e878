"""Reading YAML that anybody may have written."""

from __future__ import annotations

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses what would count as something else without a word.

    These are a key given twice, of which the last would count, and numbers that YAML 1.1 reads in base 8 or 60.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if name in seen and name != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"key {name} is given twice", key.start_mark)
            seen |= {name} if name else set()
        return super().construct_mapping(node, deep)


def _number(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    """A number that YAML 1.1 reads as YAML 1.2 and people do."""
    value = loader.construct_yaml_int(node) if node.tag == INT else loader.construct_yaml_float(node)
    text, numbers = node.value, {value: None}
    if node.tag == INT and re.fullmatch(r"[-+]?0[0-7_]+", text):
        numbers[int(text.replace("_", ""))] = None
    if ":" in text or len(numbers) > 1:
        meant = f"write {' or '.join(map(str, numbers))} for the number, or '{text}' for the text"
        raise yaml.constructor.ConstructorError(None, None, f"{text} is {value} in YAML: {meant}", node.start_mark)
    return value


INT, FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_Loader.add_constructor(INT, _number)
_Loader.add_constructor(FLOAT, _number)


def parsed_yaml(text: str) -> Any:
    """What a YAML text holds.

    Raises:
        ValueError: it is not YAML, gives a key twice, holds a value that is none (a date such as 2024-13-40) or a
            number that reads otherwise than it looks (010 is 8, 1:30 is 90), or is nested too deeply.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).replace('"<unicode string>", ', "").split())) from None
    except RecursionError:
        raise ValueError("lists or mappings nested too deeply") from None
