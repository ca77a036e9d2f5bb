"""Errors of stack definitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowyml_policy.errors.root import FlowymlPolicyError

if TYPE_CHECKING:
    from flowyml_policy.records.record import Location


class DefinitionProblem:
    """One thing wrong with one document: what the finding `definition.*` is made from.

    `location` is null for a definition that no file holds.
    """

    __slots__ = ("code", "fix", "location", "message", "path")

    def __init__(
        self, code: str, message: str, *, fix: str, location: Location | None, path: Sequence[str | int] = ()
    ) -> None:
        self.code = code
        self.message = message
        self.fix = fix
        self.location = location
        self.path = tuple(path)

    def __str__(self) -> str:
        where = f"{self.location}: " if self.location else ""
        return f"{where}{self.message}; {self.fix}" if self.fix else f"{where}{self.message}"

    def __repr__(self) -> str:
        return f"DefinitionProblem({self.code!r}, {str(self)!r})"


class DefinitionInvalid(FlowymlPolicyError):
    """A document is not a stack definition. `problems` holds every one found, in file order, at least one.

    `stack_name` and `stack_version` are the document's own metadata where they could be read.
    """

    code = "definition_invalid"
    exit_code = 1
    default_advice = ""

    def __init__(
        self,
        problems: Sequence[DefinitionProblem],
        *,
        stack_name: str | None = None,
        stack_version: str | None = None,
    ) -> None:
        if not problems:
            raise ValueError("an invalid definition needs at least one problem")
        self.problems = tuple(problems)
        self.stack_name = stack_name
        self.stack_version = stack_version
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SchemaTooNarrow(FlowymlPolicyError):
    """A definition was to be written in a schema that has no place for all of it; nothing is left out instead."""

    code = "schema_too_narrow"

    def __init__(self, stack: str, schema: str, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        other = "flowyml.io/v1" if schema == "flowyml/v1" else "flowyml/v1"
        super().__init__(
            f"stack {stack!r} cannot be written as {schema}: {'; '.join(reasons)}",
            advice=f"write it as {other}, which has a place for all of it",
        )


class StackUnbuildable(FlowymlPolicyError):
    """A definition has no stack of FlowyML that runs where it says; nothing runs elsewhere instead."""

    code = "stack_unbuildable"
    default_advice = "name a backend that FlowyML can run on: local, azureml, gcp or aws"


class NoStacksFound(FlowymlPolicyError):
    """A folder was named and no stack definition is in it."""

    code = "no_stacks"
    default_advice = "name a folder that holds *.yaml or *.yml stack definitions"
