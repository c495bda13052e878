"""What every group of settings is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings; unknown keys are errors, values are checked and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
