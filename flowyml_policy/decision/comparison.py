"""What differs between two stacks, wherever each of them comes from."""

from __future__ import annotations

from flowyml_policy.decision.candidates import read_argument
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.definitions.text import difference
from flowyml_policy.errors.definitions import DefinitionInvalid
from flowyml_policy.errors.sources import SourceUnreadable
from flowyml_policy.records.record import Record
from flowyml_policy.records.result import EXIT_ALLOWED, EXIT_DENIED
from flowyml_policy.resolution.resolver import StackResolver


class Comparison(Record):
    """How two definitions differ; `diff` is empty where they are the same."""

    old: str
    new: str
    old_digest: str
    new_digest: str
    diff: str

    @property
    def exit_code(self) -> int:
        """0 the same, 1 different."""
        return EXIT_ALLOWED if self.old_digest == self.new_digest else EXIT_DENIED


def compared(resolver: StackResolver, old: str, new: str, *, stdin: bytes | None = None) -> Comparison:
    """What differs between the stacks that two paths or references mean; `-` stands for `stdin`.

    Raises what `read_argument` and resolving raise, but none that exits 1.
    """
    before, after = _definition(resolver, old, stdin), _definition(resolver, new, stdin)
    names = [
        f"{shown}  ({one.source.uri})" if shown != one.source.uri else shown
        for shown, one in ((old, before), (new, after))
    ]
    return Comparison(
        old=old,
        new=new,
        old_digest=before.digest,
        new_digest=after.digest,
        diff=difference(before.set_values(), after.set_values(), old_name=names[0], new_name=names[1]),
    )


def _definition(resolver: StackResolver, named: str, stdin: bytes | None) -> StackDefinition:
    try:
        return resolver.resolve(read_argument(named, stdin=stdin))
    except DefinitionInvalid as error:
        what = "; ".join(str(problem) for problem in error.problems)
        raise SourceUnreadable(
            f"{named} is no valid stack definition: {what}",
            advice="correct it; `flowyml-policy stack validate` says how",
        ) from error
