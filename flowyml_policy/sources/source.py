"""The seam behind which every source of definitions stands.

Rules:
- A source resolves once, to one `Revision`: everything read from it afterwards belongs to that revision.
- Every read is bounded: in time, in the size of a file, in the number of files that are listed.
- A path is a file's place inside its source, with forward slashes; one that could lead out of it is refused
  before a source sees it.
- Only leaves of SourceError come out, the cause chained; none of them holds a credential.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias, final

from flowyml_policy.documents.canonical import digest
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.errors.sources import (
    SourceError,
    SourceRefused,
    SourceTooLarge,
    SourceUnreachable,
    SourceUnreadable,
)
from flowyml_policy.mask.quoted import shown
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.offline import is_offline
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.records.record import SourceKind
from flowyml_policy.references.arguments import FILE_ENDINGS
from flowyml_policy.system.files import display_name

Layout: TypeAlias = Literal["repository", "folder", "file"]
"""Where definitions lie in a source: in a repository's known places, anywhere in a folder, or it is one file."""

_NO_BYTE: Final = "[\ud800-\udc7f\udd00-\udfff]"
"""Surrogates that stand for no byte of a file's name, as those from U+DC80 to U+DCFF do."""
_MAX_PATH: Final = 1000
SETTINGS_FILE: Final = "flowyml.yaml"


@dataclass(frozen=True)
class SourceLimits:
    """How much of a source is taken.

    Seconds for one call, bytes of a file and of all files of one call, files of one listing (of a folder on this
    machine: `local_files`), and bytes of one repository's copy on this machine.
    """

    timeout: float = 30.0
    file_size: int = 1 << 20
    total_size: int = 16 << 20
    files: int = 500
    local_files: int = 10_000
    repository_size: int = 512 << 20


@dataclass(frozen=True)
class FetchRules:
    """What every fetch keeps to: its limits, and what may be asked for.

    `plain_http` names hosts (`host` or `host:port`) that http may be used to. `offline` asks no server: only what
    is pinned and was fetched before is there then.
    """

    limits: SourceLimits = SourceLimits()
    plain_http: frozenset[str] = frozenset()
    offline: bool = False

    def allowing_plain_http(self, hosts: Collection[str]) -> FetchRules:
        """These rules, with http to `hosts` besides."""
        return replace(self, plain_http=self.plain_http.union(hosts)) if hosts else self

    def as_asked(self, environ: Mapping[str, str]) -> FetchRules:
        """These rules, offline where the environment asks for that. Raises UsageError."""
        return replace(self, offline=True) if is_offline(environ) else self


class FetchDeadline(Deadline):
    """The end of one fetch's time. `what` names in messages what takes so long."""

    def __init__(self, seconds: float, what: str) -> None:
        super().__init__(seconds)
        self.what = what

    def remaining(self) -> float:
        """Seconds that are left, more than none. Raises what `passed` makes."""
        left = self.left
        if not left:
            raise self.passed()
        return left

    def passed(self) -> SourceError:
        """The error for a time that is over."""
        return SourceUnreachable(f"no complete answer within {self.seconds:g} s: {self.what}")


