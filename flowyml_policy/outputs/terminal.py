"""Where text for people goes: how wide it is, whether it takes colour, and what may be printed on it.

A terminal is as wide as it says, within 40 to 120 columns; a pipe or a file is always 80, so that what CI
keeps does not depend on the machine. Colour needs a terminal, an unset or empty NO_COLOR (no-color.org),
and a TERM that is not `dumb`.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, TextIO, TypedDict

import click

if TYPE_CHECKING:
    from typing_extensions import Unpack

PIPE_WIDTH: Final = 80
NARROWEST: Final = 40
WIDEST: Final = 120


class Look(TypedDict, total=False):
    """How a text looks, in the words of `click.style`."""

    fg: str
    bg: str
    bold: bool
    dim: bool


class Screen(NamedTuple):
    """A stream with its width in columns and whether it shows colour."""

    stream: TextIO
    width: int = PIPE_WIDTH
    colour: bool = False

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str] | None = None) -> Screen:
        """The screen behind `stream`."""
        environ = os.environ if environ is None else environ
        if not stream.isatty():
            return cls(stream)
        colour = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        return cls(stream, width=min(max(_columns(stream), NARROWEST), WIDEST), colour=colour)

    def style(self, text: str, **look: Unpack[Look]) -> str:
        """`text` in the looks of `click.style`, or bare where the screen shows no colour."""
        return click.style(text, **look) if self.colour else text

    def line(self, text: str = "") -> None:
        """Write one line."""
        self.stream.write(text + "\n")

    def wrap(self, text: str, *, indent: int = 0, first: str = "") -> list[str]:
        """`text` in lines of this screen's width, all indented, the first one led by `first`.

        Words are never broken, so that paths and image references can be copied as they stand.
        """
        margin = " " * indent
        room = self.width - indent
        hanging = " " * columns(first)
        return [
            f"{margin}{first if number == 0 else hanging}{line}".rstrip()
            for number, line in enumerate(_filled(text.split(), room - columns(first)))
        ]

    def prose(self, text: str, *, indent: int = 0, first: str = "") -> list[str]:
        """`text` of our own or of a library, made printable and wrapped line by line: its line breaks are kept."""
        lines: list[str] = []
        for line in text.splitlines():
            lead = " " * columns(first) if lines else first
            lines += self.wrap(printable(line.expandtabs(2)), indent=indent, first=lead)
        return lines

    def table(self, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
        """`rows` as lines of aligned columns, two blanks apart; a column is at most half the screen wide."""
        rows = list(rows)
        widths = [min(max(columns(cell) for cell in column), self.width // 2) for column in zip(*rows, strict=True)]
        for row in rows:
            yield "  ".join(pad(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()


def printable(text: str) -> str:
    """`text` with everything that a terminal would act on or hide written out as an escape.

    Control characters, line breaks, bidirectional and invisible format characters and lone surrogates are
    what `str.isprintable` refuses; other text, in any script, stays as it is.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def columns(text: str) -> int:
    """How many columns a terminal needs for `text`, which holds printable characters only."""
    if text.isascii():
        return len(text)
    return sum(_char_columns(char) for char in text)


def pad(text: str, width: int) -> str:
    """`text` with blanks up to `width` columns."""
    return text + " " * (width - columns(text))


def plural(count: int, noun: str) -> str:
    """`1 warning`, `2 warnings`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _char_columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def _filled(words: Iterable[str], room: int) -> Iterator[str]:
    line = ""
    for word in words:
        if line and columns(line) + 1 + columns(word) > room:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or PIPE_WIDTH
    except (OSError, ValueError):
        return PIPE_WIDTH
