"""Entity tags in conditions, and preferences, as clients of bundles write them.

Rules:
- A list may hold any tag, `*` and weak ones; what is no tag is passed over, and never matches (RFC 9110, 13.1).
- OPA writes `Prefer: modes=snapshot,delta;wait=30`, which RFC 7240 reads otherwise: `;` and `,` both divide here.
"""

from __future__ import annotations

import re
from typing import Final

_TAG: Final = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_WAIT: Final = re.compile(r'\s*wait\s*=\s*"?\s*([0-9]{1,9})\s*"?\s*', re.ASCII | re.IGNORECASE)
_MODES: Final = re.compile(r"\s*modes\s*=", re.ASCII | re.IGNORECASE)


def is_match(condition: str, etag: str | None, *, weak: bool = True) -> bool:
    """Whether the value of If-None-Match names `etag`, or, not `weak`, that of If-Match. None: there is nothing."""
    if etag is None:
        return False
    if condition.strip() == "*":
        return True
    return any(tag == etag and (weak or not is_weak) for is_weak, tag in _TAG.findall(condition))


def wait_of(prefer: str) -> int:
    """For how many seconds a client would wait; 0 where it says nothing of it."""
    found = (_WAIT.fullmatch(part) for part in re.split("[;,]", prefer))
    return next((int(match[1]) for match in found if match is not None), 0)


def is_of_opa(prefer: str) -> bool:
    """Whether a client says which kinds of bundle it takes, as OPA does."""
    return any(_MODES.match(part) for part in re.split("[;,]", prefer))
