"""The base class of every group of settings."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

MOST_PIXELS = 4096
MOST_SHARDS = 100_000
"""A shard has five digits in the names of files."""

Pixels = Annotated[int, Field(le=MOST_PIXELS)]
"""Side of an image that is worked on, or of a map; more takes gigabytes for each."""

Count = Annotated[int, Field(ge=1, le=1000)]
Shards = Annotated[int, Field(ge=1, le=MOST_SHARDS)]

Length = Annotated[float, Field(ge=1e-6, le=1000)]
"""A length in some unit; beyond these, single precision cannot tell it from 0 or from its neighbours."""

Weight = Annotated[float, Field(ge=0, le=1000)]
Rate = Annotated[float, Field(gt=0, le=1e6)]
Step = Annotated[int, Field(ge=1, le=100_000_000)]
"""A number of optimiser steps; the paper's training takes 160 000."""

Steps = Annotated[int, Field(ge=0, le=100_000_000)]
Batch = Annotated[int, Field(ge=1, le=100_000)]
Detections = Annotated[int, Field(ge=1, le=100_000)]

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""What NumPy takes."""


class Section(BaseModel):
    """A group of settings; unknown keys are errors, values are checked and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where pydantic would take them for 1 and 0."""
        field = cls.model_fields.get(info.field_name or "")
        if isinstance(value, bool) and field is not None and not _takes_bool(field.annotation):
            raise PydanticCustomError("bool_for_number", "true or false")
        return value

    def used_keys(self) -> tuple[str, ...]:
        """The keys that have an effect; those of other backends than the chosen one have none."""
        return tuple(type(self).model_fields)


def _takes_bool(annotation: Any) -> bool:
    """Whether true or false are values of a field of this type."""
    if get_origin(annotation) is Literal:
        return any(isinstance(choice, bool) for choice in get_args(annotation))
    return annotation in (bool, Any) or any(_takes_bool(each) for each in get_args(annotation))


S = TypeVar("S", bound=Section)


def without_effect(section: S, backend: str) -> S:
    """The section itself, where no key that the backend does not read was set.

    Raises:
        ValueError: one was, to another value than its default.
    """
    for name in changed_keys(section, but=section.used_keys()):
        raise ValueError(f"{name} has no effect with backend {backend}")
    return section


def changed_keys(section: Section, *, but: Collection[str]) -> list[str]:
    """The keys with another value than their default, except some."""
    fields = type(section).model_fields.items()
    return [name for name, field in fields if name not in but and getattr(section, name) != field.default]
