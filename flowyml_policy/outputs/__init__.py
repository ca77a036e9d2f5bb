"""How results are shown: one file a format, behind one small interface.

Rules:
- An output is told `begin`, then `add` for every result, then `end`; it asks nobody anything, and never decides.
- Results stream. What an output must hold back (the denials of a table) it keeps as short text, so that ten
  thousand stacks need hardly more memory than a thousand.
- Every text that came from a file goes through `printable` before a terminal sees it.
- stdout carries the result only; whoever calls an output writes diagnostics to stderr.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, Protocol

from flowyml_policy.outputs.formats.json import JsonOutput
from flowyml_policy.outputs.formats.table import TableOutput
from flowyml_policy.outputs.terminal import Screen

if TYPE_CHECKING:
    from flowyml_policy.records.result import Result, Summary

FORMATS: Final = ("table", "json")


class Output(Protocol):
    """One format. A run that breaks off ends with `end(None)`: what was added so far must not look complete."""

    def begin(self) -> None:
        """Before the first result."""

    def add(self, result: Result) -> None:
        """One more result, in the order of judgement."""

    def end(self, summary: Summary | None) -> None:
        """After the last result; None when an error ended the run early."""


def open_output(name: str, screen: Screen, *, notes: Iterable[str] = (), fail_on_warn: bool = False) -> Output:
    """The output called `name`, one of FORMATS.

    `notes` are lines that only people want to read: a table shows them, a format for programs does not.
    """
    if name == "json":
        return JsonOutput(screen.stream)
    return TableOutput(screen, notes=notes, fail_on_warn=fail_on_warn)


def show(results: Iterable[Result], output: Output) -> Summary:
    """Pass every result to `output` as it comes, and answer what they come to."""
    from flowyml_policy.records.result import Summary

    output.begin()
    try:
        summary = Summary().including(_shown(results, output))
    except BaseException:
        output.end(None)
        raise
    output.end(summary)
    return summary


def _shown(results: Iterable[Result], output: Output) -> Iterator[Result]:
    for result in results:
        output.add(result)
        yield result
