"""Where a definition came from, to the byte, and by which name it was asked for."""

from typing import Literal, TypeAlias

from pydantic import Field

from flowyml_policy.records.policy_input import Source
from flowyml_policy.records.record import Record, Sha256, SourceKind

StepName: TypeAlias = Literal["argument", "env", "FLOWYML_STACK", "active_stack", "defaults.stack", "builtin"]
"""The steps by which a stack is named, in the order in which they are asked."""


class Provenance(Record):
    """One fetched definition's origin. `uri` holds no credentials; `path` is the file's place inside the source.

    `ref` is what was asked for (branch, tag, commit, version), `full_ref` which of a repository's refs that was
    (`refs/tags/v1`, `refs/heads/main`, `HEAD`), `commit` the full commit id that it was resolved to.
    `digest` is that of the bytes read. `pinned` says that the reference could not have meant other bytes: a full
    commit, an http source with its sha256, a registered version. `fetched_at` is the RFC 3339 instant, in UTC, at
    which the source itself last confirmed these bytes; null where nothing was fetched.
    """

    kind: SourceKind
    uri: str
    ref: str | None = None
    full_ref: str | None = None
    commit: str | None = None
    path: str | None = None
    digest: Sha256 | None = None
    pinned: bool = False
    fetched_at: str | None = None

    def as_source(self) -> Source:
        """The part of it that policy looks at."""
        return Source(
            kind=self.kind, uri=self.uri, ref=self.ref, commit=self.commit, digest=self.digest, pinned=self.pinned
        )


class RegisteredProvenance(Provenance):
    """Where a registered definition came from: the registry, and before it was registered `applied_from`."""

    applied_from: Source = Field(exclude=True)
