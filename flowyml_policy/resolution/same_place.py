"""Which environments run on a definition, by whatever name or address their settings call it.

Another way to name a stack must not take it out of an environment. So a definition belongs to an environment whose
`stack` is its name, or leads to the place that it was read from: a key of `stacks:`, or an address. At which revision
or version does not matter, nor what is asked of an http address; a repository of this machine is the folder that its
links lead to.

A repository on a network is its host and its path there, whoever asks for it, by whatever transport and port, in small
letters or capitals, with `.git` or without. By ssh the path begins where the server's folders do (`/srv/git/org/repo`)
and by https often below a prefix (`/scm/org/repo`), so between the two it is enough that one path ends as the other.
Where that takes two repositories for one, the definition belongs to an environment more, and is judged more strictly.

A file that a git server hands out by https (`raw.githubusercontent.com/org/repo/v1/stacks/prod.yaml`, and `/raw/` or
`/-/raw/` below a repository) is that file of the repository. Its ref may hold slashes, so where the ref ends and the
path begins is told by the path that it is compared with.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from flowyml_policy.definitions import StackDefinition
from flowyml_policy.errors import ReferenceMalformed
from flowyml_policy.records.provenance import Provenance
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
from flowyml_policy.settings import Settings
from flowyml_policy.settings.scalars import bracketed

_OTHER_NAMES: Final = {
    "ssh.github.com": "github.com",
    "www.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
    "ssh.dev.azure.com": "dev.azure.com",
}
"""What large hosts are called besides, for the sake of a transport."""
_GIT_KINDS: Final = frozenset({"git", "github", "gitlab"})
_OF_TRANSPORTS: Final = {"", "_git"}
"""Segments of a path that are no part of the repository's name; Azure DevOps has `_git` by https alone."""

_RAW_HOSTS: Final = {"raw.githubusercontent.com": "github.com"}
"""Hosts of files alone, and those of their repositories, which are an owner and a name."""
_OWNER_AND_NAME: Final = 2
_FULL_REFS: Final = ("heads", "tags")


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
        if any(_is_meant(settings, reference, definition) for reference in _references(settings, environment.stack))
    )


def _references(settings: Settings, text: str) -> Iterator[StackReference]:
    """What an environment's `stack` may mean. One that is malformed means nothing, and resolves to nothing either."""
    try:
        reference = parse_stack_reference(text)
        yield reference
        if isinstance(reference, NameReference) and reference.name in settings.stacks:
            yield reference_of(settings.stacks[reference.name], key=reference.name)
    except ReferenceMalformed:
        return


def _is_meant(settings: Settings, reference: StackReference, definition: StackDefinition) -> bool:
    if isinstance(reference, NameReference | RegistryReference):
        return reference.name == definition.metadata.name
    if reference.stack not in {None, definition.metadata.name}:
        return False
    if isinstance(reference, FileReference):
        return _is_file(settings, reference, definition)
    if isinstance(reference, GitReference):
        raw = _raw_file(definition.source.uri) if definition.source.kind == "http" else None
        return _is_of(reference, raw) if raw else _is_in_repository(reference, definition.provenance)
    return _is_address(reference, definition)


def _is_file(settings: Settings, reference: FileReference, definition: StackDefinition) -> bool:
    if definition.source.kind != "local":
        return False
    file, named = os.path.realpath(definition.source.uri), os.path.realpath(settings.root / reference.path)
    return file == named or file.startswith(named.rstrip(os.sep) + os.sep)


def _is_address(reference: HttpReference, definition: StackDefinition) -> bool:
    raw = _raw_file(reference.url)
    if definition.source.kind != "http":
        return raw is not None and _is_handed_out(raw, definition.provenance)
    named, read = urlsplit(reference.url), urlsplit(definition.source.uri)
    if (named.hostname, named.path) == (read.hostname, read.path):
        return True
    other = _raw_file(definition.source.uri)
    if raw is None or other is None or not _is_repository(raw.repository, other.repository):
        return False
    return raw.ends_with(other.path) or other.ends_with(raw.path)


def _is_of(reference: GitReference, raw: _RawFile) -> bool:
    """Whether a file that a server hands out may be the one that `reference` leads to."""
    is_there = reference.path is None or raw.is_below(tuple(reference.path.split("/")))
    return is_there and _is_repository(reference.url, raw.repository)


def _is_handed_out(raw: _RawFile, provenance: Provenance | None) -> bool:
    """Whether `raw` is the file that was read from a repository."""
    if provenance is None or provenance.kind not in _GIT_KINDS or provenance.path is None:
        return False
    return raw.ends_with(tuple(provenance.path.split("/"))) and _is_repository(raw.repository, provenance.uri)


def _raw_file(url: str) -> _RawFile | None:
    """The file of a repository that a git server hands out at `url`; None for any other address."""
    address = urlsplit(url)
    host = bracketed(address.hostname or "")
    parts = unquote(address.path).strip("/").split("/")
    if host in _RAW_HOSTS:
        host, owned, rest = _RAW_HOSTS[host], parts[:_OWNER_AND_NAME], parts[_OWNER_AND_NAME:]
    elif "-" in parts and parts[parts.index("-") + 1 :][:1] == ["raw"]:
        mark = parts.index("-")
        owned, rest = parts[:mark], parts[mark + 2 :]
    elif parts[_OWNER_AND_NAME : _OWNER_AND_NAME + 1] == ["raw"]:
        owned, rest = parts[:_OWNER_AND_NAME], parts[_OWNER_AND_NAME + 1 :]
    else:
        return None
    if rest[:1] == ["refs"] and rest[1:2] and rest[1] in _FULL_REFS:
        rest = rest[2:]
    return _RawFile(f"https://{host}/{'/'.join(owned)}", tuple(rest)) if rest[1:] else None


def _is_in_repository(reference: GitReference, provenance: Provenance | None) -> bool:
    if provenance is None or provenance.kind not in _GIT_KINDS or provenance.path is None:
        return False
    is_there = reference.path is None or f"{provenance.path}/".startswith(f"{reference.path}/")
    return is_there and _is_repository(reference.url, provenance.uri)


def _is_repository(one: str, other: str) -> bool:
    named, read = urlsplit(one), urlsplit(other)
    if "file" in {named.scheme, read.scheme}:
        return named.scheme == read.scheme and _folder(named.path) == _folder(read.path)
    if _host(named) != _host(read):
        return False
    shorter, longer = sorted((_path(named), _path(read)), key=len)
    if shorter == longer:
        return True
    is_by_ssh = [address.scheme == "ssh" for address in (named, read)]
    return len(set(is_by_ssh)) > 1 and longer[-len(shorter) :] == shorter


def _folder(path: str) -> str:
    """The folder of a repository of this machine; its links are followed."""
    return os.path.realpath(unquote(path)).removesuffix(".git").rstrip("/")


def _host(address: SplitResult) -> str | None:
    return _OTHER_NAMES.get(address.hostname or "", address.hostname)


def _path(address: SplitResult) -> list[str]:
    """The segments of a path on a host, but for what its transport alone has."""
    path = unquote(address.path).strip("/").casefold().removesuffix(".git")
    return [part for part in path.split("/") if part not in _OF_TRANSPORTS]
