"""One line that comes and goes, on terminals only."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from flowyml_policy.outputs.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def seconds(*readings: float) -> Iterator[float]:
    yield from readings


def test_progress_of_a_pipe_says_nothing(result: Any) -> None:
    stream = io.StringIO()
    results = [result("a"), result("b")]
    assert list(Progress(stream).watched(results)) == results
    assert stream.getvalue() == ""


def test_progress_of_a_short_run_says_nothing(result: Any) -> None:
    stream = Terminal()
    clock = seconds(0, 0.1, 0.2)
    assert len(list(Progress(stream, clock=lambda: next(clock)).watched([result("a"), result("b")]))) == 2
    assert stream.getvalue() == ""


def test_progress_of_a_long_run_counts_and_goes_away(result: Any) -> None:
    stream = Terminal()
    clock = seconds(0, 1.0, 1.0, 1.1, 1.3, 1.3)
    assert len(list(Progress(stream, clock=lambda: next(clock)).watched([result(name) for name in "abc"]))) == 3
    assert stream.getvalue() == "\r\x1b[K1 stack judged\r\x1b[K3 stacks judged\r\x1b[K"


def test_progress_of_a_run_that_breaks_off_goes_away(result: Any) -> None:
    stream = Terminal()
    clock = seconds(0, 1.0, 1.0)
    running: Any = Progress(stream, clock=lambda: next(clock)).watched([result("a"), result("b")])
    next(running)
    next(running)
    running.close()
    assert stream.getvalue() == "\r\x1b[K1 stack judged\r\x1b[K"


def test_progress_of_images_comes_before_the_first_stack() -> None:
    stream = Terminal()
    clock = seconds(0, 1.0, 1.0, 1.1, 1.3, 1.3)
    with Progress(stream, clock=lambda: next(clock)) as progress:
        for done in (1, 2, 3):
            progress.images(done, 3)
    assert stream.getvalue() == "\r\x1b[K1 of 3 images examined\r\x1b[K3 of 3 images examined\r\x1b[K"


def test_progress_without_a_stream_says_nothing(result: Any) -> None:
    with Progress(None) as progress:
        progress.images(1, 1)
        assert list(progress.watched([result("a")])) == [result("a")]
