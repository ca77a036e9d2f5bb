"""Everything that commands write to stderr, without secrets."""

from __future__ import annotations

import contextlib
import sys

import click


def tell(label: str, text: str, **look: bool | str) -> None:
    """Write one line, `label: text`, printable; the label in its look where stderr shows colour."""
    from flowyml_policy.outputs.terminal import Screen, printable

    colour = Screen.of(sys.stderr).colour
    shown = click.style(f"{label}:", **look) if colour and look else f"{label}:"  # type: ignore[arg-type]  # looks are a mapping
    click.echo(f"{shown} {printable(masked(text))}", err=True, color=colour)


def tell_all(text: str) -> None:
    """Write a text of many lines, such as a traceback."""
    click.echo(masked(text), err=True)


def masked(text: str) -> str:
    """Return `text` without secrets; nothing of it where the mask itself fails, lest another fault hide the first."""
    with contextlib.suppress(Exception):
        from flowyml_policy.mask.text import mask

        return mask(text)
    return "its text cannot be shown, because the mask of secrets failed"
