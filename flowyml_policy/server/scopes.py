"""What a token may do, as scopes: `bundles:read`, `bundles:read:NAME`, `operator`.

Rules:
- No scope implies another.
- A scope may end with the name of one bundle where `NAMED` says so; without it, it is for every bundle.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from flowyml_policy.references.url import BadValue, shown

BUNDLES_READ: Final = "bundles:read"
BUNDLES_PUBLISH: Final = "bundles:publish"
LOGS_WRITE: Final = "logs:write"
STATUS_WRITE: Final = "status:write"
STACKS_READ: Final = "stacks:read"
STACKS_WRITE: Final = "stacks:write"
OPERATOR: Final = "operator"

SCOPES: Final = (BUNDLES_READ, BUNDLES_PUBLISH, LOGS_WRITE, STATUS_WRITE, STACKS_READ, STACKS_WRITE, OPERATOR)
NAMED: Final = (BUNDLES_READ, BUNDLES_PUBLISH)
FOR_ANYBODY: Final = (BUNDLES_READ, STACKS_READ)
"""What the server's settings may open to requests without a token."""
FOR_ACTORS: Final = frozenset({BUNDLES_PUBLISH, STACKS_WRITE, OPERATOR})
"""What is recorded with the name of who did it, so that the token needs one."""

_BUNDLE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)


def is_bundle_name(name: str) -> bool:
    """Whether a bundle can be called `name`: it stands in addresses and names a folder."""
    return _BUNDLE.fullmatch(name) is not None


def scope(value: str) -> str:
    """A scope as it is written. Raises BadValue."""
    if value in SCOPES:
        return value
    kind, name = _parts(value)
    if kind in NAMED and is_bundle_name(name):
        return value
    raise BadValue(f"is no scope: {shown(value)}", f"write one of {', '.join(SCOPES)}, or {BUNDLES_READ}:NAME")


def open_scope(value: str) -> str:
    """A scope that may be open to everybody. Raises BadValue."""
    if kind_of(scope(value)) not in FOR_ANYBODY:
        raise BadValue(
            f"cannot be open to everybody: {value}", f"write {BUNDLES_READ}, {BUNDLES_READ}:NAME or {STACKS_READ}"
        )
    return value


def kind_of(written: str) -> str:
    """A scope without its bundle."""
    return written if written in SCOPES else _parts(written)[0]


def allow(scopes: Collection[str], wanted: str, name: str | None = None) -> bool:
    """Whether `scopes` hold `wanted`, for everything or for the bundle `name`."""
    return wanted in scopes or (name is not None and f"{wanted}:{name}" in scopes)


def _parts(value: str) -> tuple[str, str]:
    kind, _, name = value.rpartition(":")
    return kind, name
