"""One repository's bare, shallow copy in the cache: filled from its server, read by commit, never a work tree.

Rules:
- Every process that uses a copy holds its lock, so that none sees a fetch, or a removal, in between.
- Only single commits are fetched, without history; what is read was named by a commit id, never by a ref.
- A copy that git cannot read is thrown away and fetched anew.
- Links, and other repositories inside this one, are told from files by their mode and never followed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from flowyml_policy.errors.sources import SourceRefMissing, SourceTooLarge, SourceUnreachable, SourceUnreadable
from flowyml_policy.mask.quoted import shown
from flowyml_policy.records.instant import utc_now
from flowyml_policy.references.git import TRANSPORTS, is_commit
from flowyml_policy.sources.git.command import GitFailed, run_git
from flowyml_policy.sources.git.failures import explained, reason_of
from flowyml_policy.sources.source import FetchDeadline, SourceLimits, too_large
from flowyml_policy.storage.cache import ContentCache

FILE_MODES: Final = ("100644", "100755", "100664")
FOLDER_MODE: Final = "040000"
LINK_MODE: Final = "120000"

_KEPT_REPOSITORIES: Final = 64
_REMOTE: Final = "origin"
_HALF_MADE: Final = 3600.0
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class TreeEntry:
    """One entry of a commit's tree: what it is (git's file mode), its object's id, and its path from the root."""

    mode: str
    oid: str
    path: str


