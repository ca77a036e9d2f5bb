"""AuditStore: one audit file, written and read from any thread and any process."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Final, TypeVar

from typing_extensions import Self

from flowyml_policy.audit.chain import GENESIS, Cell, event_hash
from flowyml_policy.audit.rows import DecisionRows, rows_of
from flowyml_policy.audit.schema import DECISION_COLUMNS, EVENT_COLUMNS, FINDING_COLUMNS, MIGRATIONS
from flowyml_policy.audit.stored import StoredDecision, decision_of, event_of
from flowyml_policy.audit.verification import Progress, Verification, verify
from flowyml_policy.errors import AuditCorrupt, AuditUnwritable, FlowymlPolicyError
from flowyml_policy.records import DecisionRecord, Event
from flowyml_policy.records.result import Outcome
from flowyml_policy.storage import BUSY_TIMEOUT, open_for_reading, open_for_writing, reported, transaction

_Answer = TypeVar("_Answer")

_FORK_WAIT: Final = 5.0
"""Seconds that a fork waits for one store of its process."""


def _columns(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _insert(table: str, names: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({_columns(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608  our names


_DECISION_ROW: Final = ("seq", *DECISION_COLUMNS, "input")
_FINDING_ROW: Final = ("seq", *FINDING_COLUMNS)

_INSERT_EVENT: Final = _insert("events", EVENT_COLUMNS)
_INSERT_DECISION: Final = _insert("decisions", _DECISION_ROW)
_INSERT_FINDING: Final = _insert("findings", _FINDING_ROW)


class _Connections:
    """What one process has open. After a fork the child starts over; SQLite's own must not be touched there.

    No thread may be inside SQLite while another one forks: the child would wait forever for a lock of
    SQLite's that nobody holds there. So a fork waits, a bounded time, for what is being written.
    """

    abandoned: ClassVar[list[_Connections]] = []  # kept alive, so that no child closes what its parent uses
    alive: ClassVar[weakref.WeakSet[_Connections]] = weakref.WeakSet()
    held = threading.local()

    def __init__(self) -> None:
        self.process = os.getpid()
        self.lock = threading.RLock()
        self.writer: sqlite3.Connection | None = None
        self.reader: sqlite3.Connection | None = None
        self.file: tuple[int, int] | None = None
        self.alive.add(self)

    def __del__(self) -> None:
        """A store that nobody closed, as in `AuditStore().get_events()`; never one that belongs to the parent."""
        if self.process == os.getpid():
            self.close()

    @classmethod
    def hold_all(cls) -> None:
        """Before a fork."""
        cls.held.locks = [each.lock for each in list(cls.alive) if each.lock.acquire(timeout=_FORK_WAIT)]

    @classmethod
    def release_all(cls) -> None:
        """After a fork, on both sides."""
        for lock in cls.held.__dict__.pop("locks", ()):
            lock.release()

    def forget_unless(self, path: Path) -> None:
        """Close what is open on another file than now lies at `path`: it was moved away, and writing there is lost."""
        if self.file != _identity(path):
            self.close()

    def close(self) -> None:
        with self.lock:
            for connection in (self.writer, self.reader):
                if connection is not None:
                    with suppress(sqlite3.Error):
                        connection.close()
            self.writer = self.reader = self.file = None


os.register_at_fork(
    before=_Connections.hold_all,
    after_in_parent=_Connections.release_all,
    after_in_child=_Connections.release_all,
)


class AuditStore:
    """The audit in the file `path`; None: the file that the settings of the current project name.

    A context manager, safe from many threads and after fork. Nothing is opened before it is needed, and a
    closed store opens again. `timeout` is how many seconds a call waits for other writers. Every method
    raises only AuditError; the constructor also SettingsInvalid, where it has to look for the path.
    """

    def __init__(self, path: str | Path | None = None, *, timeout: float = BUSY_TIMEOUT) -> None:
        self.path = _path_of_settings() if path is None else Path(path)
        self._timeout = timeout
        self._connections = _Connections()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file. Closing twice is fine."""
        self._current().close()

    def record(self, records: Sequence[DecisionRecord]) -> None:
        """Append `records` in order, in one transaction: durable when this returns, or none of them is there."""
        if not records:
            return
        try:
            rows = [rows_of(record) for record in records]
            self._append(rows)
        except FlowymlPolicyError:
            raise
        except Exception as error:
            raise AuditUnwritable(f"the decision could not be recorded: {self.path}: {error}") from error

    def get_events(
        self,
        stack_name: str | None = None,
        decision_id: str | None = None,
        type: str | None = None,  # noqa: A002  the contract's name
        limit: int | None = None,
    ) -> list[Event]:
        """The events that fit every filter given, newest first, each of its type's class."""
        where, values = _where(stack_name=stack_name, decision_id=decision_id, type=type)
        query = f"SELECT {_columns(EVENT_COLUMNS)} FROM events{where} ORDER BY seq DESC LIMIT ?"  # noqa: S608  our names

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

    def verify(self, progress: Progress | None = None) -> Verification:
        """Check the chain and every row; memory does not grow with the file.

        A file that is edited gives a Verification that is not `ok`; one that SQLite cannot read to its end
        raises AuditCorrupt.
        """
        connection = open_for_reading(self.path, MIGRATIONS, timeout=self._timeout)
        try:
            with reported(self.path, "read"):
                return verify(connection, progress)
        finally:
            connection.close()

    def _current(self) -> _Connections:
        if self._connections.process != os.getpid():
            _Connections.abandoned.append(self._connections)
            self._connections = _Connections()
        return self._connections

    def _append(self, rows: Sequence[DecisionRows]) -> None:
        with self._writing() as connection, transaction(connection, self._timeout):
            _append(connection, rows)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The writer, opened anew where the file was moved away; given up after any failure."""
        connections = self._current()
        with connections.lock, reported(self.path, "write"):
            connections.forget_unless(self.path)
            if connections.writer is None:
                connections.writer = open_for_writing(self.path, MIGRATIONS, timeout=self._timeout)
                connections.file = _identity(self.path)
            try:
                yield connections.writer
            except BaseException:
                connections.close()
                raise

    def _read(self, query: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        connections = self._current()
        with connections.lock, reported(self.path, "read"):
            connections.forget_unless(self.path)
            if connections.reader is None:
                connections.reader = open_for_reading(self.path, MIGRATIONS, timeout=self._timeout)
                connections.file = _identity(self.path)
            try:
                return query(connections.reader)
            except (ValueError, TypeError, RecursionError) as error:
                raise AuditCorrupt(f"the audit holds a row that is not of its shape: {self.path}: {error}") from error


def _append(connection: sqlite3.Connection, batch: Sequence[DecisionRows]) -> None:
    head = connection.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    seq, prev_hash = (0, GENESIS) if head is None else head
    events: list[tuple[Cell, ...]] = []
    decisions: list[tuple[Cell, ...]] = []
    findings: list[tuple[Cell, ...]] = []
    for rows in batch:
        first = seq + 1
        for event in (rows.checked, *rows.others):
            seq += 1
            fields = (seq, *event)
            digest = event_hash(prev_hash, fields)
            events.append((*fields, prev_hash, digest))
            prev_hash = digest
        decisions.append((first, *rows.decision))
        findings.extend((first, *finding) for finding in rows.findings)
    connection.executemany(_INSERT_EVENT, events)
    connection.executemany(_INSERT_DECISION, decisions)
    connection.executemany(_INSERT_FINDING, findings)


def _decisions(connection: sqlite3.Connection, where: str, values: Sequence[str | int]) -> list[StoredDecision]:
    select = f"SELECT {_columns(_DECISION_ROW)} FROM decisions{where} ORDER BY seq DESC LIMIT ?"  # noqa: S608  our names
    found = f"SELECT {_columns(FINDING_COLUMNS)} FROM findings WHERE seq = ? ORDER BY position"  # noqa: S608  our names
    return [decision_of(row, connection.execute(found, row[:1])) for row in connection.execute(select, values)]


def _where(**filters: str | None) -> tuple[str, list[str]]:
    given = {name: value for name, value in filters.items() if value is not None}
    return (" WHERE " + " AND ".join(f"{name} = ?" for name in given) if given else ""), list(given.values())


def _limit(limit: int | None) -> int:
    """SQLite's own word for no limit is a negative one."""
    return -1 if limit is None else max(limit, 0)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  once a batch, and Path.stat costs twice as much
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _path_of_settings() -> Path:
    from flowyml_policy.settings import load_settings  # noqa: PLC0415  needed only where no path is given

    return Path(load_settings().audit_path)
