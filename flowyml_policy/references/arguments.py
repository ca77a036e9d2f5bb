"""Whether a word that names a stack is a path or a reference."""

from __future__ import annotations

import os

from flowyml_policy.references.git import meant_by_short_form

STDIN = "-"
FILE_ENDINGS = (".yaml", ".yml")


def looks_like_path(text: str) -> bool:
    """Whether `text` is written as a path: without `://`, and with a '/' or the ending of a definition's file."""
    return "://" not in text and ("/" in text or text.lower().endswith(FILE_ENDINGS))


def other_than_path(text: str) -> str | None:
    """What to do about a `text` that is read as a path and is git's short form of an ssh address; None for others."""
    meant = meant_by_short_form(text)
    return None if meant is None else f"to read a repository, write git+{meant}"


def is_reference(text: str) -> bool:
    """Whether an argument of a command is a reference rather than a path.

    A path is what has no `://` and exists, contains a '/', or ends in .yaml or .yml; `-` is standard input.
    """
    if "://" in text:
        return True
    if text == STDIN or looks_like_path(text):
        return False
    return not text or "\0" in text or not os.path.lexists(text)
