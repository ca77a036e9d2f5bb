"""`--format table`: for people. What needs an answer stands first, the summary last.

Undecided stacks lead, then denied ones, each finding with its place, its code, what is wrong and how to put
it right; then the warnings of all stacks, those of one code together; allowed stacks are one line each, and so are
the images that were examined.
Beyond LONGEST stacks nobody reads prose: findings become plain columns, one line each, and allowed stacks
only a count.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from flowyml_policy.outputs.blocks import (
    error_lines,
    finding_lines,
    fix_lines,
    in_file_order,
    led_by,
    place,
    title,
    title_row,
    word,
)
from flowyml_policy.outputs.terminal import Screen, plural, printable

if TYPE_CHECKING:
    from flowyml_policy.records.policy_input import ImageFacts
    from flowyml_policy.records.result import ErrorReport, Result, Summary

LONGEST: Final = 200
"""Stacks that are shown in prose."""

MOST_IMAGES: Final = 20
"""Images that are told one by one."""

SHORT_DIGEST: Final = len("sha256:") + 12

FEW: Final = 3
"""Warnings of one code that are shown with a message each."""


class TableOutput:
    """Writes everything to `screen` when the run ends; until then it holds the text of findings, no results.

    `notes` are told where anything was recorded.
    """

    def __init__(self, screen: Screen, *, notes: Iterable[str] = (), fail_on_warn: bool = False) -> None:
        self._screen = screen
        self._notes = notes
        self._fail_on_warn = fail_on_warn
        self._count = 0
        self._authorities: set[str] = set()
        self._recorded = False
        self._undecided: dict[ErrorReport, list[tuple[str, ...]]] = {}
        self._denied: list[list[str]] = []
        self._warnings: dict[tuple[str, str], list[tuple[str, str]]] = {}
        self._allowed: list[tuple[str, ...]] = []
        self._images: dict[str, tuple[str, ...]] = {}
        self._columns: dict[str, list[tuple[str, ...]]] = {"UNDECIDED": [], "DENIED": [], "warning": []}

    def begin(self) -> None:
        """Nothing yet: denials come first, so the first line waits for the last stack."""

    def add(self, result: Result) -> None:
        self._count += 1
        self._authorities.add(result.authority)
        self._recorded = self._recorded or result.decision_id is not None
        for row in _column_rows(result):
            self._columns[row[0]].append(row)
        if self._count > LONGEST:
            return
        for image in result.images:
            if image.inspected:
                self._images[image.ref] = _image_row(image)
        if result.allowed:
            self._allowed.append(title_row("allowed", result.stack, result.source))
        elif result.outcome == "deny":
            self._denied.append(self._denial(result))
        elif result.error is not None:
            stacks = self._undecided.setdefault(result.error, [])
            stacks.append(title_row("UNDECIDED", result.stack, result.source))
        for finding in result.warnings:
            places = self._warnings.setdefault((finding.code, finding.fix), [])
            places.append((place(finding, result.source), printable(finding.message)))

    def end(self, summary: Summary | None) -> None:
        for line in self._in_columns() if self._count > LONGEST else self._in_blocks():
            self._screen.line(line)
        if summary is None:
            self._screen.line(f"broke off after {plural(self._count, 'stack')}; the others were not judged")
            return
        for note in (*self._authority_notes(), *(self._notes if self._recorded else ())):
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
        for row, line in zip(self._allowed, self._screen.table(self._allowed), strict=True):
            yield led_by(self._screen, row[0], line)
        if self._allowed:
            yield ""
        rows = list(self._images.values())
        yield from self._screen.table(rows[:MOST_IMAGES])
        if len(rows) > MOST_IMAGES:
            yield f"image  {len(rows) - MOST_IMAGES} more"
        if rows:
            yield ""

    def _in_columns(self) -> Iterator[str]:
        rows = [row for rows in self._columns.values() for row in rows]
        yield from self._screen.table(rows)
        if rows:
            yield ""

    def _undecided_for(self, error: ErrorReport, stacks: list[tuple[str, ...]]) -> Iterator[str]:
        """One reason for no decision, below all the stacks that it keeps waiting."""
        for line in self._screen.table(stacks):
            yield led_by(self._screen, "UNDECIDED", line)
        yield from error_lines(self._screen, error)

    def _denial(self, result: Result) -> list[str]:
        """A stack that may not run: every reason, its place and its fix."""
        lines = [f"{word(self._screen, 'DENIED')}  {self._screen.style(title(result.stack, result.source), bold=True)}"]
        for finding in in_file_order(result.denials):
            lines += finding_lines(self._screen, finding, result.source)
        return lines

    def _warning(self, code: str, fix: str, places: list[tuple[str, str]]) -> Iterator[str]:
        """One code's warnings: each place and message while there are few, else one message and all places."""
        yield f"{word(self._screen, 'warning')}  {self._screen.style(code, bold=True)}"
        for where, message in places if len(places) <= FEW else places[:1]:
            yield f"  {where}"
            yield from self._screen.wrap(message, indent=4)
        if len(places) > FEW:
            yield f"  likewise in {len(places) - 1} more places"
            yield from (f"    {where}" for where, _ in places[1:])
        yield from fix_lines(self._screen, fix)

    def _authority_notes(self) -> Iterator[str]:
        if "project" in self._authorities:
            yield "authority: project (no platform settings: this project decides for itself)"

    def _summary(self, summary: Summary) -> str:
        parts = self._passed(summary)
        if summary.denied:
            parts.append(word(self._screen, "DENIED", f"{summary.denied:,} denied"))
        if summary.errors:
            parts.append(word(self._screen, "UNDECIDED", f"{summary.errors:,} undecided"))
        if summary.warnings:
            counts = " (which --fail-on warn refuses)" if self._fail_on_warn else ""
            parts.append(word(self._screen, "warning", plural(summary.warnings, "warning")) + counts)
        return f"{self._screen.style(plural(summary.stacks, 'stack'), bold=True)}: {', '.join(parts)}"

    def _passed(self, summary: Summary) -> list[str]:
        """How many stacks passed."""
        return [f"{summary.allowed:,} allowed"]


def _image_row(image: ImageFacts) -> tuple[str, ...]:
    """Which image was judged, and who was asked for it."""
    digest = (image.digest or "no digest")[:SHORT_DIGEST]
    return "image", printable(image.ref), digest, printable(f"{image.via} {image.endpoint or ''}")


def _column_rows(result: Result) -> Iterator[tuple[str, ...]]:
    """What was found as plain cells: word, place, code, message."""
    if result.error is not None:
        yield "UNDECIDED", printable(result.source.uri), sys.intern(result.error.code), printable(result.error.message)
    for finding in result.findings:
        severity = "DENIED" if finding.denies else "warning"
        yield severity, place(finding, result.source), sys.intern(printable(finding.code)), printable(finding.message)
