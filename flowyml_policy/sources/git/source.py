"""Definitions in git repositories: on GitHub, GitLab, or any host that the user's git can reach.

A branch or tag is asked for anew by every source that is made, and stands for the commit that the server named
then; a full commit id is never asked for. What was read of a commit is kept by content, and read from there without
git, without a network and without a lock.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

from flowyml_policy.documents.canonical import digest
from flowyml_policy.errors.sources import SourceChanged, SourceMissing, SourceRefused, SourceUnreachable
from flowyml_policy.records.instant import utc_now
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.references.arguments import FILE_ENDINGS
from flowyml_policy.references.git import is_commit
from flowyml_policy.sources.git.address import checked_address, checked_ref
from flowyml_policy.sources.git.repository import FILE_MODES, FOLDER_MODE, LINK_MODE, GitRepository, GitTree, TreeEntry
from flowyml_policy.sources.source import DefinitionSource, FetchDeadline, FetchRules, Revision
from flowyml_policy.storage.cache import ContentCache

_Answer = TypeVar("_Answer")


class GitSource(DefinitionSource):
    """The repository at `url` (https, ssh, file) at `ref`: branch, tag, full name of a ref, or full commit id.

    Without `ref` its default branch is meant. `commit` is what `ref` was pinned to: anything else is SourceChanged.
    Offline a branch or tag is SourceUnreachable, unless `rules` allow the commit that it last was. Raises
    SourceRefused and SourceRefMissing for an address or ref that is not safe to use.
    """

    kind: Literal["git", "github", "gitlab"]

    def __init__(
        self,
        url: str,
        ref: str | None = None,
        *,
        cache: ContentCache,
        kind: Literal["git", "github", "gitlab"] = "git",
        commit: str | None = None,
        rules: FetchRules | None = None,
    ) -> None:
        super().__init__(rules)
        self.uri = checked_address(url, self.rules.plain_http)
        self.ref = checked_ref(ref)
        self.kind = kind
        self._expected = commit
        self._cache = cache
        self._repository = GitRepository(url, self.uri, cache, self.limits)
        self._lock = threading.Lock()
        self._revision: GitRevision | None = None

    def _fetch(self) -> GitRevision:
        with self._lock:
            if self._revision is None:
                commit, name, confirmed = self._resolved()
                if self._expected not in {None, commit}:
                    raise SourceChanged(
                        f"{self.ref or 'the default branch'} was pinned to {self._expected} and is {commit} now: "
                        f"{self.uri}"
                    )
                self._revision = GitRevision(self, self._repository, self._cache, commit, name, confirmed)
            return self._revision

    def _resolved(self) -> tuple[str, str | None, str | None]:
        """The commit, the full name of its ref, and when the server last said so; the latter two only of a ref."""
        if self.ref is not None and is_commit(self.ref):
            return self.ref, None, None
        if self.rules.offline:
            raise SourceUnreachable(
                f"{self.ref or 'the default branch'} of the repository is asked for at its server, and nothing is "
                f"fetched offline: {self.uri}",
                advice="name a full commit id that was fetched before, or go online",
            )
        commit, name = self._repository.resolve(self.ref, FetchDeadline(self.limits.timeout, self.uri))
        return commit, name, utc_now()


class GitRevision(Revision):
    """One commit of a repository, and the full name of the ref that led to it. Made by GitSource."""

    def __init__(
        self,
        source: GitSource,
        repository: GitRepository,
        cache: ContentCache,
        commit: str,
        full_ref: str | None,
        confirmed: str | None,
    ) -> None:
        super().__init__(source.limits)
        self.commit = commit
        self.full_ref = full_ref
        self._source = source
        self._repository = repository
        self._cache = cache
        self._confirmed = confirmed

    @property
    def uri(self) -> str:
        """The repository, without credentials."""
        return self._source.uri

    @property
    def is_tag(self) -> bool:
        """Whether a tag was asked for, which is not meant to move, as a branch is."""
        return self.full_ref is not None and self.full_ref.startswith("refs/tags/")

    def provenance(self, path: str, data: bytes) -> Provenance:
        return Provenance(
            kind=self._source.kind,
            uri=self._source.uri,
            ref=self._source.ref,
            full_ref=self.full_ref,
            commit=self.commit,
            path=path,
            digest=digest(data),
            pinned=self._source.ref == self.commit,
            fetched_at=self._confirmed or self._fetched_at(),
        )

    def _fetched_at(self) -> str | None:
        noted = self._cache.get("git-fetched", self._repository.identity, self.commit)
        return noted.notes.get("fetched_at") if noted else None

    def _read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        def work(tree: GitTree) -> dict[str, str]:
            found = {entry.path: entry for entry in tree.entries(paths)}
            contents = tree.contents([self._file(path, found.get(path)) for path in paths])
            return {path: data.decode("latin-1") for path, data in contents.items()}

        contents = self._remembered(("files", *paths), work)
        return {path: contents[path].encode("latin-1") for path in paths}

    def _list_paths(self, folder: str, *, recursive: bool) -> list[str]:
        def work(tree: GitTree) -> list[str]:
            if folder and self._kind(tree.entries([folder]), folder) != "folder":
                return []
            entries = tree.entries([f"{folder}/"] if folder else [], below=recursive)
            files = [entry.path for entry in entries if entry.mode in FILE_MODES]
            return [path for path in files if path.lower().endswith(FILE_ENDINGS)]

        return self._remembered(("paths", folder, "below" if recursive else "in it"), work)

    def _holds(self, path: str) -> Literal["file", "folder"] | None:
        return self._remembered(("holds", path), lambda tree: self._kind(tree.entries([path]), path))

    def _remembered(self, what: tuple[str, ...], work: Callable[[GitTree], _Answer]) -> _Answer:
        """What `work`, whose answer is JSON, makes of the commit's tree: the same for ever, so it is kept."""
        key = ("git", self._repository.identity, self.commit, *what)
        kept = self._cache.get(*key)
        if kept is not None:
            answer: _Answer = json.loads(kept.data)
            return answer
        deadline = FetchDeadline(self.limits.timeout, self._source.uri)
        answer = self._repository.read(self.commit, self.full_ref, work, deadline, offline=self._source.rules.offline)
        self._cache.put(*key, data=json.dumps(answer).encode())
        return answer

    def _file(self, path: str, entry: TreeEntry | None) -> TreeEntry:
        kind = self._kind([] if entry is None else [entry], path)
        if entry is None or kind != "file":
            what = "a folder, no file" if kind else "not there"
            raise SourceMissing(
                f"{path} is {what}: {self._source.uri} at {self._source.ref or 'its default branch'} "
                f"(commit {self.commit})",
                advice="name the path of a file in the repository",
            )
        return entry

    def _kind(self, entries: Sequence[TreeEntry], path: str) -> Literal["file", "folder"] | None:
        entry = next((entry for entry in entries if entry.path == path), None)
        if entry is None:
            return None
        if entry.mode == FOLDER_MODE:
            return "folder"
        if entry.mode in FILE_MODES:
            return "file"
        what = "a symbolic link" if entry.mode == LINK_MODE else "another repository"
        raise SourceRefused(
            f"{path} is {what}, which is not followed: {self._source.uri} (commit {self.commit})",
            advice="name the file itself",
        )
