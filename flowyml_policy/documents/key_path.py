"""Paths of keys into a document, as people read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from flowyml_policy.mask.quoted import shown
from flowyml_policy.mask.text import mask
from flowyml_policy.records.record import Key

SHORT: Final = 80
_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)


def dotted(path: Sequence[Key]) -> str:
    """Return `path` as `spec.compute.min_nodes[0]`; a key that would not read well so is quoted in brackets.

    A key that may be an address with a password is not shown.
    """
    written = ""
    for step in path:
        if isinstance(step, str) and _PLAIN_KEY.fullmatch(step):
            written += f".{step}" if written else step
        else:
            written += f"[{step if isinstance(step, int) else _quoted(step)}]"
    return written


def _quoted(key: str) -> str:
    return "(not shown)" if "@" in key and ":" in key else shown(mask(key), SHORT)
