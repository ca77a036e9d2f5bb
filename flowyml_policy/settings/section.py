"""The one configuration that every section of the settings shares."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping of a settings file. Unknown keys and values of another type are refused, never coerced."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