class GitRepository:
    """The copy of the repository at `url`, which is checked; `uri` is what people are told."""

    def __init__(self, url: str, uri: str, cache: ContentCache, limits: SourceLimits) -> None:
        self.identity = hashlib.sha256(url.encode()).hexdigest()[:40]
        self._url = url
        self._uri = uri
        self._cache = cache
        self._limits = limits
        self._transports = TRANSPORTS[urlsplit(url).scheme]

    def resolve(self, ref: str | None, deadline: FetchDeadline) -> tuple[str, str]:
        """The commit that the server has now for a branch or tag (None: its default branch), and its full name."""
        if ref is None:
            wanted = ["HEAD"]
        elif ref.startswith("refs/"):
            wanted = [ref]
        else:
            wanted = [f"refs/tags/{ref}", f"refs/heads/{ref}"]
        patterns = [name + peeled for name in wanted for peeled in ("", "^{}")]
        with self._held(deadline) as copy:
            output = self._ask(copy, ["ls-remote", "--quiet", _REMOTE, *patterns], deadline)
        heads: dict[str, str] = {}
        for line in output.decode(errors="replace").splitlines():
            oid, _, name = line.partition("\t")
            heads[name] = oid
        found = {name: heads.get(f"{name}^{{}}", heads[name]) for name in wanted if name in heads}
        if not found:
            called = "default branch" if ref is None else f"branch or tag {shown(ref)}"
            raise SourceRefMissing(f"the repository has no {called}: {self._uri}")
        if len(set(found.values())) > 1:
            raise SourceRefMissing(
                f"the repository has both a tag and a branch {ref}, of different commits: {self._uri}",
                advice=f"write refs/tags/{ref} or refs/heads/{ref}",
            )
        name, commit = next(iter(found.items()))
        if not is_commit(commit):
            raise SourceUnreadable(
                f"the repository does not name its commits by SHA-1: {self._uri}",
                advice="keep definitions in a repository of git's default object format",
            )
        return commit, name

    def read(
        self,
        commit: str,
        name: str | None,
        work: Callable[[GitTree], _Answer],
        deadline: FetchDeadline,
        *,
        offline: bool,
    ) -> _Answer:
        """What `work` makes of the tree of `commit`, which is fetched if it is not there and `offline` is not set.

        `name` is the ref by which a server is asked that gives no commits by their id.
        """
        with self._held(deadline) as copy:
            tree = GitTree(copy, commit, self._uri, self._limits, deadline)
            if tree.is_there():
                with suppress(_Damaged):
                    return work(tree)
                _remove(copy)
            if offline:
                raise SourceUnreachable(
                    f"commit {commit} of the repository is not on this machine, and nothing is fetched offline: "
                    f"{self._uri}",
                    advice="fetch it once while there is a network",
                )
            self._fetch(copy, tree, name, deadline)
            try:
                return work(tree)
            except _Damaged as error:
                raise SourceUnreadable(f"git cannot read what it fetched: {self._uri}: {error}") from error

    def _fetch(self, copy: Path, tree: GitTree, name: str | None, deadline: FetchDeadline) -> None:
        """Make the tree's commit part of the copy; one that is damaged, or has grown too large, is started anew."""
        if _size(copy) > self._limits.repository_size or not _is_sound(copy, deadline):
            _remove(copy)
            _create(copy, deadline, self._uri)
        commit = tree.commit
        try:
            self._fetch_into(copy, [f"+{commit}:refs/kept/{commit}"], deadline)
        except SourceRefMissing as error:
            # A server before protocol 2 gives only what a ref names: ask for the ref, or for all of them.
            if "unadvertised" not in error.message:
                raise
            if name is not None:
                self._fetch_into(copy, [f"+{name}:refs/kept/{commit}"], deadline)
            else:
                every = [f"+refs/{kind}/*:refs/kept/{commit}/{kind}/*" for kind in ("heads", "tags")]
                self._fetch_into(copy, every, deadline, history=True)
            if not tree.is_there():
                raise
        if not tree.is_there():
            raise SourceRefMissing(f"{commit} is no commit of the repository: {self._uri}")
        self._cache.put("git-fetched", self.identity, commit, data=b"", notes={"fetched_at": utc_now()})

    def _fetch_into(
        self, copy: Path, refspecs: Sequence[str], deadline: FetchDeadline, *, history: bool = False
    ) -> None:
        arguments = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force"]
        arguments += [f"--filter=blob:limit={self._limits.file_size + 1}"]
        arguments += [] if history else ["--depth=1"]
        self._ask(copy, [*arguments, _REMOTE, *refspecs], deadline)

    def _ask(self, copy: Path, arguments: Sequence[str], deadline: FetchDeadline) -> bytes:
        """What git says of the server. Its address is given for this command alone, and kept in no file."""
        try:
            return run_git(
                ["-c", f"remote.{_REMOTE}.url={self._url}", *arguments],
                repository=copy,
                deadline=deadline,
                transports=self._transports,
                largest_file=self._limits.repository_size,
            )
        except GitFailed as failure:
            if failure.too_much:
                raise SourceTooLarge(f"the repository has too many refs of that name: {self._uri}") from failure
            raise explained(failure, self._uri) from failure

    @contextmanager
    def _held(self, deadline: FetchDeadline) -> Iterator[Path]:
        """The copy's folder, locked against every other process and thread; made if it is missing."""
        folder = self._cache.private_folder("git")
        copy = folder / f"{self.identity}.git"
        try:
            lock = FileLock(folder / f"{self.identity}.lock", timeout=deadline.remaining(), mode=0o600)
            with lock:
                if not (copy / "HEAD").is_file():
                    _remove(copy)
                    _create(copy, deadline, self._uri)
                    _remove_oldest(folder)
                os.utime(copy)
                yield copy
        except Timeout as error:
            raise SourceUnreachable(
                f"another process has been fetching the repository for {deadline.seconds:g} s: {self._uri}"
            ) from error


