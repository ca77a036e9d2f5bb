"""The SQLite file: how it is created, opened, kept durable and brought to the newest schema.

Rules of this room:
- A writer's file is WAL with `synchronous=FULL`: what is committed survives a power cut. Its mode is 0600.
- A migration and its record in the table `migrations` are one transaction; a file with a record that this
  version does not know is refused, and so is a database that another program made.
- sqlite_utils applies migrations and is imported only then: it pulls in pandas where that is installed.
  Everything else goes through the standard library.
- A reader never creates a file, and never changes one (but for a pending migration).
- Only the audit leaves of `errors` come out, each naming the file; the sqlite3 error is their cause.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from flowyml_policy.errors import AuditCorrupt, AuditError, AuditTooNew, AuditUnreadable, AuditUnwritable
from flowyml_policy.version import VERSION

APPLICATION_ID: Final = 0x666C7970
"""`flyp` in ASCII: marks the file as this program's in SQLite's own header."""

BUSY_TIMEOUT: Final = 30.0
"""Seconds that one call waits for other processes before it gives up."""

_PAUSE: Final = 0.01

_MIGRATIONS_TABLE: Final = """CREATE TABLE migrations (
  number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, applied_at TEXT NOT NULL, applied_by TEXT NOT NULL)"""

Purpose = Literal["read", "write"]


@dataclass(frozen=True)
class Migration:
    """One step of the schema: a name that never changes, and the SQL statements that make it."""

    name: str
    statements: tuple[str, ...]


def open_for_writing(
    path: Path, migrations: Sequence[Migration], *, timeout: float = BUSY_TIMEOUT
) -> sqlite3.Connection:
    """A connection that appends durably to `path`, which is created with its folders where it is missing.

    Transactions are explicit (`BEGIN IMMEDIATE`). Safe when many processes create the file at once. Raises
    AuditUnwritable, AuditCorrupt or AuditTooNew.
    """
    _check_is_file(path, "write")
    _create(path)
    with reported(path, "write"):
        connection = _connect(path, "mode=rw", timeout)
        try:
            _configure(connection, path, timeout)
            _migrate(connection, path, migrations, timeout)
        except BaseException:
            connection.close()
            raise
    return connection


def open_for_reading(
    path: Path, migrations: Sequence[Migration], *, timeout: float = BUSY_TIMEOUT
) -> sqlite3.Connection:
    """A connection that only reads `path`, also from a folder that cannot be written.

    Raises AuditUnreadable (missing, or no audit of this program), AuditCorrupt or AuditTooNew.
    """
    _check_is_file(path, "read")
    with reported(path, "read"):
        connection = _connect_reader(path, timeout)
        try:
            pending = _pending(connection, path, migrations, "read")
        except BaseException:
            connection.close()
            raise
    if not pending:
        return connection
    connection.close()
    if pending == tuple(migrations):
        raise AuditUnreadable(f"there is no audit in the file: {path}")
    open_for_writing(path, migrations, timeout=timeout).close()
    with reported(path, "read"):
        return _connect_reader(path, timeout)


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


@contextmanager
def reported(path: Path, purpose: Purpose) -> Iterator[None]:
    """Turns what sqlite3 and the operating system raise inside into the audit leaf that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _as_leaf(error, path, purpose) from error
    except UnicodeDecodeError as error:
        raise AuditCorrupt(f"the audit file holds bytes where text must be: {path}") from error
    except OSError as error:
        raise _leaf(purpose)(f"the audit file cannot be used: {path}: {error.strerror or error}") from error


_REASONS: Final = (
    ("malformed", AuditCorrupt, "is damaged"),
    ("not a database", AuditCorrupt, "is not an SQLite database, or its beginning is damaged"),
    ("unsupported file format", AuditCorrupt, "has a format that this SQLite does not know"),
    ("corrupt", AuditCorrupt, "is damaged"),
    ("could not decode", AuditCorrupt, "holds bytes where text must be"),
    ("no such table", AuditCorrupt, "lacks a table of its schema"),
    ("no such column", AuditCorrupt, "lacks a column of its schema"),
    ("is locked", None, "is locked by another process for too long"),
    ("locking protocol", None, "is locked by another process for too long"),
    ("is full", None, "cannot grow: the disk is full"),
    ("readonly", None, "is read-only"),
    ("disk i/o error", None, "could not be read or written: disk I/O error (is the disk full?)"),
    ("unable to open", None, "cannot be opened"),
    ("append-only", None, "is append-only and was asked to change a row"),
)


