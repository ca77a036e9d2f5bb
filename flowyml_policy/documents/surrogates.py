r"""Pairs of `\u` escapes that make one character, as JSON writes what is beyond U+FFFF: `\ud83d\ude80`.

YAML has one escape for it, `\U0001f680`, which takes its place before the text is parsed. It is two characters shorter,
so that columns behind it are counted back; outside double quotes neither is an escape, and is put back as written.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, NamedTuple

_PAIR: Final = (
    r"(?<!\\)(?P<before>(?:\\\\)*)\\u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})"
)
_LINE_END: Final = "\r\n|\r|\n"
_SHORTER: Final = 2


class Pair(NamedTuple):
    """One pair that was joined, where it stands now (from 0), and both spellings."""

    at: int
    line: int
    column: int
    written: str
    joined: str


def join_pairs(text: str) -> tuple[str, tuple[Pair, ...]]:
    """`text` with each pair as one escape, and the pairs in order."""
    if "\\u" not in text:
        return text, ()
    pairs: list[Pair] = []
    parts: list[str] = []
    length = line = column = at = 0
    # A pair that follows another at once is found as well: the search goes on behind the first.
    for match in re.finditer(_PAIR, text) if re.search(r"\\u[dD][89abAB]", text) else ():
        start = match.end("before")
        kept = re.split(_LINE_END, text[at:start])
        line += len(kept) - 1
        column = len(kept[-1]) + (column if len(kept) == 1 else 0)
        length += start - at
        code = 0x10000 + ((int(match["high"], 16) - 0xD800) << 10) + int(match["low"], 16) - 0xDC00
        pair = Pair(length, line, column, text[start : match.end()], f"\\U{code:08x}")
        pairs.append(pair)
        parts += [text[at:start], pair.joined]
        length += len(pair.joined)
        column += len(pair.joined)
        at = match.end()
    return ("".join((*parts, text[at:])), tuple(pairs)) if pairs else (text, ())


def column_as_written(pairs: Sequence[Pair], line: int, column: int) -> int:
    """Where what now stands at `column` stood before pairs of its line were joined."""
    if not pairs:
        return column
    first, end = (bisect_left(pairs, (line, at), key=lambda pair: (pair.line, pair.column)) for at in (0, column))
    return column + _SHORTER * (end - first)


def text_as_written(pairs: Sequence[Pair], text: str, start: int, end: int) -> str:
    """The scalar `text` between two indices, which is not in double quotes, with its pairs as they were written."""
    if not pairs:
        return text
    first, last = (bisect_left(pairs, at, key=lambda pair: pair.at) for at in (start, end))
    written = {pair.joined: pair.written for pair in pairs[first:last]}
    return re.sub(r"\\U[0-9a-f]{8}", lambda match: written.get(match[0], match[0]), text) if written else text