class GitTree:
    """What one commit of a copy holds, while the copy is locked."""

    def __init__(self, copy: Path, commit: str, uri: str, limits: SourceLimits, deadline: FetchDeadline) -> None:
        self.commit = commit
        self._copy = copy
        self._uri = uri
        self._limits = limits
        self._deadline = deadline

    def is_there(self) -> bool:
        """Whether the copy has the commit."""
        try:
            return self._git(["cat-file", "-t", self.commit]) == b"commit\n"
        except GitFailed:
            return False

    def entries(self, paths: Sequence[str] = (), *, below: bool = False) -> list[TreeEntry]:
        """The entries at `paths`, those in `paths` that end with a slash, or, if `below`, all files below `paths`.

        No paths stand for the root.
        """
        arguments = ["ls-tree", "-z", "--full-tree", *(["-r"] if below else []), self.commit, "--", *paths]
        output = self._local(arguments, f"the list of files {', '.join(paths[:1])}".rstrip())
        found: list[TreeEntry] = []
        for line in output.split(b"\0")[:-1]:
            facts, _, path = line.partition(b"\t")
            mode, _, oid = facts.decode("ascii").split(" ")
            found.append(TreeEntry(mode, oid, os.fsdecode(path)))
        return found

    def contents(self, entries: Sequence[TreeEntry]) -> dict[str, bytes]:
        """The bytes of files, by path. Raises SourceTooLarge, for files that were too large to fetch too."""
        request = "".join(f"{entry.oid}\n" for entry in entries).encode()
        most = min(self._limits.total_size, self._limits.file_size * len(entries)) + 64 * len(entries)
        what = entries[0].path if len(entries) == 1 else f"{len(entries)} files"
        output = self._local(["cat-file", "--batch"], what, stdin=request, most=most)
        found: dict[str, bytes] = {}
        at = 0
        for entry in entries:
            end = output.index(b"\n", at)
            oid, *facts = output[at:end].decode("ascii").split(" ")
            if oid != entry.oid or facts[:1] != ["blob"]:
                # Left out by the filter of the fetch, as newer versions of git say it.
                raise too_large(entry.path, self._limits.file_size)
            size = int(facts[1])
            if size > self._limits.file_size:
                raise too_large(entry.path, self._limits.file_size)
            found[entry.path] = output[end + 1 : end + 1 + size]
            at = end + 1 + size + 1
        return found

    def _local(self, arguments: Sequence[str], what: str, *, stdin: bytes = b"", most: int = 4 << 20) -> bytes:
        try:
            return self._git(arguments, stdin=stdin, most=most)
        except GitFailed as failure:
            if failure.too_much:
                raise SourceTooLarge(f"more than is read: {what} at commit {self.commit}: {self._uri}") from failure
            if "promisor remote" in failure.text:
                # Only the filter of the fetch leaves something out: files that are larger than any that is read.
                raise too_large(what, self._limits.file_size) from failure
            raise _Damaged(reason_of(failure.text)) from failure

    def _git(self, arguments: Sequence[str], *, stdin: bytes = b"", most: int = 4 << 20) -> bytes:
        return run_git(arguments, repository=self._copy, deadline=self._deadline, stdin=stdin, most=most)


class _Damaged(Exception):
    """Git cannot read its own copy."""


def _create(copy: Path, deadline: FetchDeadline, uri: str) -> None:
    """An empty bare repository, there whole or not at all."""
    made = Path(tempfile.mkdtemp(prefix=".new-", dir=copy.parent))
    try:
        run_git(
            ["init", "--quiet", "--bare", "--template=", "--object-format=sha1"], repository=made, deadline=deadline
        )
        made.rename(copy)
    except GitFailed as failure:
        reason = reason_of(failure.text)
        raise SourceUnreadable(f"git cannot keep a copy of {uri} in {copy.parent}: {reason}") from failure
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _is_sound(copy: Path, deadline: FetchDeadline) -> bool:
    """Whether git can read what every ref of the copy names."""
    try:
        run_git(["for-each-ref", "--format=%(objecttype)"], repository=copy, deadline=deadline)
    except GitFailed:
        return False
    return True


def _remove(copy: Path) -> None:
    shutil.rmtree(copy, ignore_errors=True)


def _size(copy: Path) -> int:
    total = 0
    for folder, _, names in os.walk(copy):
        for name in names:
            with suppress(OSError):
                total += (Path(folder) / name).stat().st_size
    return total


def _remove_oldest(folder: Path) -> None:
    """Keep the copies that were used last, and none that was left half made; one in use is let be."""
    used: list[tuple[float, Path]] = []
    for found in folder.iterdir():
        with suppress(OSError):
            used.append((found.stat().st_mtime, found))
    for at, half in used:
        if half.name.startswith(".new-") and time.time() - at > _HALF_MADE:
            _remove(half)
    copies = sorted((at, copy) for at, copy in used if copy.suffix == ".git")
    for _, copy in copies[: max(0, len(copies) - _KEPT_REPOSITORIES)]:
        with suppress(Timeout, OSError), FileLock(copy.with_suffix(".lock"), timeout=0, mode=0o600):
            _remove(copy)
