"""The rule catalogue as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Final

from flowyml_policy.outputs.terminal import Look, Screen, columns, pad, plural, printable

if TYPE_CHECKING:
    from flowyml_policy.records.decision import CatalogueEntry

_LOOKS: Final[dict[str, Look]] = {
    "hard": {"fg": "red"},
    "soft": {"fg": "magenta"},
    "advisory": {"fg": "yellow"},
    "disabled": {"dim": True},
}


def catalogue_lines(entries: Iterable[CatalogueEntry], screen: Screen) -> Iterator[str]:
    """A heading for each rule, a line for each of its codes, the count last."""
    ordered = sorted(entries, key=lambda entry: (entry.root, entry.rule, entry.code))
    width = max((columns(entry.code) for entry in ordered), default=0)
    for (root, rule), codes in groupby(ordered, key=lambda entry: (entry.root, entry.rule)):
        yield f"{screen.style(printable(rule), bold=True)}  {screen.style(root, dim=True)}"
        for entry in codes:
            yield from _code(entry, screen, width)
        yield ""
    yield f"{plural(len(ordered), 'code')} in {plural(len({(e.root, e.rule) for e in ordered}), 'rule')}"


def _code(entry: CatalogueEntry, screen: Screen, width: int) -> Iterator[str]:
    level = screen.style(pad(entry.enforcement, len("advisory")), **_LOOKS[entry.enforcement])
    title = screen.wrap(printable(entry.title), indent=2 + len("advisory") + 2 + width + 2)
    yield f"  {level}  {pad(printable(entry.code), width)}  {title[0].lstrip()}"
    yield from title[1:]
