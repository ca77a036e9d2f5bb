"""Whether the environment asks that no server be asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flowyml_policy.errors.root import UsageError
from flowyml_policy.mask.quoted import shown

OFFLINE_VARIABLE: Final = "FLOWYML_POLICY_OFFLINE"


def is_offline(environ: Mapping[str, str]) -> bool:
    """Whether FLOWYML_POLICY_OFFLINE asks that no server be asked. Raises UsageError for another value than 1 or 0."""
    value = environ.get(OFFLINE_VARIABLE, "")
    if value not in {"1", "0", ""}:
        raise UsageError(f"{OFFLINE_VARIABLE} is {shown(value)}", advice="set it to 1 to ask no server, or unset it")
    return value == "1"
