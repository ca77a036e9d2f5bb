"""AuditStore: one audit file, written and read from any thread and any process."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from flowyml_policy.audit.reading import StoredDecision, decision_of, event_of
from flowyml_policy.audit.recorder import AuditRecorder
from flowyml_policy.audit.schema import AUDIT, EVENT_COLUMNS, FINDING_COLUMNS, MIGRATIONS
from flowyml_policy.audit.verification import Progress, Verification, verify
from flowyml_policy.audit.writing import DECISION_ROW, columns
from flowyml_policy.errors.audit import AuditCorrupt
from flowyml_policy.mask.text import encodable
from flowyml_policy.records.events import Event
from flowyml_policy.records.registry import LastDecision
from flowyml_policy.records.result import Outcome
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.storage.opening import BUSY_TIMEOUT, nothing_there, open_for_reading
from flowyml_policy.storage.schema import reported

_Answer = TypeVar("_Answer")

_ASKED_AT_ONCE = 500
"""Digests in one question; SQLite once took no more than 999."""
_LARGEST_LIMIT = 2**63 - 1
"""SQLite's largest integer: more rows than that has no file."""
_ODD_ROW = "the audit holds a row that is not of its shape"
_LAST = (  # SQLite takes bare columns from the row that holds the maximum: https://sqlite.org/lang_select.html#bareagg
    "SELECT definition_digest, outcome, at, decision_id, max(seq) FROM decisions"
    " WHERE definition_digest IN (%s) AND hypothetical = 0 GROUP BY definition_digest"
)


class AuditStore(AuditRecorder):
    """The audit in the file `path`, written and read; None: the file that the settings of the current project name.

    A context manager, safe from many threads and after fork. Nothing is opened before it is needed, and a
    closed store opens again. `timeout` is how many seconds a call waits for other writers. Every method
    raises only AuditError; the constructor also SettingsInvalid, where it has to look for the path.
    """

    def __init__(self, path: str | Path | None = None, *, timeout: float = BUSY_TIMEOUT) -> None:
        super().__init__(load_settings().audit_path if path is None else path, timeout=timeout)

    def get_events(
        self,
        stack_name: str | None = None,
        decision_id: str | None = None,
        type: str | None = None,  # noqa: A002  the contract's name
        limit: int | None = None,
    ) -> list[Event]:
        """The events that fit every filter given, newest first, each of its type's class."""
        where, values = _where(stack_name=stack_name, decision_id=decision_id, type=type)
        query = f"SELECT {columns(EVENT_COLUMNS)} FROM events{where} ORDER BY seq DESC LIMIT ?"

        def read(connection: sqlite3.Connection) -> list[Event]:
            return [event_of(row) for row in connection.execute(query, (*values, _limit(limit)))]

        return self._read(read)

    def decisions(
        self, stack_name: str | None = None, outcome: Outcome | None = None, limit: int | None = 100
    ) -> list[StoredDecision]:
        """The decisions that fit every filter given, newest first; at most `limit`, None for all."""
        where, values = _where(stack_name=stack_name, outcome=outcome)
        return self._read(lambda connection: _decisions(connection, where, (*values, _limit(limit))))

    def decision(self, decision_id: str) -> StoredDecision | None:
        """The decision with this id, None where the audit has none."""
        where, values = _where(decision_id=decision_id)
        found = self._read(lambda connection: _decisions(connection, where, (*values, 1)))
        return found[0] if found else None

    def last_decisions(self, digests: Iterable[str]) -> dict[str, LastDecision]:
        """The newest decision about each definition of `digests` that was judged, hypothetical ones aside.

        Empty where nothing is recorded yet.
        """
        asked = list(dict.fromkeys(digests))

        def read(connection: sqlite3.Connection) -> dict[str, LastDecision]:
            found: dict[str, LastDecision] = {}
            for start in range(0, len(asked), _ASKED_AT_ONCE):
                some = asked[start : start + _ASKED_AT_ONCE]
                for digest, outcome, at, decision_id, _ in connection.execute(_LAST % ",".join("?" * len(some)), some):
                    found[digest] = LastDecision(outcome=outcome, at=at, decision_id=decision_id)
            return found

        return self._read(read, dict)

    def verify(self, progress: Progress | None = None) -> Verification:
        """Check the chain and every row; memory does not grow with the file.

        A file that is edited gives a Verification that is not `ok`; one that SQLite cannot read to its end
        raises AuditCorrupt.
        """
        with self._only_audit_errors(AuditCorrupt, _ODD_ROW):
            connection = open_for_reading(self.path, MIGRATIONS, timeout=self._timeout, tables=AUDIT)
            with closing(connection), reported(self.path, "read", AUDIT):
                return verify(connection, progress)

    def _read(
        self, query: Callable[[sqlite3.Connection], _Answer], without: Callable[[], _Answer] | None = None
    ) -> _Answer:
        """What `query` answers; what `without` does, where there is no audit yet."""
        with self._only_audit_errors(AuditCorrupt, _ODD_ROW), self._database.reading() as connection:
            if connection is not None:
                return query(connection)
            if without is None:
                raise nothing_there(self.path, AUDIT)
            return without()


def _decisions(connection: sqlite3.Connection, where: str, values: Sequence[str | int]) -> list[StoredDecision]:
    select = f"SELECT {columns(DECISION_ROW)} FROM decisions{where} ORDER BY seq DESC LIMIT ?"
    found = f"SELECT {columns(FINDING_COLUMNS)} FROM findings WHERE seq = ? ORDER BY position"
    return [decision_of(row, connection.execute(found, row[:1])) for row in connection.execute(select, values)]


def _where(**filters: str | None) -> tuple[str, list[str]]:
    given = {name: encodable(value) for name, value in filters.items() if value is not None}
    return (" WHERE " + " AND ".join(f"{name} = ?" for name in given) if given else ""), list(given.values())


def _limit(limit: int | None) -> int:
    """SQLite's own word for no limit is a negative one."""
    return -1 if limit is None else min(max(limit, 0), _LARGEST_LIMIT)
