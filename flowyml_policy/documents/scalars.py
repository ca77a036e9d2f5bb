"""What a plain scalar means: the core schema of YAML 1.2 (section 10.3 of its specification), and no more.

Numbers that JSON cannot carry unchanged to every reader are refused: infinities, NaN, and integers beyond
2**53 - 1, which RFC 8785 leaves out because a reader that uses doubles would change them.
"""

from __future__ import annotations

import math
import re
from typing import Final

LARGEST_INTEGER: Final = 2**53 - 1
_LONGEST_INTEGER: Final = 40

_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER_STARTS: Final = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_BASES: Final = {"0o": 8, "0x": 16}


class NumberRefused(ValueError):
    """A plain scalar is a number that JSON cannot carry; the text says why."""


def resolve(text: str) -> str | float | bool | None:
    """The value of the plain scalar `text`. Raises NumberRefused."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        value = float(text)
        if math.isinf(value):
            raise NumberRefused(f"the number {_short(text)} is too large for JSON")
        return value
    if _NOT_FINITE.fullmatch(text):
        raise NumberRefused(f"{text} is no number that JSON knows")
    return text


def _integer(text: str) -> int:
    if len(text) <= _LONGEST_INTEGER:
        value = int(text[2:], _BASES[text[:2]]) if text[:2] in _BASES else int(text)
        if -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
            return value
    raise NumberRefused(
        f"the integer {_short(text)} is beyond {LARGEST_INTEGER}, the largest that JSON readers agree on"
    )


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_INTEGER else f"{text[:12]}... ({len(text)} digits)"
