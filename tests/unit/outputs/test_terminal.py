"""Width, colour and what may be printed."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios
from collections.abc import Iterator
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.outputs.terminal import Screen, columns, pad, plural, printable


@pytest.fixture
def terminal() -> Iterator[TextIO]:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        yield stream
    os.close(leader)


def resize(terminal: TextIO, width: int) -> None:
    fcntl.ioctl(terminal.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))


def test_screen_of_a_pipe_is_80_columns_without_colour() -> None:
    stream = io.StringIO()
    assert Screen.of(stream, {"COLUMNS": "200"}) == Screen(stream, width=80, colour=False)


@pytest.mark.parametrize(("width", "seen"), [(100, 100), (20, 40), (500, 120), (0, 80)])
def test_screen_of_a_terminal_is_as_wide_as_it_says_within_reason(terminal: TextIO, width: int, seen: int) -> None:
    resize(terminal, width)
    assert Screen.of(terminal, {}) == Screen(terminal, width=seen, colour=True)


@pytest.mark.parametrize(
    ("environ", "colour"),
    [({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False), ({"TERM": "xterm"}, True)],
)
def test_screen_of_a_terminal_honours_no_color(terminal: TextIO, environ: dict[str, str], *, colour: bool) -> None:
    assert Screen.of(terminal, environ).colour is colour


def test_wrap_of_a_word_longer_than_the_screen_keeps_it_whole() -> None:
    screen = Screen(io.StringIO(), width=40)
    image = "myregistry.azurecr.io/a/very/long/path/to/an/image:2.1.0"
    assert screen.wrap(f"see {image} there", indent=4, first="fix: ") == [
        "    fix: see",
        f"         {image}",
        "         there",
    ]


def test_prose_keeps_line_breaks_and_hides_nothing() -> None:
    screen = Screen(io.StringIO(), width=24)
    assert screen.prose("one error occurred:\n\tx\x1b[2J {\n\n\t ^", indent=2, first="fix: ") == [
        "  fix: one error",
        "       occurred:",
        r"       x\x1b[2J {",
        "",
        "       ^",
    ]


def test_wrap_counts_the_columns_of_wide_characters() -> None:
    assert Screen(io.StringIO(), width=10).wrap("日本 日本 日本") == ["日本 日本", "日本"]


def test_table_of_rows_aligns_columns_and_lets_a_long_cell_stand_out() -> None:
    screen = Screen(io.StringIO(), width=20)
    rows = [("a", "x" * 15, "1"), ("bb", "y", "2")]
    assert list(screen.table(rows)) == ["a   xxxxxxxxxxxxxxx  1", "bb  y           2"]


@given(st.text(alphabet=st.characters(codec=None)))
def test_printable_of_any_text_can_be_shown_and_hides_nothing(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert (shown == text) is text.isprintable()


def test_printable_of_a_lone_surrogate_is_its_escape() -> None:
    assert printable("a\udcffb") == r"a\udcffb"


@given(st.text(max_size=20), st.integers(min_value=0, max_value=60))
def test_pad_of_any_text_fills_up_to_the_width(text: str, width: int) -> None:
    shown = printable(text)
    assert columns(pad(shown, width)) == max(width, columns(shown))


def test_plural_of_thousands_is_grouped() -> None:
    assert [plural(1, "stack"), plural(0, "stack"), plural(10_000, "stack")] == ["1 stack", "0 stacks", "10,000 stacks"]
