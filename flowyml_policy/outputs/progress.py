"""How far a long run has come: one line on a terminal's stderr, which goes away when the result comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Final, TextIO

from flowyml_policy.outputs.terminal import plural

if TYPE_CHECKING:
    from flowyml_policy.records.result import Result

QUIET: Final = 1.0
"""Seconds before anything is said: who waits no longer than that needs no progress."""

STEP: Final = 0.2
"""Seconds between two lines."""

_CLEAR: Final = "\r\x1b[K"


def watched(results: Iterable[Result], stream: TextIO, *, clock: Callable[[], float] = monotonic) -> Iterator[Result]:
    """`results`, with their count on `stream` while they come; nothing at all where it is no terminal."""
    if not stream.isatty():
        yield from results
        return
    due = clock() + QUIET
    shown = False
    try:
        for count, result in enumerate(results, 1):
            yield result
            if clock() >= due:
                stream.write(f"{_CLEAR}{plural(count, 'stack')} judged")
                stream.flush()
                due, shown = clock() + STEP, True
    finally:
        if shown:
            stream.write(_CLEAR)
            stream.flush()