def _as_leaf(error: sqlite3.Error, path: Path, purpose: Purpose) -> AuditError:
    """Python 3.10 gives no error codes, so SQLite's own fixed messages tell the cases apart."""
    text = str(error).lower()
    for sign, leaf, what in _REASONS:
        if sign in text:
            return (leaf or _leaf(purpose))(f"the audit file {what}: {path}")
    return _leaf(purpose)(f"the audit file cannot be {'written' if purpose == 'write' else 'read'}: {path}: {error}")


def _leaf(purpose: Purpose) -> type[AuditError]:
    return AuditUnwritable if purpose == "write" else AuditUnreadable


def _check_is_file(path: Path, purpose: Purpose) -> None:
    """Refuses what SQLite would take and keep nothing in (memory, devices) or wait on forever (pipes)."""
    if str(path) in {":memory:", ".", ""}:
        raise _leaf(purpose)(f"the audit must be a file that lasts, not {str(path)!r}")
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  a path of Path.stat's errors is the same, its cost is not
    except FileNotFoundError:
        if purpose == "read":
            raise AuditUnreadable(f"there is no audit file: {path}") from None
        return
    except (OSError, ValueError) as error:
        raise _leaf(purpose)(f"the audit file cannot be used: {path}: {error}") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise _leaf(purpose)(f"the audit must be a file, and this is {kind}: {path}")


def _create(path: Path) -> None:
    """Makes the file private before SQLite sees it (its -wal and -shm inherit the mode), its entry durable."""
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise AuditUnwritable(f"the audit file cannot be created: {path}: {error.strerror}") from error
    try:
        with suppress(OSError):
            os.fsync(folder)
    finally:
        os.close(folder)


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
        if not readable or (wal.exists() and wal.stat().st_size):
            raise
        return _connect(path, "mode=ro&immutable=1", timeout)
    except BaseException:
        connection.close()
        raise
    return connection


def _configure(connection: sqlite3.Connection, path: Path, timeout: float) -> None:
    mode = _patiently(connection, "PRAGMA journal_mode=WAL", timeout)
    if mode != "wal":
        raise AuditUnwritable(f"the audit file is on a file system without shared memory (WAL): {path}")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA fullfsync=ON")
    connection.execute("PRAGMA checkpoint_fullfsync=ON")


def _patiently(connection: sqlite3.Connection, statement: str, timeout: float) -> str | None:
    """Runs `statement` until it is not refused for another process's lock: SQLite does not always wait itself."""
    deadline = time.monotonic() + timeout
    while True:
        with suppress(_Locked), _locks_told_apart(give_up=time.monotonic() >= deadline):
            row = connection.execute(statement).fetchone()
            return None if row is None else str(row[0])
        time.sleep(_PAUSE)


class _Locked(Exception):
    """Another process holds the lock for now."""


@contextmanager
def _locks_told_apart(*, give_up: bool) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if give_up or not any(sign in str(error) for sign in ("is locked", "locking protocol")):
            raise
        raise _Locked from error


def _pending(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration], purpose: Purpose
) -> tuple[Migration, ...]:
    """The migrations that the file lacks. Refuses a file of another program or of a newer version."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        if application or connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            raise _leaf(purpose)(f"the file is a database of another program, not an audit: {path}")
        return tuple(migrations)
    applied = connection.execute("SELECT name, applied_by FROM migrations ORDER BY number").fetchall()
    known = [migration.name for migration in migrations]
    for name, version in applied:
        if name not in known:
            raise AuditTooNew(f"flowyml-policy {version} wrote this audit file, {VERSION} cannot read it: {path}")
    if [name for name, _ in applied] != known[: len(applied)]:
        raise AuditCorrupt(f"the audit file's record of its migrations is out of order: {path}")
    return tuple(migrations[len(applied) :])


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration], timeout: float) -> None:
    """Brings the file to the newest schema; whoever comes second finds the work done."""
    if not _pending(connection, path, migrations, "write"):
        return
    from sqlite_utils import Database  # noqa: PLC0415  costs up to half a second, needed once in a file's life

    database = Database(connection, execute_plugins=False)
    while True:
        with transaction(connection, timeout):
            pending = _pending(connection, path, migrations, "write")
            if not pending:
                return
            if "migrations" not in database.table_names():
                database.execute(_MIGRATIONS_TABLE)
                database.execute(f"PRAGMA application_id={APPLICATION_ID}")
            for statement in pending[0].statements:
                database.execute(statement)
            database.execute(
                "INSERT INTO migrations (number, name, applied_at, applied_by) VALUES (?, ?, ?, ?)",
                [
                    len(migrations) - len(pending) + 1,
                    pending[0].name,
                    datetime.now(timezone.utc).isoformat(timespec="seconds"),
                    VERSION,
                ],
            )
