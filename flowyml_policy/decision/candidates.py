"""From what a caller names (paths, references, objects, nothing at all) to the documents that are to be judged.

Rules:
- Whether an argument of a command is a path or a reference is asked of `is_reference`, by every command. In a library
  call a string without '/' is a name.
- A path that does not exist is the caller's mistake, and raised before anything is judged. All else that goes wrong,
  a malformed reference too, belongs to one document, which is judged as undecided and never hides the others.
- A call resolves everything by one resolver, so that many stacks of one repository are one question to its server.
- A link inside the project may not lead out of it (see Boundary); what is outside may be named.
- Files are read in sorted order, one at a time, and never held: a folder of any size needs the memory of one file.
- Paths alone load nothing that fetches.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from flowyml_policy.definitions.files import find_files, local_source
from flowyml_policy.definitions.stack import StackDefinition, read_definitions
from flowyml_policy.documents.canonical import digest
from flowyml_policy.documents.reader import Limits, load_documents
from flowyml_policy.errors.definitions import NoStacksFound
from flowyml_policy.errors.documents import YamlInvalid
from flowyml_policy.errors.root import FlowymlPolicyError, UsageError
from flowyml_policy.errors.settings import EnvironmentUnknown
from flowyml_policy.errors.sources import SourceError, SourceUnreadable
from flowyml_policy.records.policy_input import Source
from flowyml_policy.references.arguments import STDIN, is_reference, looks_like_path, other_than_path
from flowyml_policy.sources.boundary import Boundary
from flowyml_policy.system.files import display_path, is_folder, is_missing, read_file

if TYPE_CHECKING:
    from flowyml_policy.resolution.explanation import Explanation
    from flowyml_policy.resolution.resolver import StackResolver

Content: TypeAlias = StackDefinition | FlowymlPolicyError
"""A definition, or why there is none."""


_NO_STACKS: Final = {"flowyml.yaml": "a settings file", "flowyml.lock": "a lockfile"}
_KEYS_OF_STACKS: Final = frozenset({"apiVersion", "api_version", "kind", "metadata", "spec"})
_NAMED: Final = 3


class StackDocument(NamedTuple):
    """One document that might be a stack: where it came from, and the definition or why there is none.

    `reference` is what named it, where that was no path.
    """

    source: Source
    content: Content
    reference: str | None = None


def read_candidates(
    paths: Sequence[str],
    *,
    project: Path,
    stdin: bytes | None = None,
    skip: Collection[Path] = (),
    passed_over: list[str] | None = None,
) -> Iterator[StackDocument]:
    """Every document under `paths`, in order; `-` stands for `stdin`, `skip` names files that folders leave out.

    `project` is the folder that its own links may not lead out of. Where `passed_over` is given, what is known to be no
    stack is put there in words, as it is met, instead of being read as one: the settings, the lockfile and `skip` where
    they are named, FlowyML's own index of stacks, JSON in a folder. Raises UsageError for a path that does not exist,
    at the call and before the first candidate.
    """
    require_existing(paths, stdin=stdin)
    return _candidates(paths, project, stdin, skip, passed_over)


def require_existing(paths: Sequence[str], *, stdin: bytes | None = None) -> None:
    """Raise UsageError for one of `paths` that does not exist, and for `-` where there is no `stdin`."""
    for path in paths:
        if path == STDIN and stdin is None:
            raise UsageError("`-` was named, but there is no standard input", advice="pipe the definition in")
        if path != STDIN and is_missing(path):
            advice = other_than_path(path) or "name an existing path"
            raise UsageError(f"there is no such file or folder: {path or repr(path)}", advice=advice)


def _candidates(
    paths: Sequence[str], project: Path, stdin: bytes | None, skip: Collection[Path], passed_over: list[str] | None
) -> Iterator[StackDocument]:
    for path in paths:
        if path == STDIN:
            data = stdin or b""
            yield from _documents(data, Source(kind="stdin", uri=STDIN, digest=digest(data)))
            continue
        named = Path(path)
        unlisted: list[SourceUnreadable] = []
        unread: list[str] = []
        try:
            Boundary(named, project).inside(named)
            if passed_over is not None and (what := _no_stacks_by_name(named, skip)):
                passed_over.append(f"{display_path(named)} is {what}, and was not judged")
                continue
            files = find_files(named, skip=skip, unlisted=unlisted, unread=unread)
        except (NoStacksFound, SourceError) as error:
            yield StackDocument(_unread(named), error)
            continue
        if passed_over is not None and unread:
            passed_over.append(_not_read(unread))
        is_empty = files != [named] and not unlisted
        for file in files:
            for document in _file(file, passed_over):
                is_empty = False
                yield document
        for unreadable in unlisted:
            yield StackDocument(_unread(named), unreadable)
        if is_empty:
            yield StackDocument(_unread(named), NoStacksFound(f"no stack is in the folder {display_path(named)}"))


def _no_stacks_by_name(named: Path, skip: Collection[Path]) -> str | None:
    """What the file `named` is, where its name says that it holds no stacks; None for all others.

    One that holds a key of stacks, or cannot be read, is judged as any other, whatever it is called.
    """
    if os.path.realpath(named) in {os.path.realpath(one) for one in skip}:
        return "the file of waivers"
    if named.name not in _NO_STACKS or is_folder(named):
        return None
    with suppress(SourceUnreadable, YamlInvalid):
        values = [one.value for one in load_documents(read_file(named, most=Limits().size), named.name)]
        if not any(isinstance(value, dict) and _KEYS_OF_STACKS & value.keys() for value in values):
            return _NO_STACKS[named.name]
    return None


def _not_read(files: Sequence[str]) -> str:
    """That files of JSON are not read, of which the first few are named."""
    names = ", ".join(display_path(Path(file)) for file in sorted(files)[:_NAMED])
    more = f" and {len(files) - _NAMED:,} more" if len(files) > _NAMED else ""
    return f"of a folder only *.yaml and *.yml are read, and not {names}{more}; name such a file to have it judged"


def _file(file: Path, passed_over: list[str] | None) -> Iterator[StackDocument]:
    try:
        data = read_file(file, most=Limits().size)
    except SourceUnreadable as error:
        yield StackDocument(_unread(file), error)
        return
    yield from _documents(data, local_source(file, data), passed_over)


def _documents(data: bytes, source: Source, passed_over: list[str] | None = None) -> Iterator[StackDocument]:
    for content in read_definitions(data, source.uri, source, passed_over=passed_over):
        yield StackDocument(source, content)


def _unread(path: Path) -> Source:
    """The source of something that could not be read: its address, and no digest."""
    return local_source(path, b"").model_copy(update={"digest": None})


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
    passed_over: list[str] | None = None,
) -> Iterator[StackDocument]:
    """Every document that `named` means, paths and references, in order; `-` stands for `stdin`.

    References are resolved as for `environment`; links of the folder `project` may not lead out of it. `passed_over` is
    as in `read_candidates`. Raises UsageError for a path that does not exist, at the call.
    """
    groups = [(of_references, list(group)) for of_references, group in groupby(named, key=is_reference)]
    if not any(of_references for of_references, _ in groups):
        return read_candidates(named, project=project, stdin=stdin, skip=skip, passed_over=passed_over)
    read = {
        number: read_candidates(group, project=project, stdin=stdin, skip=skip, passed_over=passed_over)
        for number, (of_references, group) in enumerate(groups)
        if not of_references
    }

    def candidates() -> Iterator[StackDocument]:
        with open_resolver() as resolver:
            parts = (
                read.get(number) or (_resolved(resolver, one, environment) for one in group)
                for number, (_, group) in enumerate(groups)
            )
            yield from chain.from_iterable(parts)

    return candidates()


def read_one(
    stack: object, *, open_resolver: OpenResolver, project: Path, environment: str | None = None
) -> StackDocument:
    """The one document that `stack` means; None stands for the chain. A path is read as `read_named` reads it.

    Raises UsageError for a path that does not exist or holds more than one document, and for an object that is no
    stack; EnvironmentUnknown.
    """
    if isinstance(stack, StackDefinition):
        return StackDocument(stack.source, stack)
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


def _only(path: str, project: Path, stdin: bytes | None = None) -> StackDocument:
    """The one document at `path`. Raises UsageError for more than one."""
    candidates = list(islice(read_candidates([path], project=project, stdin=stdin), 2))
    if len(candidates) > 1:
        what = "standard input" if path == STDIN else path
        raise UsageError(f"{what} holds more than one document", advice="name one that holds one stack")
    return candidates[0]


def _resolved(resolver: StackResolver, stack: object, environment: str | None) -> StackDocument:
    """What a reference, an object or the chain comes to."""
    told = resolver.explain(stack, environment)
    if told.resolved is not None:
        return StackDocument(told.resolved.definition.source, told.resolved.definition, told.resolved.reference)
    if told.error is None or isinstance(told.error, _RAISED):
        raise told.error or UsageError(f"nothing came of {stack!r}")
    return StackDocument(_unresolved(resolver, told, stack), told.error)


def _unresolved(resolver: StackResolver, told: Explanation, stack: object) -> Source:
    """The source of something that was not found: what it was called."""
    if stack is not None and not isinstance(stack, str):
        return Source(kind="object", uri=f"object:{type(stack).__module__}.{type(stack).__name__}")
    named = next((step.found for step in told.steps if step.verdict == "broken"), None) or ""
    return Source(kind=resolver.source_kind(named), uri=named if named.strip() else "no name")
