"""Whether two addresses lead to one git repository, however each of them is spelled.

A repository on a network is its host and its path there, whoever asks for it, by whatever transport and port, in small
letters or capitals, with `.git` or without. By ssh the path begins where the server's folders do (`/srv/git/org/repo`)
or at somebody's home (`~/org/repo`), and by https often below a prefix (`/scm/org/repo`), so it is enough that one path
ends as the other. Of the large hosts it is known that by one transport a path is written in one way.
A repository of this machine is the folder that its links lead to.

Rules:
- In doubt the answer is yes: no spelling takes a stack out of an environment, or a moved tag out of sight.
- No server is asked, and no repository is read; on this machine links are followed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from flowyml_policy.references.url import bracketed, is_loopback

GIT_KINDS: Final = frozenset({"git", "github", "gitlab"})
"""The kinds of source that are a repository."""

_OTHER_NAMES: Final = {
    "ssh.github.com": "github.com",
    "www.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
    "ssh.dev.azure.com": "dev.azure.com",
}
"""What large hosts are called besides, for the sake of a transport."""
_KNOWN_HOSTS: Final = frozenset(_OTHER_NAMES.values())
_OF_TRANSPORTS: Final = {"", "_git", "~"}
"""Segments of a path that are no part of the repository's name; Azure DevOps has `_git` by https alone.

`~` is the home of whoever asks by ssh.
"""


def is_repository(one: str, other: str, *, below_prefixes: bool = True) -> bool:
    """Whether two addresses may lead to one repository. False for what is no address.

    Without `below_prefixes` two https addresses of one repository have one path: a server that has both has two.
    """
    try:
        named, read = urlsplit(one), urlsplit(other)
    except ValueError:
        return False
    if "file" in {named.scheme, read.scheme}:
        return named.scheme == read.scheme and folder_of(named.path) == folder_of(read.path)
    if not host_of(named) or host_of(named) != host_of(read):
        return False
    paths = _without_homes(_path(named), _path(read))
    if paths[0] == paths[1]:
        return True
    by_ssh = {named.scheme == "ssh", read.scheme == "ssh"}
    is_one_path = (len(by_ssh) == 1 and host_of(named) in _KNOWN_HOSTS) or (by_ssh == {False} and not below_prefixes)
    return not is_one_path and is_end(*paths)


def folder_of(path: str) -> str:
    """The folder of a repository of this machine; its links are followed."""
    folder = unquote(path)
    return folder if "\0" in folder else os.path.realpath(folder).removesuffix(".git").rstrip("/")


def host_of(address: SplitResult) -> str:
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


def is_end(one: list[str], other: list[str]) -> bool:
    """Whether one path ends as the other."""
    shorter, longer = sorted((one, other), key=len)
    return bool(shorter) and longer[-len(shorter) :] == shorter


_RAW_HOSTS: Final = {"raw.githubusercontent.com": "github.com"}
"""Hosts of files alone, and those of their repositories, which are an owner and a name."""
_OWNER_AND_NAME: Final = 2
_HANDED_OUT: Final = {"raw", "blob"}
"""What stands between a repository and the ref of its file; a file at `blob` is handed out where `raw` is asked for."""
_FULL_REFS: Final = ("heads", "tags")


class RawFile(NamedTuple):
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
        return is_within(path, self.path)


def is_within(part: Sequence[str], path: Sequence[str]) -> bool:
    """Whether the segments of `part` stand one after the other somewhere in `path`; both are of one type."""
    return any(path[start : start + len(part)] == part for start in range(len(path)))


def raw_file(url: str) -> RawFile | None:
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
    return RawFile(f"https://{host}/{'/'.join(owned)}", tuple(rest)) if rest[1:] else None
