"""Which environments run on a definition, by whatever name or address their settings call it.

Another way to name a stack must not take it out of an environment. So a definition belongs to an environment whose
`stack` is its name, or leads to the place that it was read from: a key of `stacks:`, or an address. At which revision
or version does not matter, nor what is asked of an http address. A repository of this machine is the folder that its
links lead to, and what lies in it: a file there belongs to the repository, and a file of the repository to its folder.

A repository on a network is its host and its path there, whoever asks for it, by whatever transport and port, in small
letters or capitals, with `.git` or without. By ssh the path begins where the server's folders do (`/srv/git/org/repo`)
or at somebody's home (`~/org/repo`), and by https often below a prefix (`/scm/org/repo`), so it is enough that one path
ends as the other. Of the large hosts it is known that by one transport a path is written in one way.
Where that takes two repositories for one, the definition belongs to an environment more, and is judged more strictly.

A registered definition belongs wherever it would if it were read where it was when it was registered. Of a repository
it is not known any more in which file, so that every path there fits. What was registered from a file of some machine,
or from none, was perhaps a copy of what an environment runs on: it is enough that the environment says its name, that
its file or folder on this machine holds a definition of that name now, or that one path ends as the other. A file that
is there and cannot be read may hold the name; one that is not there holds none.

A file that a git server hands out by https (`raw.githubusercontent.com/org/repo/v1/stacks/prod.yaml`, and `/raw/`,
`/-/raw/` or `/blob/` below a repository) is that file of the repository. Its ref may hold slashes, so where the ref
ends and the path begins is told by the path that it is compared with.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import Field

from flowyml_policy.definitions import StackDefinition
from flowyml_policy.errors import FlowymlPolicyError, ReferenceMalformed
from flowyml_policy.records import Source
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.resolution.local import LocalSource
from flowyml_policy.resolution.references import (
    FileReference,
    GitReference,
    HttpReference,
    NameReference,
    RegistryReference,
    StackReference,
    parse_stack_reference,
    reference_of,
)
from flowyml_policy.resolution.search import StackSearch
from flowyml_policy.settings import Settings
from flowyml_policy.settings.scalars import bracketed, is_loopback

_OTHER_NAMES: Final = {
    "ssh.github.com": "github.com",
    "www.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
    "ssh.dev.azure.com": "dev.azure.com",
}
"""What large hosts are called besides, for the sake of a transport."""
_KNOWN_HOSTS: Final = frozenset(_OTHER_NAMES.values())
GIT_KINDS: Final = frozenset({"git", "github", "gitlab"})
_OF_TRANSPORTS: Final = {"", "_git", "~"}
"""Segments of a path that are no part of the repository's name; Azure DevOps has `_git` by https alone.

`~` is the home of whoever asks by ssh.
"""

_RAW_HOSTS: Final = {"raw.githubusercontent.com": "github.com"}
"""Hosts of files alone, and those of their repositories, which are an owner and a name."""
_OWNER_AND_NAME: Final = 2
_HANDED_OUT: Final = {"raw", "blob"}
"""What stands between a repository and the ref of its file; a file at `blob` is handed out where `raw` is asked for."""
_FULL_REFS: Final = ("heads", "tags")

_Address: TypeAlias = FileReference | GitReference | HttpReference


class RegisteredProvenance(Provenance):
    """Where a registered definition came from: the registry, and before it was registered `applied_from`."""

    applied_from: Source = Field(exclude=True)


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
        return _folder(address.path) if address is not None and address.scheme == "file" else None


class _RawFile(NamedTuple):
    """A file that a git server hands out: its repository's address, and the segments of its ref and path."""

    repository: str
    segments: tuple[str, ...]

    @property
    def path(self) -> tuple[str, ...]:
        """The longest path that it may have: all but one segment of the ref."""
        return self.segments[1:]

    def ends_with(self, path: tuple[str, ...]) -> bool:
        return self.path[-len(path) :] == path

    def is_below(self, path: tuple[str, ...]) -> bool:
        """Whether `path` may be the file, or a folder that it lies in."""
        found = self.path
        return any(found[start : start + len(path)] == path for start in range(len(found)))


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
    raw = _raw_file(place.uri) if place.kind == "http" else None
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
        raw = _raw_file(reference.url)
        named = "/".join(raw.path) if raw else unquote(urlsplit(reference.url).path)
    wanted, found = _segments(named), _segments(place.uri)
    return bool(wanted) and (_is_end(wanted, found) or _is_within(wanted, found))


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
    raw = _raw_file(reference.url)
    if place.kind != "http":
        return raw is not None and _is_handed_out(raw, place)
    named, read = urlsplit(reference.url), urlsplit(place.uri)
    if (_host(named), named.path) == (_host(read), read.path):
        return True
    other = _raw_file(place.uri)
    if raw is None or other is None or not is_repository(raw.repository, other.repository):
        return False
    return raw.ends_with(other.path) or other.ends_with(raw.path)


