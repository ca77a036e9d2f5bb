"""What became of stacks that were applied: the table of their decisions, and below it what the registry holds."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from flowyml_policy.outputs.blocks import diff_lines, error_lines, title, title_row, word
from flowyml_policy.outputs.formats.table import LONGEST, TableOutput
from flowyml_policy.outputs.terminal import Screen, printable
from flowyml_policy.records.result import Summary

if TYPE_CHECKING:
    from flowyml_policy.decision.lifecycle import Applied

STATUSES: Final = ("registered", "unchanged", "would_register", "denied", "refused", "undecided")
_WORDS: Final = {"registered": "registered", "unchanged": "unchanged", "would_register": "would register"}


class AppliedOutput(Protocol):
    """One format. A run that breaks off ends with `end(complete=False)`."""

    def add(self, one: Applied) -> None:
        """One more stack, in the order in which they were applied."""

    def end(self, *, complete: bool) -> None:
        """After the last one."""


def open_applied_output(name: str, screen: Screen, *, notes: Iterable[str] = ()) -> AppliedOutput:
    """The output called `name`: table or json."""
    return AppliedJson(screen.stream) if name == "json" else AppliedTable(screen, notes=notes)


class AppliedTable:
    """For people: what was not registered, and why; the warnings; then a line for each stack that is registered."""

    def __init__(self, screen: Screen, *, notes: Iterable[str]) -> None:
        self._table = _Table(screen, notes=notes)
        self._summary = Summary()

    def add(self, one: Applied) -> None:
        self._table.add_applied(one)
        self._summary = self._summary.including([one.result])

    def end(self, *, complete: bool) -> None:
        self._table.end(self._summary if complete else None)


class _Table(TableOutput):
    """The table of decisions, whose allowed stacks say what the registry made of them."""

    def __init__(self, screen: Screen, *, notes: Iterable[str]) -> None:
        super().__init__(screen, notes=notes)
        self._counts: Counter[str] = Counter()
        self._refused: list[list[str]] = []
        self._changes: list[list[str]] = []

    def add_applied(self, one: Applied) -> None:
        result = one.result
        self._counts[one.status] += 1
        self.add(result)
        if not result.allowed or self._count > LONGEST:
            return
        self._allowed.pop()
        if one.error is not None:
            self._refused.append(self._refusal(one))
            return
        name, stack, place = title_row(_WORDS[one.status], result.stack, result.source)
        if one.status == "unchanged" and one.stack is not None:
            at = one.stack.applied_at
            place = f"registered by {printable(one.stack.applied_by)}, {at[:10]} {at[11:19]} UTC"
            place += ": the audit did not say so, and does now" if one.made_good else ""
        self._allowed.append((name, stack, place))
        if one.diff:
            self._changes.append(diff_lines(self._screen, one.diff))

    def _refusal(self, one: Applied) -> list[str]:
        name = "REFUSED" if one.status == "refused" else "UNDECIDED"
        stack = self._screen.style(title(one.result.stack, one.result.source), bold=True)
        lines = [f"{word(self._screen, name)}  {stack}"]
        if one.error is not None:
            lines += error_lines(self._screen, one.error)
        return [*lines, *diff_lines(self._screen, one.diff, indent=4)]

    def _in_blocks(self) -> Iterator[str]:
        for block in self._refused:
            yield from block
            yield ""
        yield from super()._in_blocks()
        for block in self._changes:
            yield from block
            yield ""

    def _passed(self, summary: Summary) -> list[str]:
        del summary
        counts = self._counts
        unregistered = counts["undecided"] - sum(len(stacks) for stacks in self._undecided.values())
        parts = [f"{counts[status]:,} {said}" for status, said in _WORDS.items() if counts[status]]
        if counts["refused"]:
            parts.append(word(self._screen, "REFUSED", f"{counts['refused']:,} refused"))
        if unregistered > 0 and self._count <= LONGEST:
            parts.append(word(self._screen, "UNDECIDED", f"{unregistered:,} allowed and not registered"))
        return parts or ["0 registered"]


class AppliedJson:
    """One document, version 1: each result as `stack validate` writes it, and its `registration`."""

    def __init__(self, stream: TextIO) -> None:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="strict", newline="\n")
        self._write = stream.write
        self._separator = '{"version":1,"results":[\n'
        self._counts: Counter[str] = Counter()
        self._warnings = 0

    def add(self, one: Applied) -> None:
        self._counts[one.status] += 1
        self._warnings += len(one.result.warnings)
        stack = one.stack
        registration = {
            "status": one.status,
            "registered": None if stack is None else stack.model_dump(mode="json", exclude={"document"}),
            "diff": one.diff,
            "made_good": one.made_good,
            "error": None if one.error is None else one.error.model_dump(mode="json"),
        }
        encoded = one.result.model_dump_json()
        self._write(f'{self._separator}{encoded[:-1]},"registration":{json.dumps(registration)}}}')
        self._separator = ",\n"

    def end(self, *, complete: bool) -> None:
        if not complete:
            return
        summary = {"stacks": self._counts.total(), **{name: self._counts[name] for name in STATUSES}}
        opening = "" if self._separator == ",\n" else self._separator
        self._write(f'{opening}\n],"summary":{json.dumps({**summary, "warnings": self._warnings})}}}\n')
