"""Whether text that names a stack carries credentials: to refuse it, and, sooner, never to repeat it."""

from __future__ import annotations

import re
from typing import Final

from flowyml_policy.references.git import meant_by_short_form

_END_OF_HOST: Final = re.compile(r"[/?#]")


def has_credentials(value: str) -> bool:
    """Whether a user with a password stands before the host, or what may be one; a user alone is ssh's own."""
    scheme, sign, rest = value.partition("://")
    first = _END_OF_HOST.split(rest if sign else value, maxsplit=1)[0]
    user, at, _ = first.rpartition("@")
    if at:
        has_password = ":" in user or (bool(sign) and "http" in scheme.lower())
        return has_password and meant_by_short_form(value) is None
    port = first.rpartition(":")[2] if sign and ":" in first and not first.endswith("]") else "0"
    return "@" in rest and not port.isdecimal()


def may_have_credentials(value: str) -> bool:
    """Whether credentials may stand in it, be it in the wrong place, so that no message repeats it."""
    scheme, sign, rest = value.partition("://")
    first = (rest if sign else value).partition("/")[0]
    return ("@" in value and ":" in first) or ("@" in first and "http" in scheme.lower())
