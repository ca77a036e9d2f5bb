"""When no server is asked, and for how long one is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from flowyml_policy.errors.root import UsageError
from flowyml_policy.errors.sources import SourceError, SourceTooLarge, SourceUnreachable
from flowyml_policy.mask.quoted import shown

OFFLINE_VARIABLE: Final = "FLOWYML_POLICY_OFFLINE"


def is_offline(environ: Mapping[str, str]) -> bool:
    """Whether FLOWYML_POLICY_OFFLINE asks that no server be asked. Raises UsageError for another value than 1 or 0."""
    value = environ.get(OFFLINE_VARIABLE, "")
    if value not in {"1", "0", ""}:
        raise UsageError(f"{OFFLINE_VARIABLE} is {shown(value)}", advice="set it to 1 to ask no server, or unset it")
    return value == "1"


class Deadline:
    """The end of one call's time. `what` names in messages what takes so long."""

    def __init__(self, seconds: float, what: str) -> None:
        self.seconds = seconds
        self.what = what
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds that are left, more than none. Raises what `passed` makes."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.passed()
        return left

    def passed(self) -> SourceError:
        """The error for a time that is over."""
        return SourceUnreachable(f"no complete answer within {self.seconds:g} s: {self.what}")


def too_large(what: str, size: int) -> SourceTooLarge:
    """The error for a file of more than `size` bytes."""
    return SourceTooLarge(f"larger than {size:,} bytes: {what}", advice="name a file that holds stack definitions")
