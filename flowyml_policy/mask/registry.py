"""What a registry keeps of a retirement, without secrets."""

from __future__ import annotations

from flowyml_policy.mask.text import encodable, mask
from flowyml_policy.records.registry import Retirement


def retirement(*, at: str, by: str, reason: str) -> Retirement:
    """Return that a version may no longer be chosen, its reason masked. `by` is the name that the registry knows."""
    return Retirement(at=at, by=encodable(by), reason=mask(reason))
