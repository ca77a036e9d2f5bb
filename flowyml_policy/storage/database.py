"""Database: one part's view of one file, from any thread and any process."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Final

from flowyml_policy.storage.migrations import Migration, apply, pending
from flowyml_policy.storage.opening import BUSY_TIMEOUT, open_for_writing, open_if_there, transaction
from flowyml_policy.storage.schema import Tables, reported

_FORK_WAIT: Final = 5.0
"""Seconds that a fork waits for one database of its process."""

_Identity = tuple[int, int]


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
        self.file: _Identity | None = None
        self.alive.add(self)

    def __del__(self) -> None:
        """A database that nobody closed, as in `AuditStore().get_events()`; never one that belongs to the parent."""
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


class Transaction:
    """A write transaction that is open on a file: what several parts put into it becomes durable together, or not.

    Use it only inside the call that handed it over.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, file: _Identity | None) -> None:
        self.connection = connection
        self.path = path
        self._file = file

    def is_on(self, path: Path) -> bool:
        """Whether the file at `path` is the one that it writes."""
        return self._file is not None and self._file == _identity(path)

    def bring_up(self, migrations: Sequence[Migration], tables: Tables) -> None:
        """Make `tables` here, where the file lacks them."""
        for migration in pending(self.connection, self.path, migrations, "write", tables):
            apply(self.connection, migration, tables)


class Database:
    """`tables` in the file `path`. Nothing is opened before it is needed, and a closed one opens again.

    Safe from many threads and after fork. `timeout` is how many seconds a call waits for other writers. What is
    raised by SQLite inside comes out as the leaves of `tables`.
    """

    def __init__(
        self, path: Path, migrations: Sequence[Migration], *, tables: Tables, timeout: float = BUSY_TIMEOUT
    ) -> None:
        self.path = path
        self._migrations = tuple(migrations)
        self._tables = tables
        self._timeout = timeout
        self._connections = _Connections()

    def close(self) -> None:
        """Release the file. Closing twice is fine."""
        self._current().close()

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """A transaction, durable at the end. The file is opened anew where it was moved away or after any failure."""
        connections = self._current()
        with connections.lock, reported(self.path, "write", self._tables):
            connections.forget_unless(self.path)
            if connections.writer is None:
                connections.writer = open_for_writing(
                    self.path, self._migrations, timeout=self._timeout, tables=self._tables
                )
                connections.file = _identity(self.path)
            try:
                with transaction(connections.writer, self._timeout):
                    yield Transaction(connections.writer, self.path, connections.file)
            except BaseException:
                connections.close()
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection that only reads; None where there is no file, or none of `tables` in it."""
        connections = self._current()
        with connections.lock, reported(self.path, "read", self._tables):
            connections.forget_unless(self.path)
            if connections.reader is None:
                connections.reader = open_if_there(
                    self.path, self._migrations, timeout=self._timeout, tables=self._tables
                )
                connections.file = _identity(self.path)
            yield connections.reader

    def _current(self) -> _Connections:
        if self._connections.process != os.getpid():
            _Connections.abandoned.append(self._connections)
            self._connections = _Connections()
        return self._connections


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, which need not exist yet."""
    found = _identity(one)
    if found is not None:
        return found == _identity(other)
    return os.path.realpath(one) == os.path.realpath(other)


def _identity(path: Path) -> _Identity | None:
    try:
        found = os.stat(path)  # once a batch, and Path.stat costs twice as much
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
