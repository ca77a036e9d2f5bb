"""One name for a git repository, however its address is spelled.

    https://git.example:8443/scm/Org/Stacks.git    host git.example, path scm/org/stacks
    ssh://git@git.example/~git/org/stacks          host git.example, path ~git/org/stacks
    ssh://git@ssh.dev.azure.com/v3/org/p/stacks    host dev.azure.com, path v3/org/p/stacks
    file:///srv/stacks.git                         the folder /srv/stacks, links followed

No server is asked, and no repository is read; on this machine links are followed.
"""

from __future__ import annotations

import os
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from flowyml_policy.references.url import is_loopback

GIT_KINDS: Final = frozenset({"git", "github", "gitlab"})
"""The kinds of source that are a repository."""

RAW_HOST: Final = "raw.githubusercontent.com"
_ALIASES: Final = {
    "ssh.github.com": "github.com",
    "www.github.com": "github.com",
    RAW_HOST: "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
    "ssh.dev.azure.com": "dev.azure.com",
}
_LARGE_HOSTS: Final = frozenset(_ALIASES.values())
_NO_NAMES: Final = {"", "-", "_git", "~"}
"""Segments that only one transport has: Azure DevOps writes `_git` by https, ssh `~` for a user's home."""


def host_of(address: SplitResult) -> str:
    """The host without its port, by one name: this machine has several, and so have large hosts."""
    host = (address.hostname or "").removesuffix(".")
    return "localhost" if is_loopback(host) else _ALIASES.get(host, host)


def path_of(path: str) -> list[str]:
    """The segments of a repository's path on its host, in small letters and without `.git`."""
    parts = (part.removesuffix(".git") for part in unquote(path).casefold().split("/"))
    return [part for part in parts if part not in _NO_NAMES]


def folder_of(path: str) -> str:
    """The folder of a repository of this machine. Raises ValueError for text that can be no path."""
    return os.path.realpath(unquote(path)).removesuffix(".git").rstrip("/")


def is_repository(one: str, other: str) -> bool:
    """Whether two addresses lead to one repository, whole paths compared; False for what is no address.

    A path by ssh often begins higher (`/srv/git/org/repo`), so that it is enough there if one ends as the other.
    """
    try:
        named, read = urlsplit(one), urlsplit(other)
        if "file" in {named.scheme, read.scheme}:
            return named.scheme == read.scheme and folder_of(named.path) == folder_of(read.path)
    except ValueError:
        return False
    host, by_ssh = host_of(named), {named.scheme == "ssh", read.scheme == "ssh"}
    if not host or host != host_of(read):
        return False
    paths = path_of(named.path), path_of(read.path)
    if not all(any(part.startswith("~") for part in path) for path in paths):
        # Where both name a home it stays: on some servers that is the owner of a repository.
        paths = _without_home(paths[0]), _without_home(paths[1])
    if by_ssh == {False} or (by_ssh == {True} and host in _LARGE_HOSTS):
        return paths[0] == paths[1]
    return paths[0] == paths[1] or is_end(*paths)


def is_end(one: list[str], other: list[str]) -> bool:
    """Whether one path ends as the other, which says something."""
    shorter, longer = sorted((one, other), key=len)
    return bool(shorter) and longer[-len(shorter) :] == shorter


def _without_home(path: list[str]) -> list[str]:
    return path[1:] if path[1:] and path[0].startswith("~") else path
