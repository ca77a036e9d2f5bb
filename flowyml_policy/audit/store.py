"""AuditStore: one audit file, written and read from any thread and any process."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import Self

from flowyml_policy.audit.schema import AUDIT, EVENT_COLUMNS, FINDING_COLUMNS, MIGRATIONS
from flowyml_policy.audit.writing import (
    DECISION_ROW,
    EventCells,
    append_decisions,
    append_events,
    cells_of,
    columns,
    rows_of,
    try_out,
)
from flowyml_policy.errors.audit import AuditCorrupt, AuditUnwritable
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.records.result import DecisionRecord, Outcome
from flowyml_policy.storage.database import Database, Transaction
from flowyml_policy.storage.opening import BUSY_TIMEOUT, nothing_there, open_for_reading
from flowyml_policy.storage.schema import reported

if TYPE_CHECKING:
    from flowyml_policy.audit.reading import StoredDecision
    from flowyml_policy.audit.verification import Progress, Verification
    from flowyml_policy.records.events import Event, NewEvent
    from flowyml_policy.records.registry import LastDecision

_Answer = TypeVar("_Answer")

_ASKED_AT_ONCE = 500
"""Digests in one question; SQLite once took no more than 999."""
_LAST = (  # SQLite takes bare columns from the row that holds the maximum: https://sqlite.org/lang_select.html#bareagg
    "SELECT definition_digest, outcome, at, decision_id, max(seq) FROM decisions"
    " WHERE definition_digest IN (%s) AND hypothetical = 0 GROUP BY definition_digest"
)


class _TriedOut(Exception):
    """Rolls back a transaction in which all went well."""


class AuditStore:
    """The audit in the file `path`; None: the file that the settings of the current project name.

    A context manager, safe from many threads and after fork. Nothing is opened before it is needed, and a
    closed store opens again. `timeout` is how many seconds a call waits for other writers. Every method
    raises only AuditError; the constructor also SettingsInvalid, where it has to look for the path.
    """

    def __init__(self, path: str | Path | None = None, *, timeout: float = BUSY_TIMEOUT) -> None:
        self.path = _path_of_settings() if path is None else Path(path)
        self._timeout = timeout
        self._database = Database(self.path, MIGRATIONS, tables=AUDIT, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file. Closing twice is fine."""
        self._database.close()

    def record(self, records: Sequence[DecisionRecord]) -> None:
        """Append `records` in order, in one transaction: durable when this returns, or none of them is there."""
        if not records:
            return
        try:
            rows = [rows_of(record) for record in records]
            with self._database.writing() as transaction:
                append_decisions(transaction.connection, rows)
        except FlowymlPolicyError:
            raise
        except Exception as error:
            raise AuditUnwritable(f"the decision could not be recorded: {self.path}: {error}") from error

    def append_events(self, events: Sequence[NewEvent], *, within: Transaction | None = None) -> None:
        """Append `events`, which have no decision of their own, in order: all durable when this returns, or none.

        What is not masked is refused; see mask.events. With `within`, a transaction that is open on this very file,
        they become durable with it. Events that promise rows of other tables (PolicyChecked) are refused: those are
        written by `record`.
        """
        if not events:
            return
        try:
            cells = [cells_of(event) for event in events]
            if within is None:
                with self._database.writing() as transaction:
                    append_events(transaction.connection, cells)
            else:
                self._append_within(within, cells)
        except FlowymlPolicyError:
            raise
        except Exception as error:
            raise AuditUnwritable(f"the event could not be recorded: {self.path}: {error}") from error

    def get_events(
        self,
        stack_name: str | None = None,
        decision_id: str | None = None,
        type: str | None = None,  # noqa: A002  the contract's name
        limit: int | None = None,
    ) -> list[Event]:
        """The events that fit every filter given, newest first, each of its type's class."""
        from flowyml_policy.audit.reading import event_of

        where, values = _where(stack_name=stack_name, decision_id=decision_id, type=type)
        query = f"SELECT {columns(EVENT_COLUMNS)} FROM events{where} ORDER BY seq DESC LIMIT ?"  # noqa: S608  our names

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
        from flowyml_policy.records.registry import LastDecision

        asked = list(dict.fromkeys(digests))

        def read(connection: sqlite3.Connection) -> dict[str, LastDecision]:
            found: dict[str, LastDecision] = {}
            for start in range(0, len(asked), _ASKED_AT_ONCE):
                some = asked[start : start + _ASKED_AT_ONCE]
                for digest, outcome, at, decision_id, _ in connection.execute(_LAST % ",".join("?" * len(some)), some):
                    found[digest] = LastDecision(outcome=outcome, at=at, decision_id=decision_id)
            return found

        return self._read(read, dict)

    def require_writable(self) -> None:
        """Raise what the next `record` would, where nothing can be recorded: it is tried out and rolled back."""
        with suppress(_TriedOut), self._database.writing() as transaction:
            try_out(transaction.connection)
            raise _TriedOut

    def verify(self, progress: Progress | None = None) -> Verification:
        """Check the chain and every row; memory does not grow with the file.

        A file that is edited gives a Verification that is not `ok`; one that SQLite cannot read to its end
        raises AuditCorrupt.
        """
        from flowyml_policy.audit.verification import verify

        connection = open_for_reading(self.path, MIGRATIONS, timeout=self._timeout, tables=AUDIT)
        try:
            with reported(self.path, "read", AUDIT):
                return verify(connection, progress)
        finally:
            connection.close()

    def _append_within(self, transaction: Transaction, cells: Sequence[EventCells]) -> None:
        if not transaction.is_on(self.path):
            raise AuditUnwritable(f"the transaction writes {transaction.path}, not the audit: {self.path}")
        with reported(self.path, "write", AUDIT):
            transaction.bring_up(MIGRATIONS, AUDIT)
            append_events(transaction.connection, cells)

    def _read(
        self, query: Callable[[sqlite3.Connection], _Answer], without: Callable[[], _Answer] | None = None
    ) -> _Answer:
        """What `query` answers; what `without` does, where there is no audit yet."""
        with self._database.reading() as connection:
            if connection is None:
                if without is None:
                    raise nothing_there(self.path, AUDIT)
                return without()
            try:
                return query(connection)
            except (ValueError, TypeError, RecursionError) as error:
                raise AuditCorrupt(f"the audit holds a row that is not of its shape: {self.path}: {error}") from error


def _decisions(connection: sqlite3.Connection, where: str, values: Sequence[str | int]) -> list[StoredDecision]:
    from flowyml_policy.audit.reading import decision_of

    select = f"SELECT {columns(DECISION_ROW)} FROM decisions{where} ORDER BY seq DESC LIMIT ?"  # noqa: S608  our names
    found = f"SELECT {columns(FINDING_COLUMNS)} FROM findings WHERE seq = ? ORDER BY position"  # noqa: S608  our names
    return [decision_of(row, connection.execute(found, row[:1])) for row in connection.execute(select, values)]


def _where(**filters: str | None) -> tuple[str, list[str]]:
    given = {name: value for name, value in filters.items() if value is not None}
    return (" WHERE " + " AND ".join(f"{name} = ?" for name in given) if given else ""), list(given.values())


def _limit(limit: int | None) -> int:
    """SQLite's own word for no limit is a negative one."""
    return -1 if limit is None else max(limit, 0)


def _path_of_settings() -> Path:
    from flowyml_policy.settings.loading import load_settings

    return Path(load_settings().audit_path)
