"""The values that a setting takes, in words."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_TYPES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def allowed(field: FieldInfo) -> str:
    """Range or choices of a setting as signs, such as ``> 0, <= 1``; empty where the type says it all."""
    if get_origin(field.annotation) is Literal:
        return " | ".join(map(str, get_args(field.annotation)))
    kind, parts = get_origin(field.annotation), get_args(field.annotation)
    each = "each " if kind in (list, tuple) else ""
    inner = _metadata(parts[0] if each else _not_none(parts)) if parts else []
    signs = ", ".join(f"{_SIGNS[name]} {limit:.10g}" for name, limit in _limits([*inner, *field.metadata]).items())
    return each + signs if signs else ""


def expected(field: FieldInfo) -> str:
    """What a setting has to be, as errors say it: ``a number above 0, up to 1``."""
    return _words(field.annotation, field.metadata)


def plain_type(annotation: Any) -> Any:
    """The type of a setting, or of one of its values, without null and ranges."""
    if get_origin(annotation) is Annotated:
        return plain_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return plain_type(_not_none(get_args(annotation)))
    return annotation


def _not_none(parts: Sequence[Any]) -> Any:
    return next(part for part in parts if part is not type(None))


def _metadata(annotation: Any) -> list[Any]:
    """What an annotated type says beside the type."""
    found = [part for extra in getattr(annotation, "__metadata__", ()) for part in getattr(extra, "metadata", (extra,))]
    return list(found)


def _limits(metadata: Sequence[Any]) -> dict[str, float]:
    """The strictest limits by kind, at most one at either end."""
    found = {kind: [getattr(item, kind) for item in metadata if hasattr(item, kind)] for kind in _SIGNS}
    low = max([(limit, kind) for kind in ("ge", "gt") for limit in found[kind]], default=None)
    high = min([(limit, kind) for kind in ("le", "lt") for limit in found[kind]], default=None)
    return {kind: limit for limit, kind in filter(None, (low, high))}


def _words(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    kind, parts = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        return _words(parts[0], [*_metadata(annotation), *metadata])
    if kind is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if kind in (Union, types.UnionType):
        return f"{_words(_not_none(parts), metadata)}, or null"
    if kind is list:
        return f"a list, each {_words(parts[0])}"
    if kind is tuple:
        return f"{len(parts)} values, each {_words(parts[0])}"
    return f"{_TYPES.get(annotation, 'settings by name')} {_range_words(_limits(metadata))}".strip()


def _range_words(limits: Mapping[str, float]) -> str:
    shown = {kind: f"{limit:.10g}" for kind, limit in limits.items()}
    high = next((f"{words} {shown[kind]}" for kind, words in (("le", "to"), ("lt", "to below")) if kind in shown), "")
    if "ge" in shown:
        return f"from {shown['ge']} {high}" if high else f"of {shown['ge']} or more"
    if "gt" in shown:
        return f"above {shown['gt']}" + (f", up {high}" if high else "")
    return f"up {high}" if high else ""
