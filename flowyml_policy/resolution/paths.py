"""Definitions that are named by path: files, folders, standard input.

Rules of this room:
- A path that does not exist is the caller's mistake and is refused before anything is judged; everything else that
  goes wrong belongs to one candidate and never hides the others.
- A link inside the project may not lead out of it (see Boundary); what is outside may be named.
- Files are read in sorted order, one at a time, and never held: a folder of any size needs the memory of one file.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from flowyml_policy.canonical import digest
from flowyml_policy.definitions import (
    StackDefinition,
    find_files,
    local_source,
    read_definitions,
    read_file,
)
from flowyml_policy.definitions.files import is_missing
from flowyml_policy.errors import (
    FlowymlPolicyError,
    NoStacksFound,
    SourceError,
    SourceNotPinned,
    SourceUnreadable,
    UsageError,
)
from flowyml_policy.records import Source
from flowyml_policy.resolution.boundary import Boundary
from flowyml_policy.settings.ssh_address import meant_by_short_form

STDIN = "-"
FILE_ENDINGS = (".yaml", ".yml")

Content: TypeAlias = StackDefinition | FlowymlPolicyError
"""A definition, or why there is none."""


class Candidate(NamedTuple):
    """One document that might be a stack: where it came from, and the definition or why there is none.

    `reference` is what named it, where that was no path.
    """

    source: Source
    content: Content
    reference: str | None = None


def looks_like_path(text: str) -> bool:
    """Whether `text` is written as a path: without `://`, and with a '/' or the ending of a definition's file."""
    return "://" not in text and ("/" in text or text.lower().endswith(FILE_ENDINGS))


def other_than_path(text: str) -> str | None:
    """What to do about a `text` that is read as a path and is git's short form of an ssh address; None for others."""
    meant = meant_by_short_form(text)
    return None if meant is None else f"to read a repository, write git+{meant}"


def is_reference(text: str) -> bool:
    """Whether an argument of a command is a reference rather than a path.

    A path is what has no `://` and exists, contains a '/', or ends in .yaml or .yml; `-` is standard input.
    """
    if "://" in text:
        return True
    if text == STDIN or looks_like_path(text):
        return False
    return not text or "\0" in text or not os.path.lexists(text)


def read_candidates(
    paths: Sequence[str], *, project: Path, stdin: bytes | None = None, skip: Collection[Path] = ()
) -> Iterator[Candidate]:
    """Every document under `paths`, in order; `-` stands for `stdin`, `skip` names files that folders leave out.

    `project` is the folder that its own links may not lead out of. Raises UsageError for a path that does not exist, at
    the call and before the first candidate.
    """
    require_existing(paths, stdin=stdin)
    return _candidates(paths, project, stdin, skip)


def require_existing(paths: Sequence[str], *, stdin: bytes | None = None) -> None:
    """Raise UsageError for one of `paths` that does not exist, and for `-` where there is no `stdin`."""
    for path in paths:
        if path == STDIN and stdin is None:
            raise UsageError("`-` was named, but there is no standard input", advice="pipe the definition in")
        if path != STDIN and is_missing(path):
            advice = other_than_path(path) or "name an existing path"
            raise UsageError(f"there is no such file or folder: {path or repr(path)}", advice=advice)


def require_pinned(environment: str, definition: StackDefinition) -> None:
    """Raise SourceNotPinned where `environment` takes pinned sources only and that of `definition` is none."""
    source = definition.source
    if not source.pinned:
        raise SourceNotPinned(
            f"environment {environment!r} takes pinned sources only, and that of stack {definition.metadata.name!r} may"
            f" change: {source.uri}" + (f" at {source.ref}" if source.ref else "")
        )


def _candidates(
    paths: Sequence[str], project: Path, stdin: bytes | None, skip: Collection[Path]
) -> Iterator[Candidate]:
    for path in paths:
        if path == STDIN:
            data = stdin or b""
            yield from _documents(data, Source(kind="stdin", uri=STDIN, digest=digest(data)))
            continue
        named = Path(path)
        unlisted: list[SourceUnreadable] = []
        try:
            Boundary(named, project).inside(named)
            files = find_files(named, skip=skip, unlisted=unlisted)
        except (NoStacksFound, SourceError) as error:
            yield Candidate(_unread(named), error)
            continue
        for file in files:
            yield from _file(file)
        for unreadable in unlisted:
            yield Candidate(_unread(named), unreadable)


def _file(file: Path) -> Iterator[Candidate]:
    try:
        data = read_file(file)
    except SourceUnreadable as error:
        yield Candidate(_unread(file), error)
        return
    yield from _documents(data, local_source(file, data))


def _documents(data: bytes, source: Source) -> Iterator[Candidate]:
    for content in read_definitions(data, source.uri, source):
        yield Candidate(source, content)


def _unread(path: Path) -> Source:
    """The source of something that could not be read: its address, and no digest."""
    return local_source(path, b"").model_copy(update={"digest": None})
