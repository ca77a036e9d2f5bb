"""Which environments run on a definition, however their settings name it.

A definition belongs to an environment where one of these holds; in doubt it does, and is judged more strictly:
- The environment's `stack`, or the entry of `stacks:` that it names, says its metadata.name: `gpu`, `gpu@^2.1`,
  `registry://gpu`.
- flowyml.lock pins what the environment runs on to its name or digest (`ProjectPins.references_to`).
- Both were read at one place, at any revision: one repository, at or below the path that is asked for; one http
  address, with any port and query; one file of this machine, its links followed, or one in that folder.
- It was registered from no such place (standard input, an object, a file of some machine), so that it may be a copy of
  what the environment runs on: the environment says its name, or its file or folder on this machine holds a definition
  of that name or cannot be read, or one path stands in the other.

A repository is its host and the last two segments of its path: prefixes (`/scm/org/repo`, `/srv/git/org/repo`) are not
compared. Where one path has a single segment, that decides. The address of a file that a git server hands out (`/raw/`,
`/blob/`) is one of its repository.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.references import ReferenceMalformed
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.records.policy_input import Source
from flowyml_policy.records.provenance import RegisteredProvenance
from flowyml_policy.references.stack import parse_stack_reference
from flowyml_policy.references.stack_values import (
    FileReference,
    GitReference,
    HttpReference,
    NameReference,
    RegistryReference,
    StackReference,
)
from flowyml_policy.resolution.repository import GIT_KINDS, RAW_HOST, folder_of, host_of, is_end, path_of
from flowyml_policy.settings.settings import Settings
from flowyml_policy.sources.entries import reference_of
from flowyml_policy.sources.local import LocalSource
from flowyml_policy.sources.search import StackSearch

_Address: TypeAlias = FileReference | GitReference | HttpReference

_NAME: Final = 2
"""How many segments of its path identify a repository: owner and name."""


class _Place(NamedTuple):
    """Where a definition is. `repository` is the path on `host` of the repository that it is in.

    `paths` are those that its file may have there: where a ref ends, no address says. `is_open`: any file below may
    be meant.
    """

    kind: Literal["repository", "http", "file"]
    host: str
    repository: list[str]
    paths: list[list[str]]
    is_open: bool = False

    def leads_to(self, read: _Place) -> bool:
        """Whether a definition that was read at `read` may be what is here."""
        length = min(_NAME, len(self.repository), len(read.repository))
        if self[:2] != read[:2] or _last(self.repository, length) != _last(read.repository, length):
            return False
        return any(
            path[: len(named)] == named or (read.is_open and named[: len(path)] == path)
            for named in self.paths
            for path in read.paths
        )


def environments_of(settings: Settings, definition: StackDefinition) -> tuple[str, ...]:
    """The environments of flowyml.yaml that run on `definition`, but for what flowyml.lock says."""
    return tuple(
        name
        for name, environment in settings.environments.items()
        if any(_is_meant(settings, reference, definition) for reference in meant_by(settings, environment.stack))
    )


def meant_by(settings: Settings, text: str) -> Iterator[StackReference]:
    """What an environment's `stack`, or a key of `stacks:`, may mean; nothing where it is malformed."""
    try:
        reference = parse_stack_reference(text)
        yield reference
        if isinstance(reference, NameReference) and reference.name in settings.stacks:
            yield reference_of(settings.stacks[reference.name], key=reference.name)
    except ReferenceMalformed:
        return


def _is_meant(settings: Settings, reference: StackReference, definition: StackDefinition) -> bool:
    name, provenance = definition.metadata.name, definition.provenance
    if isinstance(reference, NameReference | RegistryReference):
        return reference.name == name
    if reference.stack not in {None, name}:
        return False
    if not isinstance(provenance, RegisteredProvenance):
        path = None if provenance is None else provenance.path
        return _is_there(settings, reference, _places_of(definition.source, path))
    try:
        read = _places_of(provenance.applied_from, None)
    except ValueError:  # what a registry says may be no address
        read = []
    if _is_there(settings, reference, read):
        return True
    is_anywhere = all(place.kind == "file" for place in read)
    return is_anywhere and _may_be_copied(settings, reference, name, provenance.applied_from)