def _is_of(reference: GitReference, raw: _RawFile) -> bool:
    """Whether a file that a server hands out may be the one that `reference` leads to."""
    is_there = reference.path is None or raw.is_below(tuple(reference.path.split("/")))
    return is_there and is_repository(reference.url, raw.repository)


def _is_handed_out(raw: _RawFile, place: _Place) -> bool:
    """Whether `raw` is the file that was read from a repository."""
    if place.kind not in GIT_KINDS:
        return False
    is_there = place.path is None or raw.ends_with(tuple(place.path.split("/")))
    return is_there and is_repository(raw.repository, place.uri)


def _raw_file(url: str) -> _RawFile | None:
    """The file of a repository that a git server hands out at `url`; None for any other address."""
    address = urlsplit(url)
    host = bracketed(address.hostname or "")
    parts = unquote(address.path).strip("/").split("/")
    if host in _RAW_HOSTS:
        host, owned, rest = _RAW_HOSTS[host], parts[:_OWNER_AND_NAME], parts[_OWNER_AND_NAME:]
    else:
        mark = next((at for at in range(_OWNER_AND_NAME, len(parts)) if parts[at] in _HANDED_OUT), None)
        if mark is None:
            return None
        owned, rest = parts[:mark], parts[mark + 1 :]
        if owned[-1] == "-":
            owned = owned[:-1]
    if rest[:1] == ["refs"] and rest[1:2] and rest[1] in _FULL_REFS:
        rest = rest[2:]
    return _RawFile(f"https://{host}/{'/'.join(owned)}", tuple(rest)) if rest[1:] else None


def _is_in_repository(reference: GitReference, place: _Place) -> bool:
    if place.kind not in GIT_KINDS:
        return False
    is_there = None in {reference.path, place.path} or f"{place.path}/".startswith(f"{reference.path}/")
    return is_there and is_repository(reference.url, place.uri)


def is_repository(one: str, other: str, *, below_prefixes: bool = True) -> bool:
    """Whether two addresses may lead to one repository; see above. False for what is no address.

    Without `below_prefixes` two https addresses of one repository have one path: a server that has both has two.
    """
    try:
        named, read = urlsplit(one), urlsplit(other)
    except ValueError:
        return False
    if "file" in {named.scheme, read.scheme}:
        return named.scheme == read.scheme and _folder(named.path) == _folder(read.path)
    if not _host(named) or _host(named) != _host(read):
        return False
    paths = _without_homes(_path(named), _path(read))
    if paths[0] == paths[1]:
        return True
    by_ssh = {named.scheme == "ssh", read.scheme == "ssh"}
    is_one_path = (len(by_ssh) == 1 and _host(named) in _KNOWN_HOSTS) or (by_ssh == {False} and not below_prefixes)
    return not is_one_path and _is_end(*paths)


def _folder(path: str) -> str:
    """The folder of a repository of this machine; its links are followed."""
    folder = unquote(path)
    return folder if "\0" in folder else os.path.realpath(folder).removesuffix(".git").rstrip("/")


def _host(address: SplitResult) -> str:
    """The host; this machine itself by one of its names."""
    host = (address.hostname or "").removesuffix(".")
    return "localhost" if is_loopback(host) else _OTHER_NAMES.get(host, host)


def _path(address: SplitResult) -> list[str]:
    """The segments of a path on a host, but for what its transport alone has."""
    path = unquote(address.path).strip("/").casefold().removesuffix(".git")
    return [part for part in path.split("/") if part not in _OF_TRANSPORTS]


def _without_homes(one: list[str], other: list[str]) -> tuple[list[str], list[str]]:
    """Both paths without the home (`~git`) that one of them begins at.

    Where both name one it stays: on some servers that is the owner of a repository.
    """
    if any(part.startswith("~") for part in one) and any(part.startswith("~") for part in other):
        return one, other
    return _without_home(one), _without_home(other)


def _without_home(path: list[str]) -> list[str]:
    return path[1:] if path[1:] and path[0].startswith("~") else path


def _is_end(one: list[str], other: list[str]) -> bool:
    """Whether one path ends as the other."""
    shorter, longer = sorted((one, other), key=len)
    return bool(shorter) and longer[-len(shorter) :] == shorter


def _is_within(part: list[str], path: list[str]) -> bool:
    return any(path[start : start + len(part)] == part for start in range(len(path)))
