"""From bytes to text that a person can read: UTF-8 only, without characters that hide or reorder others."""

from __future__ import annotations

import re
import unicodedata
from typing import Final, NamedTuple

_HIDING: Final = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # control characters; tab and line ends stay
    "\u2028\u2029"  # line ends to YAML 1.1 readers, none to those of 1.2
    "\u202a-\u202e\u2066-\u2069"  # change the direction in which the rest is shown
    "\ud800-\udfff\ufeff\ufffe\uffff"  # no characters, or one that belongs before the first
)
_FORBIDDEN: Final = f"[{_HIDING}]"
_FORBIDDEN_ASCII: Final = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
_UNSEEN_IN_KEYS: Final = (
    f"[\t\n\r{_HIDING}"
    "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"  # blanks that are no blank
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_LINE_END: Final = "\r\n|\r|\n"
_WIDE_MARKS: Final = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_BYTE_ORDER_MARK: Final = "\ufeff"


class Unreadable(NamedTuple):
    """Why bytes are no text, with line and column from 0 (of a character, or of the first bad byte)."""

    problem: str
    fix: str
    line: int
    column: int


def decode(data: bytes) -> str | Unreadable:
    """`data` as text without its byte order mark, or what is wrong with it."""
    if data.startswith(_WIDE_MARKS) or data[:4].count(0) in (2, 3):
        return Unreadable("the file is UTF-16 or UTF-32", "save it as UTF-8", 0, 0)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(errors="replace")
        byte = data[error.start]
        return Unreadable(f"the byte 0x{byte:02x} is not UTF-8", "save the file as UTF-8 text", *position(before))
    text = text.removeprefix(_BYTE_ORDER_MARK)
    found = re.search(_FORBIDDEN_ASCII if text.isascii() else _FORBIDDEN, text)
    if found is None:
        return text
    return Unreadable(
        f"the character {named(found.group())} may not stand in a file", "take it out", *position(text[: found.start()])
    )


def position(before: str) -> tuple[int, int]:
    """Line and column, from 0, of what follows the text `before`."""
    lines = re.split(_LINE_END, before)
    return len(lines) - 1, len(lines[-1])


def hidden_in_value(text: str) -> str | None:
    """The first character of a decoded value that an escape brought in and that no file may hold."""
    found = re.search(_FORBIDDEN, text)
    return found.group() if found else None


def unseen_in_key(text: str) -> str | None:
    """The first character of a key that does not show, or shows as a blank without being one."""
    found = re.search(_UNSEEN_IN_KEYS, text)
    return found.group() if found else None


def named(character: str) -> str:
    """`U+200B ZERO WIDTH SPACE`."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
