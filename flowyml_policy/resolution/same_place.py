"""Which environments run on a definition, by whatever name or address their settings call it.

Another way to name a stack must not take it out of an environment. So a definition belongs to an environment whose
`stack` is its name, or leads to the place that it was read from: a key of `stacks:`, or an address. At which revision
or version does not matter, nor what is asked of an http address; GitHub and GitLab do not tell small letters from
capitals, and a repository of this machine is the folder that its links lead to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote, urlsplit

from flowyml_policy.definitions import StackDefinition
from flowyml_policy.errors import ReferenceMalformed, SourceError
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.resolution.git_address import checked_address
from flowyml_policy.resolution.references import (
    DEFAULT_HOSTS,
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

_FILE: Final = "file://"
_HOSTED: Final = {"github", "gitlab"}


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
    from flowyml_policy.resolution.http import display_url  # noqa: PLC0415  only for what is kept there

    named, read = (url.partition("?")[0] for url in (reference.url, definition.source.uri))
    return display_url(named) == display_url(read)


def _is_in_repository(reference: GitReference, provenance: Provenance | None) -> bool:
    if provenance is None or provenance.kind not in {"git", "github", "gitlab"} or provenance.path is None:
        return False
    is_there = reference.path is None or f"{provenance.path}/".startswith(f"{reference.path}/")
    return is_there and _is_repository(reference, provenance)


def _is_repository(reference: GitReference, provenance: Provenance) -> bool:
    try:
        named, read = _bare(checked_address(reference.url, frozenset())), _bare(provenance.uri)
    except SourceError:
        return False
    hosted = {reference.kind, provenance.kind} & _HOSTED
    return named == read or bool(hosted and named.lower() == read.lower() and not named.startswith(_FILE))


def _bare(uri: str) -> str:
    """One text for all addresses of a repository; links of this machine are followed."""
    if uri.startswith(_FILE):
        uri = _FILE + os.path.realpath(unquote(uri.removeprefix(_FILE)))
    bare = uri.rstrip("/").removesuffix(".git").rstrip("/")
    return bare.lower() if urlsplit(bare).hostname in DEFAULT_HOSTS.values() else bare
