"""The base class of every group of settings."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings; unknown keys are errors, values are checked and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def used_keys(self) -> tuple[str, ...]:
        """The keys that have an effect; those of other backends than the chosen one have none."""
        return tuple(type(self).model_fields)


S = TypeVar("S", bound=Section)


def without_effect(section: S, backend: str) -> S:
    """The section itself, where no key that the backend does not read was set.

    Raises:
        ValueError: one was, to another value than its default.
    """
    used = section.used_keys()
    for name, field in type(section).model_fields.items():
        if name not in used and getattr(section, name) != field.default:
            raise ValueError(f"{name} has no effect with backend {backend}")
    return section
