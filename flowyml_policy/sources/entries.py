"""References to what the entries of `stacks:` keep."""

from __future__ import annotations

from flowyml_policy.errors.references import ReferenceMalformed
from flowyml_policy.references.stack_values import (
    DEFAULT_HOSTS,
    FileReference,
    GitReference,
    HttpReference,
    RegistryReference,
    StackReference,
)
from flowyml_policy.settings.stack_entries import (
    GitEntry,
    GitHubEntry,
    GitLabEntry,
    HttpEntry,
    LocalEntry,
    StackEntry,
)


def reference_of(source: StackEntry, *, key: str | None = None) -> StackReference:
    """The reference to what an entry of `stacks:` keeps; `key` is the name it has there.

    Under `key` the stack is searched where the entry says neither a path in a repository nor a name in the
    registry. The pin, the token and the certificates of an http entry are no part of a reference.
    Raises ReferenceMalformed for what settings take and a reference cannot hold.
    """
    if isinstance(source, LocalEntry):
        return FileReference(source.path)
    if isinstance(source, HttpEntry):
        return HttpReference(source.url)
    if isinstance(source, GitHubEntry | GitLabEntry | GitEntry):
        stack = key if source.path is None else None
        return GitReference(source.source, _repository_url(source), source.ref, source.path, stack)
    name = source.name or key
    if name is None:
        raise ReferenceMalformed("the registry's entry has no name", advice="write `name:` into the entry")
    return RegistryReference(name, source.version)


def _repository_url(source: GitHubEntry | GitLabEntry | GitEntry) -> str:
    if "://" in source.repo:
        return source.repo
    return f"https://{source.host or DEFAULT_HOSTS[source.source]}/{source.repo}"
