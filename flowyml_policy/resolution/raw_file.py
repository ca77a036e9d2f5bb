"""The file of a git repository that its server hands out by https, told by the address alone.

`raw.githubusercontent.com/org/repo/v1/stacks/prod.yaml`, and `/raw/`, `/-/raw/` or `/blob/` below a repository, is that
file of the repository. Its ref may hold slashes, so where the ref ends and the path begins is told by the path that it
is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from flowyml_policy.settings.scalars import bracketed

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
