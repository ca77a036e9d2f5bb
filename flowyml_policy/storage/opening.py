"""Opening the file, for a writer and for a reader, and its transactions."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.storage.migrations import Migration, apply, pending
from flowyml_policy.storage.schema import UNMERGED, Purpose, Tables, reported

BUSY_TIMEOUT: Final = 30.0
"""Seconds that one call waits for other processes before it gives up."""

_PAUSE: Final = 0.01
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def open_for_writing(
    path: Path, migrations: Sequence[Migration], *, timeout: float = BUSY_TIMEOUT, tables: Tables
) -> sqlite3.Connection:
    """A connection that appends durably to `path`, which is created with its folders where it is missing.

    Transactions are explicit (`BEGIN IMMEDIATE`). Safe when many processes create the file at once. A file of
    this user's that everybody may read is made private. Raises the leaf of `tables` for a file that is unwritable,
    corrupt or too new.
    """
    _check_is_file(path, "write", tables)
    _create(path, tables)
    with reported(path, "write", tables):
        connection = _connect(path, "mode=rw", timeout)
        try:
            _configure(connection, path, timeout, tables)
            _migrate(connection, path, migrations, timeout, tables)
            _make_private(path)
        except BaseException:
            connection.close()
            raise
    return connection


def open_for_reading(
    path: Path, migrations: Sequence[Migration], *, timeout: float = BUSY_TIMEOUT, tables: Tables
) -> sqlite3.Connection:
    """A connection that only reads `path`, also from a folder that cannot be written.

    Raises the leaf of `tables` for a file that is unreadable (missing, or without its tables), corrupt or too new.
    """
    connection = open_if_there(path, migrations, timeout=timeout, tables=tables)
    if connection is None:
        raise nothing_there(path, tables)
    return connection


def open_if_there(
    path: Path, migrations: Sequence[Migration], *, timeout: float = BUSY_TIMEOUT, tables: Tables
) -> sqlite3.Connection | None:
    """As `open_for_reading`, but None where there is no file, or none of `tables` in it."""
    if not _check_is_file(path, "read", tables):
        return None
    with reported(path, "read", tables):
        connection = _connect_reader(path, timeout)
        try:
            lacking = pending(connection, path, migrations, "read", tables)
        except BaseException:
            connection.close()
            raise
    if all(migration.only_speeds_up for migration in lacking):
        return connection
    connection.close()
    if lacking == tuple(migrations):
        return None
    open_for_writing(path, migrations, timeout=timeout, tables=tables).close()
    with reported(path, "read", tables):
        return _connect_reader(path, timeout)


def nothing_there(path: Path, tables: Tables) -> FlowymlPolicyError:
    """The error for a file that is missing, or holds none of `tables`."""
    what = f"there is no {tables.what} in the file" if path.exists() else f"there is no {tables.what} file"
    return tables.unreadable(f"{what}: {path}")


def begin(connection: sqlite3.Connection, timeout: float) -> None:
    """Start a write transaction, waiting at most `timeout` seconds for other writers. Raises sqlite3.Error."""
    _patiently(connection, "BEGIN IMMEDIATE", timeout)


@contextmanager
def transaction(connection: sqlite3.Connection, timeout: float) -> Iterator[None]:
    """All that is written inside is committed at the end, or none of it is. Raises sqlite3.Error."""
    begin(connection, timeout)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise


def _check_is_file(path: Path, purpose: Purpose, tables: Tables) -> bool:
    """Whether it is there. Refuses what SQLite would take and keep nothing in (memory, devices), or wait on (pipes)."""
    leaf = tables.leaf(purpose)
    if str(path) in {":memory:", ".", ""}:
        raise leaf(f"the {tables.what} must be a file that lasts, not {str(path)!r}")
    with reported(path, purpose, tables):
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            return False
        except ValueError as error:
            raise leaf(f"the {tables.what} file cannot be used: {path}: {error}") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise leaf(f"the {tables.what} must be a file, and this is {kind}: {path}")
    return True


def _create(path: Path, tables: Tables) -> None:
    """Makes the file private before SQLite sees it (its -wal and -shm inherit the mode), its entry durable."""
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise tables.unwritable(f"the {tables.what} file cannot be created: {path}: {error.strerror}") from error
    try:
        with suppress(OSError):
            os.fsync(folder)
    finally:
        os.close(folder)


def _make_private(path: Path) -> None:
    """Takes the file, and what SQLite keeps beside it, from everybody but this user, who must own it.

    A file that is closed to the world and open to a group was shared on purpose (with auditors), and stays so. Only
    a file that was found to be this program's comes here; where modes cannot be changed it stays as it is.
    """
    real = os.path.realpath(path)
    for file in (real, f"{real}-wal", f"{real}-shm"):
        with suppress(OSError):
            found = os.stat(file)
            if found.st_uid == os.geteuid() and found.st_mode & stat.S_IRWXO:
                os.chmod(file, stat.S_IMODE(found.st_mode) & ~_OTHERS)


def _connect(path: Path, parameters: str, timeout: float) -> sqlite3.Connection:
    uri = f"file:{quote(os.fsencode(path.absolute()))}?{parameters}"
    connection = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


def _connect_reader(path: Path, timeout: float) -> sqlite3.Connection:
    """Where neither -shm can be made nor a -wal waits, nobody is writing, and the file is read as it lies."""
    connection = _connect(path, "mode=ro", timeout)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        wal = path.with_name(path.name + "-wal")
        readable = "unable to open" in str(error) or "readonly" in str(error)
        if readable and wal.exists() and wal.stat().st_size:
            raise sqlite3.OperationalError(UNMERGED) from error
        if not readable:
            raise
        return _connect(path, "mode=ro&immutable=1", timeout)
    except BaseException:
        connection.close()
        raise
    return connection


def _configure(connection: sqlite3.Connection, path: Path, timeout: float, tables: Tables) -> None:
    mode = _patiently(connection, "PRAGMA journal_mode=WAL", timeout)
    if mode != "wal":
        raise tables.unwritable(f"the {tables.what} file is on a file system without shared memory (WAL): {path}")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA fullfsync=ON")
    connection.execute("PRAGMA checkpoint_fullfsync=ON")


def _patiently(connection: sqlite3.Connection, statement: str, timeout: float) -> str | None:
    """Runs `statement` until it is not refused for another process's lock: SQLite does not always wait itself."""
    deadline = time.monotonic() + timeout
    while True:
        with suppress(_Locked), _locks_told_apart(deadline):
            row = connection.execute(statement).fetchone()
            return None if row is None else str(row[0])
        time.sleep(_PAUSE)


class _Locked(Exception):
    """Another process holds the lock for now."""


@contextmanager
def _locks_told_apart(deadline: float) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        may_wait = time.monotonic() < deadline  # asked now: SQLite itself may have waited as long
        if not may_wait or not any(sign in str(error) for sign in ("is locked", "locking protocol")):
            raise
        raise _Locked from error


def _migrate(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration], timeout: float, tables: Tables
) -> None:
    """Brings the file to the newest schema, a transaction each step; whoever comes second finds the work done."""
    while pending(connection, path, migrations, "write", tables):
        with transaction(connection, timeout):
            for migration in pending(connection, path, migrations, "write", tables)[:1]:
                apply(connection, migration, tables)
