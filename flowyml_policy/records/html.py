"""What a notebook shows of a value: a headline and a table. Every text is escaped, and nothing is styled by a sheet.

What a browser would act on, hide or turn around stands there as an escape, as it does on a terminal.
"""

from collections.abc import Iterable, Sequence
from typing import Final

GREEN: Final = "#1a7f37"
RED: Final = "#b42318"
BLACK: Final = "inherit"

_CELL: Final = "text-align: left; vertical-align: top"


def report(headline: str, colour: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A headline in `colour`, and below it a table with `columns`, where there are rows."""
    told = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
    table = f"<table><tr>{_cells('th', columns)}</tr>{told}</table>" if told else ""
    return f'<div><strong style="color: {colour}">{escaped(headline)}</strong>{table}</div>'


def escaped(text: str) -> str:
    """`text` as it may stand in HTML."""
    from html import escape

    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
    return escape(shown)


def _cells(kind: str, texts: Iterable[str]) -> str:
    return "".join(f'<{kind} style="{_CELL}">{escaped(text)}</{kind}>' for text in texts)
