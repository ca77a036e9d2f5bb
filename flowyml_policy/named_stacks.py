"""From what a caller names (paths, references, objects, nothing at all) to the documents that are to be judged.

Rules of this room:
- Whether an argument of a command is a path or a reference is asked of `is_reference`, by whatever command. In a
  library call a string without '/' is a name.
- A path that does not exist is the caller's mistake, and raised before anything is judged.
- A reference that is malformed, or cannot be resolved for whatever reason, is one stack, and judged as undecided.
- A call resolves everything by one resolver, so that many stacks of one repository are one question to its server.
- Paths alone load nothing that fetches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from flowyml_policy.definitions import StackDefinition
from flowyml_policy.errors import EnvironmentUnknown, FlowymlPolicyError, ReferenceMalformed, UsageError
from flowyml_policy.records import Source
from flowyml_policy.resolution import Candidate, read_candidates
from flowyml_policy.resolution.paths import STDIN, is_reference, looks_like_path, require_existing

if TYPE_CHECKING:
    from flowyml_policy.records.provenance import SourceKind
    from flowyml_policy.resolution.resolver import Explanation
    from flowyml_policy.stack_resolver import StackResolver

OpenResolver: TypeAlias = Callable[[], "StackResolver"]

_RAISED: Final = (UsageError, EnvironmentUnknown)
"""What is wrong with the call, and not with one stack."""


def read_named(
    named: Sequence[str],
    *,
    open_resolver: OpenResolver,
    project: Path,
    environment: str | None = None,
    stdin: bytes | None = None,
    skip: Collection[Path] = (),
) -> Iterator[Candidate]:
    """Every document that `named` means, paths and references, in order; `-` stands for `stdin`.

    References are resolved as for `environment`; links of the folder `project` may not lead out of it. Raises
    UsageError for a path that does not exist, at the call.
    """
    groups = [(of_references, list(group)) for of_references, group in groupby(named, key=is_reference)]
    if not any(of_references for of_references, _ in groups):
        return read_candidates(named, project=project, stdin=stdin, skip=skip)
    read = {
        number: read_candidates(group, project=project, stdin=stdin, skip=skip)
        for number, (of_references, group) in enumerate(groups)
        if not of_references
    }

    def candidates() -> Iterator[Candidate]:
        with open_resolver() as resolver:
            parts = (
                read.get(number) or (_resolved(resolver, one, environment) for one in group)
                for number, (_, group) in enumerate(groups)
            )
            yield from chain.from_iterable(parts)

    return candidates()


def read_one(stack: object, *, open_resolver: OpenResolver, project: Path, environment: str | None = None) -> Candidate:
    """The one document that `stack` means; None stands for the chain. A path is read as `read_named` reads it.

    Raises UsageError for a path that does not exist or holds more than one document, and for an object that is no
    stack; EnvironmentUnknown.
    """
    if isinstance(stack, StackDefinition):
        return Candidate(stack.source, stack)
    if isinstance(stack, Path) or (isinstance(stack, str) and looks_like_path(stack)):
        return _only(str(stack), project)
    with open_resolver() as resolver:
        return _resolved(resolver, stack, environment)


def read_argument(word: str, *, stdin: bytes | None = None) -> str | Path | StackDefinition:
    """What an argument means that names one stack, as a resolver takes it: a reference, a path, or what `stdin` holds.

    Raises UsageError for a path that does not exist and for standard input that holds more than one document, and
    whatever is wrong with the definition in standard input.
    """
    if is_reference(word):
        return word
    if word != STDIN:
        require_existing([word])
        return Path(word)
    content = _only(STDIN, Path(), stdin).content
    if isinstance(content, FlowymlPolicyError):
        raise content
    return content


def exact_version(reference: str) -> tuple[str, str]:
    """The name and the version that `name@version` writes. Raises UsageError, ReferenceMalformed."""
    from flowyml_policy.resolution.references import (  # noqa: PLC0415  only for references
        NameReference,
        RegistryReference,
        parse_stack_reference,
    )

    parsed = parse_stack_reference(reference)
    if isinstance(parsed, NameReference | RegistryReference) and parsed.wanted and parsed.wanted[0] not in "^~":
        return parsed.name, parsed.wanted
    name = parsed.name if isinstance(parsed, NameReference | RegistryReference) else "NAME"
    raise UsageError(
        f"{reference!r} names no one version of a stack",
        advice=f"write {name}@VERSION; `flowyml-policy stack list --all-versions` shows what is registered",
    )


def hidden_stacks(words: Iterable[str], *, open_resolver: OpenResolver) -> Iterator[tuple[str, str]]:
    """Each of `words` that is read as a path and is also what a stack is called, with how to write that stack.

    Only this machine is looked at, and what cannot be read there hides nothing: paths must do without both.
    """
    both = [word for word in words if word != STDIN and not looks_like_path(word) and not is_reference(word)]
    if not both:
        return
    with open_resolver() as resolver:
        for word in both:
            written = resolver.otherwise(word)
            if written is not None:
                yield word, written


def _only(path: str, project: Path, stdin: bytes | None = None) -> Candidate:
    """The one document at `path`. Raises UsageError for more than one."""
    candidates = list(islice(read_candidates([path], project=project, stdin=stdin), 2))
    if len(candidates) > 1:
        what = "standard input" if path == STDIN else path
        raise UsageError(f"{what} holds more than one document", advice="name one that holds one stack")
    return candidates[0]


def _resolved(resolver: StackResolver, stack: object, environment: str | None) -> Candidate:
    """What a reference, an object or the chain comes to."""
    told = resolver.explain(stack, environment)
    if told.resolved is not None:
        return Candidate(told.resolved.definition.source, told.resolved.definition, told.resolved.reference)
    if told.error is None or isinstance(told.error, _RAISED):
        raise told.error or UsageError(f"nothing came of {stack!r}")
    return Candidate(_unresolved(resolver, told, stack), told.error)


def _unresolved(resolver: StackResolver, told: Explanation, stack: object) -> Source:
    """The source of something that was not found: what it was called."""
    if stack is not None and not isinstance(stack, str):
        return Source(kind="object", uri=f"object:{type(stack).__module__}.{type(stack).__name__}")
    named = next((step.found for step in told.steps if step.verdict == "broken"), None) or ""
    return Source(kind=_kind_of(named, resolver), uri=named if named.strip() else "no name")


def _kind_of(named: str, resolver: StackResolver) -> SourceKind:
    """Where `named` would have come from; the registry is the last place in which a name is looked up."""
    from flowyml_policy.resolution.references import (  # noqa: PLC0415  only for references
        NameReference,
        parse_stack_reference,
        reference_of,
    )

    if looks_like_path(named):
        return "local"
    try:
        reference = parse_stack_reference(named)
    except ReferenceMalformed:
        return "registry"
    if isinstance(reference, NameReference) and reference.name in resolver.settings.stacks:
        reference = reference_of(resolver.settings.stacks[reference.name], key=reference.name)
    return reference.source_kind
