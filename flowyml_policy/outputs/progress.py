"""How far a long run has come: one line on a terminal's stderr, which goes away when the result comes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Final, TextIO

from typing_extensions import Self

from flowyml_policy.outputs.terminal import plural

if TYPE_CHECKING:
    from flowyml_policy.records.result import Result

QUIET: Final = 1.0
"""Seconds before anything is said: who waits no longer than that needs no progress."""

STEP: Final = 0.2
"""Seconds between two lines."""

_CLEAR: Final = "\r\x1b[K"


class Progress:
    """The line. A context manager, at whose end it is taken away; safe from many threads.

    Nothing is written where `stream` is None or no terminal.
    """

    def __init__(self, stream: TextIO | None, *, clock: Callable[[], float] = monotonic) -> None:
        self._stream = stream if stream is not None and stream.isatty() else None
        self._clock = clock
        self._due = clock() + QUIET
        self._is_shown = False
        self._lock = threading.Lock()

    def watched(self, results: Iterable[Result]) -> Iterator[Result]:
        """`results`, with their count on the line while they come."""
        try:
            for count, result in enumerate(results, 1):
                yield result
                self._say(f"{plural(count, 'stack')} judged")
        finally:
            self._clear()

    def images(self, done: int, total: int) -> None:
        """Say that `done` of `total` images are examined."""
        self._say(f"{done} of {plural(total, 'image')} examined")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def _say(self, text: str) -> None:
        if self._stream is None:
            return
        with self._lock:
            if self._clock() >= self._due:
                self._stream.write(f"{_CLEAR}{text}")
                self._stream.flush()
                self._due, self._is_shown = self._clock() + STEP, True

    def _clear(self) -> None:
        if self._stream is None:
            return
        with self._lock:
            if self._is_shown:
                self._stream.write(_CLEAR)
                self._stream.flush()
                self._is_shown = False