def _is_there(settings: Settings, reference: _Address, read: Iterable[_Place]) -> bool:
    named = list(_places(settings, reference))
    return any(place.leads_to(one) for one in read for place in named)


def _places(settings: Settings, reference: _Address) -> Iterator[_Place]:
    if isinstance(reference, FileReference):
        yield _file(settings.root / reference.path)
    elif isinstance(reference, GitReference):
        yield _in_repository(reference.url, reference.path or "")
    else:
        yield from _at(reference.url)


def _places_of(source: Source, path: str | None) -> list[_Place]:
    """Where `source` was read. Raises ValueError for text that can be no address."""
    if "\0" in unquote(source.uri):
        raise ValueError("an address holds no NUL")
    if source.kind == "local":
        return [_file(source.uri)]
    if source.kind == "http":
        return list(_at(source.uri))
    return [_in_repository(source.uri, path)] if source.kind in GIT_KINDS else []


def _file(path: str | Path, *, is_open: bool = False) -> _Place:
    return _Place("file", "", [], [list(Path(os.path.realpath(path)).parts)], is_open)


def _in_repository(url: str, path: str | None) -> _Place:
    address = urlsplit(url)
    if address.scheme == "file":
        # A commit holds its files under their own names, whatever links the working tree has now: both are one place.
        inside = Path(folder_of(address.path), path or "")
        place = _file(inside, is_open=path is None)
        return place._replace(paths=[*place.paths, list(inside.parts)])
    return _Place("repository", host_of(address), _name(path_of(address.path)), [_segments(path or "")], path is None)


def _at(url: str) -> Iterator[_Place]:
    """The http address, and the file of a repository that it may be."""
    address = urlsplit(url)
    host, parts = host_of(address), _segments(unquote(address.path))
    yield _Place("http", host, [], [parts])
    marks = (at for at, part in enumerate(parts) if at >= _NAME and part in {"raw", "blob"})
    for end, start in [(_NAME, _NAME)] if address.hostname == RAW_HOST else [(at, at + 1) for at in marks]:
        file = parts[start:]
        paths = [file[at:] for at in range(1, len(file))]
        yield _Place("repository", host, _name(path_of("/".join(parts[:end]))), paths)


def _name(path: list[str]) -> list[str]:
    """A repository's path without the home (`~git`) that it is reached by, which is the owner on some servers."""
    return [part for part in path if not part.startswith("~")]


def _last(path: list[str], length: int) -> list[str]:
    return path[len(path) - length :]


def _segments(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", ".", ".."}]


def _may_be_copied(settings: Settings, reference: _Address, name: str, source: Source) -> bool:
    """Whether what was registered from `source` may be a copy of what `reference` leads to."""
    if reference.stack == name or (source.kind == "local" and _has_its_path(settings, reference, source.uri)):
        return True
    if not isinstance(reference, FileReference):
        return False
    try:
        return bool(StackSearch(LocalSource(reference.path, root=settings.root).fetch()).find_all(name))
    except FlowymlPolicyError:
        return os.path.lexists(settings.root / reference.path)


def _has_its_path(settings: Settings, reference: _Address, uri: str) -> bool:
    """Whether a file of some machine lies where `reference` says, or the other way round."""
    if isinstance(reference, FileReference):
        folder = settings.root / reference.path
        if os.path.lexists(folder / uri) and _file(folder).leads_to(_file(folder / uri)):
            return True
        paths = [_segments(os.path.relpath(folder, settings.root))]
    elif isinstance(reference, GitReference):
        paths = [_segments(reference.path or "")]
    else:
        paths = [path for place in _at(reference.url) for path in place.paths]
    found = _segments(uri)
    return any(named and (is_end(named, found) or _is_within(named, found)) for named in paths)


def _is_within(part: list[str], path: list[str]) -> bool:
    return any(path[start : start + len(part)] == part for start in range(len(path)))
