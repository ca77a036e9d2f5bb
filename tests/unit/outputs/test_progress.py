"""One line that comes and goes, on terminals only."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from flowyml_policy.outputs.progress import watched


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def seconds(*readings: float) -> Iterator[float]:
    yield from readings


def test_progress_of_a_pipe_says_nothing(result: Any) -> None:
    stream = io.StringIO()
    results = [result("a"), result("b")]
    assert list(watched(results, stream)) == results
    assert stream.getvalue() == ""


def test_progress_of_a_short_run_says_nothing(result: Any) -> None:
    stream = Terminal()
    clock = seconds(0, 0.1, 0.2)
    assert len(list(watched([result("a"), result("b")], stream, clock=lambda: next(clock)))) == 2
    assert stream.getvalue() == ""


def test_progress_of_a_long_run_counts_and_goes_away(result: Any) -> None:
    stream = Terminal()
    clock = seconds(0, 1.0, 1.0, 1.1, 1.3, 1.3)
    assert len(list(watched([result(name) for name in "abc"], stream, clock=lambda: next(clock)))) == 3
    assert stream.getvalue() == "\r\x1b[K1 stack judged\r\x1b[K3 stacks judged\r\x1b[K"


def test_progress_of_a_run_that_breaks_off_goes_away(result: Any) -> None:
    stream = Terminal()
    clock = seconds(0, 1.0, 1.0)
    running: Any = watched([result("a"), result("b")], stream, clock=lambda: next(clock))
    next(running)
    next(running)
    running.close()
    assert stream.getvalue() == "\r\x1b[K1 stack judged\r\x1b[K"
