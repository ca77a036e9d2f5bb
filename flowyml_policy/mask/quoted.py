"""Text from outside, quoted for a message."""

from __future__ import annotations


def shown(text: str, longest: int = 120) -> str:
    """`text`, by whomever it was written, quoted on one line."""
    quoted = ascii(text) if not text.isprintable() else repr(text)
    return quoted if len(quoted) <= longest else quoted[: longest - 3] + "..."
