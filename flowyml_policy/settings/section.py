"""The one configuration that every section of the settings shares."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping of a settings file. Unknown keys and values of another type are refused, never coerced.

    Validators are built when first needed, as part of the file that holds the section: most never are by themselves.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)
