"""Results in one of the formats, as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from flowyml_policy.outputs.formats.json import JsonOutput
from flowyml_policy.outputs.formats.table import TableOutput
from flowyml_policy.outputs.terminal import Screen
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
