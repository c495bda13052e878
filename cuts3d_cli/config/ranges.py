"""The values that a setting takes, in words."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_TYPES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def allowed(field: FieldInfo) -> str:
    """Range or choices of a setting as signs, such as ``> 0, <= 1``; empty where the type says it all."""
    if get_origin(field.annotation) is Literal:
        return " | ".join(map(str, get_args(field.annotation)))
    return ", ".join(f"{_SIGNS[kind]} {limit:g}" for kind, limit in _limits(field))


def expected(field: FieldInfo) -> str:
    """What a setting has to be, as errors say it: ``a number above 0, up to 1``."""
    return " ".join([_type_words(field.annotation), _range_words(field)]).strip()


def without_none(annotation: Any) -> Any:
    """The type of a setting that may also be null."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next(part for part in get_args(annotation) if part is not type(None))
    return annotation


def _limits(field: FieldInfo) -> list[tuple[str, float]]:
    return [(kind, getattr(item, kind)) for item in field.metadata for kind in _SIGNS if hasattr(item, kind)]


def _range_words(field: FieldInfo) -> str:
    limits = {kind: f"{limit:.10g}" for kind, limit in _limits(field)}
    high = next((f"{words} {limits[kind]}" for kind, words in (("le", "to"), ("lt", "to below")) if kind in limits), "")
    if "ge" in limits:
        return f"from {limits['ge']} {high}" if high else f"of {limits['ge']} or more"
    if "gt" in limits:
        return f"above {limits['gt']}" + (f", up {high}" if high else "")
    return f"up {high}" if high else ""


def _type_words(annotation: Any) -> str:
    kind, parts = get_origin(annotation), get_args(annotation)
    if kind is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if kind in (Union, types.UnionType):
        return f"{_type_words(without_none(annotation))} or null"
    if kind is list:
        return f"a list, each {_type_words(parts[0])}"
    if kind is tuple:
        return f"{len(parts)} values, each {_type_words(parts[0])}"
    return _TYPES.get(annotation, "settings by name")