class Revision(ABC):
    """One exact state of a source. Subclasses write the private hooks, which may raise whatever they meet.

    `layout` says where definitions lie in it; `only_file` is the path of the one file that a "file" holds.
    """

    layout: Layout = "repository"
    only_file: str | None = None

    def __init__(self, limits: SourceLimits) -> None:
        self.limits = limits

    @final
    def read(self, path: str) -> bytes:
        """The bytes of the file at `path`. Raises only SourceError."""
        return self.read_many([path])[path]

    @final
    def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        """The bytes of every file of `paths`, in their order, at the cost of one read. Raises only SourceError."""
        wanted = list(dict.fromkeys(paths))
        for path in wanted:
            check_path(path)
        if not wanted:
            return {}
        self._check_count(len(wanted), "asked for")
        with only_source_errors(self.file_name(wanted[0])):
            found = self._read_many(wanted)
        for path, data in found.items():
            if len(data) > self.limits.file_size:
                raise too_large(self.file_name(path), self.limits.file_size)
        return found

    @final
    def list_paths(self, folder: str = "", *, recursive: bool = True) -> list[str]:
        """The definition files in `folder` (the root if empty), sorted; none where there is no such folder.

        `*.yaml` and `*.yml` except hidden ones and flowyml.yaml; links and other repositories are left out.
        Raises only SourceError: SourceTooLarge for more files than `limits.files`, SourceRefused for a name that hides
        something.
        """
        folder = folder.rstrip("/")
        if folder:
            check_path(folder)
        with only_source_errors(self.file_name(folder)):
            found = sorted(path for path in self._list_paths(folder, recursive=recursive) if _is_definition(path))
        self._check_count(len(found), f"in {folder or 'its root'}")
        for path in found:
            check_path(path)
        return found

    @final
    def holds(self, path: str) -> Literal["file", "folder"] | None:
        """What stands at `path`; None for nothing. Raises only SourceError: SourceRefused for a link."""
        check_path(path)
        with only_source_errors(self.file_name(path)):
            return self._holds(path)

    @abstractmethod
    def provenance(self, path: str, data: bytes) -> Provenance:
        """Where `data`, read at `path`, came from."""

    def file_name(self, path: str) -> str:
        """How people are told of the file at `path`, in findings and messages."""
        return path

    @abstractmethod
    def _read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        """The files at `paths`, which are safe to use; may stop at one byte over `limits.file_size`."""

    @abstractmethod
    def _list_paths(self, folder: str, *, recursive: bool) -> list[str]:
        """Regular files in `folder`, at least all that end as definitions do."""

    @abstractmethod
    def _holds(self, path: str) -> Literal["file", "folder"] | None:
        """What stands at `path`."""

    def _check_count(self, number: int, where: str) -> None:
        if number > self.most_files:
            raise SourceTooLarge(
                f"{number} definition files {where}, more than {self.most_files}", advice="name the path of the file"
            )

    @property
    def most_files(self) -> int:
        """How many files are listed, or read at once."""
        return self.limits.files


class DefinitionSource(ABC):
    """A place that definitions are kept in. `uri` is its address without credentials.

    Safe from many threads. A source asks its server at most once which revision is meant: keep it for as long as
    that answer shall hold, make another to ask anew.
    """

    kind: SourceKind
    uri: str

    def __init__(self, rules: FetchRules | None = None) -> None:
        self.rules = rules or FetchRules()
        self.limits = self.rules.limits

    @final
    def fetch(self) -> Revision:
        """The revision that is meant, the same one at every call. Raises only SourceError."""
        with only_source_errors(self.uri):
            return self._fetch()

    @abstractmethod
    def _fetch(self) -> Revision:
        """The revision; may raise whatever it meets."""


def check_path(path: str) -> None:
    """Raise SourceRefused for what is no plain relative path: `..`, an absolute path, a control character."""
    parts = path.split("/")
    if not path or "." in parts or ".." in parts or "" in parts or "\\" in path:
        raise SourceRefused(f"not a path inside a source: {shown(path)}", advice="write a path from the source's root")
    if len(path) > _MAX_PATH or not display_name(path).isprintable() or re.search(_NO_BYTE, path):
        raise SourceRefused(
            f"a path is too long or holds a character that does not show: {shown(display_name(path))}",
            advice="rename the file",
        )


def too_large(what: str, size: int) -> SourceTooLarge:
    """The error for a file of more than `size` bytes."""
    return SourceTooLarge(f"larger than {size:,} bytes: {what}", advice="name a file that holds stack definitions")


def provenance_of(data: bytes, path: str | None, *, kind: SourceKind, uri: str, pinned: bool) -> Provenance:
    """The provenance of bytes that were not fetched from a server."""
    shown_path = None if path is None else display_name(path)
    return Provenance(kind=kind, uri=uri, path=shown_path, digest=digest(data), pinned=pinned)


@contextmanager
def only_source_errors(where: str) -> Iterator[None]:
    """Turns whatever a hook raises inside into a leaf of SourceError, the cause chained."""
    try:
        yield
    except SourceError:
        raise
    except FlowymlPolicyError as error:
        raise SourceUnreadable(error.message, advice=error.advice) from error
    except OSError as error:
        raise SourceUnreadable(f"cannot be read: {where}: {error.strerror or type(error).__name__}") from error
    except Exception as error:
        raise SourceUnreadable(f"cannot be read: {where}: {type(error).__name__}") from error


def _is_definition(path: str) -> bool:
    parts = path.split("/")
    return (
        path.lower().endswith(FILE_ENDINGS)
        and parts[-1] != SETTINGS_FILE
        and not any(part.startswith(".") for part in parts)
    )
