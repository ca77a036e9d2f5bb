"""Which environments run on a definition, by whatever name or address their settings call it.

Another way to name a stack must not take it out of an environment. So a definition belongs to an environment whose
`stack` is its name, or leads to the place that it was read from: a key of `stacks:`, or an address. At which revision
or version does not matter, nor what is asked of an http address. A repository of this machine is the folder that its
links lead to, and what lies in it: a file there belongs to the repository, and a file of the repository to its folder.

Where two addresses lead to one repository, same_repository tells, and of a file that a git server hands out by https,
raw_file. Where these take two places for one, the definition belongs to an environment more, and is judged more
strictly.

A registered definition belongs wherever it would if it were read where it was when it was registered. Of a repository
it is not known any more in which file, so that every path there fits. What was registered from a file of some machine,
or from none, was perhaps a copy of what an environment runs on: it is enough that the environment says its name, that
its file or folder on this machine holds a definition of that name now, or that one path ends as the other. A file that
is there and cannot be read may hold the name; one that is not there holds none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias
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
from flowyml_policy.references.url import bracketed
from flowyml_policy.resolution.repository import (
    GIT_KINDS,
    RawFile,
    folder_of,
    host_of,
    is_end,
    is_repository,
    is_within,
    raw_file,
)
from flowyml_policy.settings.settings import Settings
from flowyml_policy.sources.entries import reference_of
from flowyml_policy.sources.local import LocalSource
from flowyml_policy.sources.search import StackSearch

_Address: TypeAlias = FileReference | GitReference | HttpReference


class _Place(NamedTuple):
    """Where a definition was read. `path` is that of its file in a repository; null where nobody knows it."""

    kind: str
    uri: str
    path: str | None = None

    @property
    def is_everywhere(self) -> bool:
        """Whether the address means one place on every machine."""
        return self.kind in GIT_KINDS or self.kind == "http"

    @property
    def folder(self) -> str | None:
        """The folder of a repository of this machine; null for everything else."""
        address = urlsplit(self.uri) if self.kind in GIT_KINDS else None
        return folder_of(address.path) if address is not None and address.scheme == "file" else None


def environments_of(settings: Settings, definition: StackDefinition) -> tuple[str, ...]:
    """The environments of flowyml.yaml that run on `definition`."""
    return tuple(
        name
        for name, environment in settings.environments.items()
        if any(_is_meant(settings, reference, definition) for reference in meant_by(settings, environment.stack))
    )


def meant_by(settings: Settings, text: str) -> Iterator[StackReference]:
    """What an environment's `stack`, or a key of `stacks:`, may mean.

    One that is malformed means nothing, and resolves to nothing either.
    """
    try:
        reference = parse_stack_reference(text)
        yield reference
        if isinstance(reference, NameReference) and reference.name in settings.stacks:
            yield reference_of(settings.stacks[reference.name], key=reference.name)
    except ReferenceMalformed:
        return


def _is_meant(settings: Settings, reference: StackReference, definition: StackDefinition) -> bool:
    name = definition.metadata.name
    if isinstance(reference, NameReference | RegistryReference):
        return reference.name == name
    if reference.stack not in {None, name}:
        return False
    provenance = definition.provenance
    if not isinstance(provenance, RegisteredProvenance):
        source = definition.source
        path = None if provenance is None else provenance.path
        return _is_there(settings, reference, _Place(source.kind, source.uri, path))
    place = _place_of(provenance.applied_from)
    is_there = _is_there(settings, reference, place)
    if is_there or place.is_everywhere:
        return is_there
    return reference.stack == name or _may_be_there(settings, reference, place) or _holds(settings, reference, name)


def _place_of(source: Source) -> _Place:
    """Where a registry says that a definition was read; text that can be no address is no place."""
    try:
        bracketed(urlsplit(source.uri).hostname or "")
    except ValueError:
        return _Place("object", "")
    return _Place("object", "") if "\0" in unquote(source.uri) else _Place(source.kind, source.uri)


def _is_there(settings: Settings, reference: _Address, place: _Place) -> bool:
    """Whether `reference` leads to `place`."""
    if isinstance(reference, FileReference):
        return _is_file(settings.root / reference.path, place)
    if isinstance(reference, HttpReference):
        return _is_address(reference, place)
    if place.kind == "local":
        return _is_in_folder(reference, place)
    raw = raw_file(place.uri) if place.kind == "http" else None
    return _is_of(reference, raw) if raw else _is_in_repository(reference, place)


def _may_be_there(settings: Settings, reference: _Address, place: _Place) -> bool:
    """Whether what was read from a file of some machine may be a copy of what `reference` leads to."""
    if place.kind != "local":
        return False
    if isinstance(reference, FileReference):
        folder = settings.root / reference.path
        file = str(folder / place.uri)
        if os.path.lexists(file) and _is_file(folder, _Place("local", file)):
            return True
        named = os.path.relpath(folder, settings.root)
    elif isinstance(reference, GitReference):
        named = reference.path or ""
    else:
        raw = raw_file(reference.url)
        named = "/".join(raw.path) if raw else unquote(urlsplit(reference.url).path)
    wanted, found = _segments(named), _segments(place.uri)
    return bool(wanted) and (is_end(wanted, found) or is_within(wanted, found))


def _holds(settings: Settings, reference: _Address, name: str) -> bool:
    """Whether what `reference` leads to on this machine holds a definition called `name`, as far as can be told."""
    if not isinstance(reference, FileReference):
        return False
    try:
        return bool(StackSearch(LocalSource(reference.path, root=settings.root).fetch()).find_all(name))
    except FlowymlPolicyError:
        return os.path.lexists(settings.root / reference.path)


def _segments(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", ".", ".."}]


def _is_file(named: Path, place: _Place) -> bool:
    """Whether a definition lies at `named` on this machine, or below it."""
    if place.kind == "local":
        return _is_below(os.path.realpath(place.uri), os.path.realpath(named))
    if place.folder is None:
        return False
    if place.path is None:
        return _is_below(os.path.realpath(named), place.folder) or _is_below(place.folder, os.path.realpath(named))
    return _is_below(os.path.realpath(Path(place.folder) / place.path), os.path.realpath(named))


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _is_in_folder(reference: GitReference, place: _Place) -> bool:
    """Whether a file of this machine lies in the folder of its repository that `reference` leads to."""
    folder = _Place("git", reference.url).folder
    if folder is None:
        return False
    return _is_below(os.path.realpath(place.uri), os.path.realpath(Path(folder) / (reference.path or "")))


def _is_address(reference: HttpReference, place: _Place) -> bool:
    raw = raw_file(reference.url)
    if place.kind != "http":
        return raw is not None and _is_handed_out(raw, place)
    named, read = urlsplit(reference.url), urlsplit(place.uri)
    if (host_of(named), named.path) == (host_of(read), read.path):
        return True
    other = raw_file(place.uri)
    if raw is None or other is None or not is_repository(raw.repository, other.repository):
        return False
    return raw.ends_with(other.path) or other.ends_with(raw.path)


def _is_of(reference: GitReference, raw: RawFile) -> bool:
    """Whether a file that a server hands out may be the one that `reference` leads to."""
    is_there = reference.path is None or raw.is_below(tuple(reference.path.split("/")))
    return is_there and is_repository(reference.url, raw.repository)


def _is_handed_out(raw: RawFile, place: _Place) -> bool:
    """Whether `raw` is the file that was read from a repository."""
    if place.kind not in GIT_KINDS:
        return False
    is_there = place.path is None or raw.ends_with(tuple(place.path.split("/")))
    return is_there and is_repository(raw.repository, place.uri)


def _is_in_repository(reference: GitReference, place: _Place) -> bool:
    if place.kind not in GIT_KINDS:
        return False
    is_there = None in {reference.path, place.path} or f"{place.path}/".startswith(f"{reference.path}/")
    return is_there and is_repository(reference.url, place.uri)
