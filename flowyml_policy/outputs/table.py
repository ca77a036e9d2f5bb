"""`--format table`: for people. What needs an answer stands first, the summary last.

Undecided stacks lead, then denied ones, each finding with its place, its code, what is wrong and how to put
it right; then the warnings of all stacks, those of one code together; allowed stacks are one line each.
Beyond LONGEST stacks nobody reads prose: findings become plain columns, one line each, and allowed stacks
only a count.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from flowyml_policy.outputs.screen import Screen, columns, plural, printable

if TYPE_CHECKING:
    from flowyml_policy.records import ErrorReport, LocatedFinding, Result, Summary

LONGEST: Final = 200

_LOOKS: Final[dict[str, dict[str, bool | str]]] = {
    "UNDECIDED": {"fg": "white", "bg": "red", "bold": True},
    "DENIED": {"fg": "red", "bold": True},
    "warning": {"fg": "yellow", "bold": True},
    "allowed": {"fg": "green"},
}


class TableOutput:
    """Writes everything to `screen` when the run ends; until then it holds the text of findings, no results."""

    def __init__(self, screen: Screen, *, notes: Iterable[str] = (), fail_on_warn: bool = False) -> None:
        self._screen = screen
        self._notes = notes
        self._fail_on_warn = fail_on_warn
        self._count = 0
        self._authorities: set[str] = set()
        self._undecided: dict[ErrorReport, list[tuple[str, ...]]] = {}
        self._denied: list[list[str]] = []
        self._warnings: dict[tuple[str, str], list[tuple[str, str]]] = {}
        self._allowed: list[tuple[str, ...]] = []
        self._columns: dict[str, list[tuple[str, ...]]] = {"UNDECIDED": [], "DENIED": [], "warning": []}

    def begin(self) -> None:
        """Nothing yet: denials come first, so the first line waits for the last stack."""

    def add(self, result: Result) -> None:
        self._count += 1
        self._authorities.add(result.authority)
        for row in _column_rows(result):
            self._columns[row[0]].append(row)
        if self._count > LONGEST:
            return
        if result.allowed:
            self._allowed.append(("allowed", _title(result), printable(result.source.uri)))
        elif result.outcome == "deny":
            self._denied.append(self._denial(result))
        elif result.error is not None:
            stacks = self._undecided.setdefault(result.error, [])
            stacks.append(("UNDECIDED", _title(result), printable(result.source.uri)))
        for finding in result.warnings:
            places = self._warnings.setdefault((finding.code, finding.fix), [])
            places.append((_place(finding, result), printable(finding.message)))

    def end(self, summary: Summary | None) -> None:
        for line in self._in_columns() if self._count > LONGEST else self._in_blocks():
            self._screen.line(line)
        if summary is None:
            self._screen.line(f"broke off after {plural(self._count, 'stack')}; the others were not judged")
            return
        for note in (*self._authority_notes(), *self._notes):
            for line in self._screen.wrap(note):
                self._screen.line(self._screen.style(line, dim=True))
        self._screen.line(self._summary(summary))

    def _in_blocks(self) -> Iterator[str]:
        for error, stacks in self._undecided.items():
            yield from self._undecided_for(error, stacks)
            yield ""
        for block in self._denied:
            yield from block
            yield ""
        for (code, fix), places in self._warnings.items():
            yield from self._warning(printable(code), fix, places)
            yield ""
        for line in self._screen.table(self._allowed):
            yield self._led_by("allowed", line)
        if self._allowed:
            yield ""

    def _in_columns(self) -> Iterator[str]:
        rows = [row for rows in self._columns.values() for row in rows]
        yield from self._screen.table(rows)
        if rows:
            yield ""

    def _undecided_for(self, error: ErrorReport, stacks: list[tuple[str, ...]]) -> Iterator[str]:
        """One reason for no decision, below all the stacks that it keeps waiting."""
        for line in self._screen.table(stacks):
            yield self._led_by("UNDECIDED", line)
        yield f"  {self._screen.style(printable(error.code), fg='red')}"
        yield from self._screen.wrap(printable(error.message), indent=4)
        yield from self._advice(error.advice)

    def _denial(self, result: Result) -> list[str]:
        """A stack that may not run: every reason, its place and its fix."""
        lines = [self._led_by("DENIED", f"DENIED  {self._screen.style(_title(result), bold=True)}")]
        for finding in result.denials:
            lines += self._headed(_place(finding, result), printable(finding.code))
            lines += self._screen.wrap(printable(finding.message), indent=4)
            lines += self._advice(finding.fix)
        return lines

    def _warning(self, code: str, fix: str, places: list[tuple[str, str]]) -> Iterator[str]:
        """One code's warnings: every place, the message under the last place that it speaks of, the fix once."""
        yield self._led_by("warning", f"warning  {self._screen.style(code, bold=True)}")
        following = [message for _, message in places[1:]] + [""]
        for (place, message), after in zip(places, following, strict=True):
            yield f"  {place}"
            if message != after:
                yield from self._screen.wrap(message, indent=4)
        yield from self._advice(fix)

    def _headed(self, place: str, code: str) -> list[str]:
        styled = self._screen.style(code, fg="red")
        if 4 + columns(place) + columns(code) <= self._screen.width:
            return [f"  {place}  {styled}"]
        return [f"  {place}", f"    {styled}"]

    def _advice(self, advice: str) -> list[str]:
        return self._screen.wrap(printable(advice), indent=4, first="fix: ") if advice else []

    def _led_by(self, word: str, line: str) -> str:
        """`line`, its first word in the looks of that word."""
        return self._screen.style(word, **_LOOKS[word]) + line.removeprefix(word)

    def _authority_notes(self) -> Iterator[str]:
        if "project" in self._authorities:
            yield "authority: project (no platform settings: this project decides for itself)"

    def _summary(self, summary: Summary) -> str:
        parts = [f"{summary.allowed:,} allowed"]
        if summary.denied:
            parts.append(self._screen.style(f"{summary.denied:,} denied", **_LOOKS["DENIED"]))
        if summary.errors:
            parts.append(self._screen.style(f"{summary.errors:,} undecided", **_LOOKS["UNDECIDED"]))
        if summary.warnings:
            counts = " (which --fail-on warn refuses)" if self._fail_on_warn else ""
            parts.append(self._screen.style(plural(summary.warnings, "warning"), **_LOOKS["warning"]) + counts)
        return f"{self._screen.style(plural(summary.stacks, 'stack'), bold=True)}: {', '.join(parts)}"


def _title(result: Result) -> str:
    name = result.stack.name or "(no name)"
    return printable(f"{name} {result.stack.version}" if result.stack.version else name)


def _place(finding: LocatedFinding, result: Result) -> str:
    return printable(str(finding.location) if finding.location else result.source.uri)


def _column_rows(result: Result) -> Iterator[tuple[str, ...]]:
    """What was found as plain cells: word, place, code, message."""
    if result.error is not None:
        yield "UNDECIDED", printable(result.source.uri), sys.intern(result.error.code), printable(result.error.message)
    for finding in result.findings:
        word = "DENIED" if finding.denies else "warning"
        yield word, _place(finding, result), sys.intern(printable(finding.code)), printable(finding.message)
