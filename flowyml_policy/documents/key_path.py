"""Paths of keys into a document, as people read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from flowyml_policy.records.record import Key

SHORT: Final = 80
_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)


def dotted(path: Sequence[Key]) -> str:
    """`spec.compute.min_nodes`; a key that would not read well so is quoted in brackets."""
    shown = ""
    for step in path:
        if isinstance(step, str) and _PLAIN_KEY.fullmatch(step):
            shown += f".{step}" if shown else step
        else:
            shown += f"[{step if isinstance(step, int) else _clipped(step)}]"
    return shown


def _clipped(key: str) -> str:
    return repr(key if len(key) <= SHORT else f"{key[:SHORT]}...")
