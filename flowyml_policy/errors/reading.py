"""Errors of reading: YAML, values, definitions, and the places that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowyml_policy.errors.root import FlowymlPolicyError

if TYPE_CHECKING:
    from flowyml_policy.records import Location


# YAML, for definitions and settings alike


class YamlInvalid(FlowymlPolicyError):
    """A file is not the YAML that this program reads. `problem` says what, `location` where, `fix` what to write."""

    code = "yaml_invalid"

    def __init__(self, problem: str, *, location: Location, fix: str) -> None:
        self.problem = problem
        self.location = location
        self.fix = fix
        super().__init__(f"{location}: {problem}", advice=fix)


class YamlTooLarge(YamlInvalid):
    """A file is larger, deeper or longer, with its aliases written out, than this program reads."""

    code = "yaml_too_large"


# Values of floor 0


class NotCanonical(FlowymlPolicyError):
    """A value has no canonical JSON (RFC 8785), so it cannot be digested: it is not JSON, or ambiguous JSON."""

    code = "not_canonical"
    default_advice = "use text, whole numbers up to 2**53 - 1, finite numbers, booleans, null, lists and mappings only"


class ReferenceInvalid(FlowymlPolicyError):
    """Text is no image reference that Docker would take, or no entry of a list of allowed registries."""

    code = "reference_invalid"
    default_advice = "write it as registry/path:tag or registry/path@sha256:digest"

    def __init__(self, message: str, *, problem: str | None = None, advice: str | None = None) -> None:
        self.problem = message if problem is None else problem
        """What is wrong, where the text itself need not be said again."""
        super().__init__(message, advice=advice)


# Definitions and where they come from


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


class ReferenceMalformed(FlowymlPolicyError):
    """Text is no reference to a stack. The message never repeats credentials; the advice shows the right form."""

    code = "reference_malformed"
    default_advice = "write a name, as prod-gpu or prod-gpu@2.1.0, or an address, as github://org/repo@v1.0#stack"


class SourceError(FlowymlPolicyError):
    """A definition could not be had from where it is kept; never a reason to look elsewhere."""

    code = "source_error"


class SourceUnreadable(SourceError):
    """A file or folder that should hold definitions cannot be read."""

    code = "source_unreadable"
    default_advice = "check that the file exists and that this user may read it"


class SourceUnreachable(SourceError):
    """The server, or this machine's way to it, failed: unknown host, time out, 5xx, an answer cut off, offline."""

    code = "source_unreachable"
    default_advice = "check the address and the network, and try again"


class SourceAccessDenied(SourceError):
    """The source wants other credentials than it was given, or any at all."""

    code = "source_access_denied"
    default_advice = "give this user access, and check the credentials"


class SourceMissing(SourceError):
    """The source answered, and what was asked for is not there: the repository, the file."""

    code = "source_missing"
    default_advice = "correct the address or the path"


class SourceRefMissing(SourceError):
    """A repository has no such branch, tag or commit, or more than one that could be meant."""

    code = "source_ref_missing"
    default_advice = "name a branch, a tag or a full commit id of the repository"


class SourceChanged(SourceError):
    """A source holds something else than what it was pinned to."""

    code = "source_changed"
    default_advice = (
        "find out who changed it; if the change is meant, pin the new one: run `flowyml-policy stack lock`, or correct"
        " the sha256 or commit that names it"
    )


class SourceNotPinned(SourceError):
    """An environment takes pinned sources only, and what was named may come to mean something else."""

    code = "source_not_pinned"
    default_advice = (
        "name a full commit id, an http source with its sha256, or an exact version of the registry; or pin it with"
        " `flowyml-policy stack lock` and `require_lock`"
    )


class SourceTooLarge(SourceError):
    """A source holds more than this program reads from one: bytes, or files."""

    code = "source_too_large"
    default_advice = "name one smaller file"


class SourceRefused(SourceError):
    """What an address, a link or a redirect asks for is not safe, and was not done."""

    code = "source_refused"
    default_advice = "name the definition by an address that may be used"


class StackNotFound(SourceError):
    """A source was read, and no stack of that name is in it."""

    code = "stack_not_found"
    default_advice = "name a stack that is there, or the path of its file"


class StackAmbiguous(SourceError):
    """More than one stack could be meant."""

    code = "stack_ambiguous"
    default_advice = "name the path of the one that is meant"


class NoStacksFound(FlowymlPolicyError):
    """A folder was named and no stack definition is in it."""

    code = "no_stacks"
    default_advice = "name a folder that holds *.yaml or *.yml stack definitions"
