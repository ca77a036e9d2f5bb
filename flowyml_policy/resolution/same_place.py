"""Which environments run on a definition, by whatever name or address their settings call it.

Another way to name a stack must not take it out of an environment. So a definition belongs to an environment whose
`stack` is its name, or leads to the place that it was read from: a key of `stacks:`, or an address. At which revision
or version does not matter, nor what is asked of an http address; a repository of this machine is the folder that its
links lead to.

A repository on a network is its host and its path there, whoever asks for it, by whatever transport and port, in small
letters or capitals, with `.git` or without. By ssh the path begins where the server's folders do (`/srv/git/org/repo`)
and by https often below a prefix (`/scm/org/repo`), so between the two it is enough that one path ends as the other.
Where that takes two repositories for one, the definition belongs to an environment more, and is judged more strictly.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final
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

_OTHER_NAMES: Final = {
    "ssh.github.com": "github.com",
    "www.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
    "ssh.dev.azure.com": "dev.azure.com",
}
"""What large hosts are called besides, for the sake of a transport."""
_OF_TRANSPORTS: Final = {"", "_git"}
"""Segments of a path that are no part of the repository's name; Azure DevOps has `_git` by https alone."""


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
        return _is_in_repository(reference, definition.provenance)
    return _is_address(reference, definition)


def _is_file(settings: Settings, reference: FileReference, definition: StackDefinition) -> bool:
    if definition.source.kind != "local":
        return False
    file, named = os.path.realpath(definition.source.uri), os.path.realpath(settings.root / reference.path)
    return file == named or file.startswith(named.rstrip(os.sep) + os.sep)


def _is_address(reference: HttpReference, definition: StackDefinition) -> bool:
    if definition.source.kind != "http":
        return False
    named, read = urlsplit(reference.url), urlsplit(definition.source.uri)
    return (named.hostname, named.path) == (read.hostname, read.path)


def _is_in_repository(reference: GitReference, provenance: Provenance | None) -> bool:
    if provenance is None or provenance.kind not in {"git", "github", "gitlab"} or provenance.path is None:
        return False
    is_there = reference.path is None or f"{provenance.path}/".startswith(f"{reference.path}/")
    return is_there and _is_repository(reference, provenance)


def _is_repository(reference: GitReference, provenance: Provenance) -> bool:
    named, read = urlsplit(reference.url), urlsplit(provenance.uri)
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
