"""Text from outside, as a message repeats it."""

from __future__ import annotations


def shown(text: str, longest: int = 120) -> str:
    """Return `text` quoted on one line, cut to `longest` characters."""
    return repr(clipped(text, longest))


def clipped(text: str, longest: int) -> str:
    """Return the first `longest` characters of `text`; an ellipsis says that there are more."""
    return text if len(text) <= longest else f"{text[:longest]}..."
