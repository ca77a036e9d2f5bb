"""Who holds a stack's lock."""

from __future__ import annotations

from pydantic import Field

from flowyml_policy.records.record import Record


class LockHolder(Record):
    """The process that holds a stack's lock. `since` is an RFC 3339 instant in UTC.

    `started` is when the system started the process, in its own units: it tells the process from a later one that
    got the same number. None where the system does not say.
    """

    stack: str
    pid: int = Field(gt=0)
    host: str
    user: str
    since: str
    started: str | None = None

    def __str__(self) -> str:
        return f"pid {self.pid} on host {self.host}, user {self.user}, since {self.since}"
