"""Bringing a file to the newest schema. The one importer of sqlite_utils."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Final, NamedTuple

from flowyml_policy.storage.schema import Purpose, Tables
from flowyml_policy.version import VERSION

APPLICATION_ID: Final = 0x666C7970
"""`flyp` in ASCII: marks the file as this program's in SQLite's own header."""

_MIGRATIONS_TABLE: Final = """CREATE TABLE migrations (
  number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, applied_at TEXT NOT NULL, applied_by TEXT NOT NULL)"""


class Migration(NamedTuple):
    """One step of a part's schema: a name that never changes, and the SQL statements that make it.

    `only_speeds_up` is said of an index: a reader can do without, and leaves it to the next writer.
    """

    name: str
    statements: tuple[str, ...]
    only_speeds_up: bool = False


def pending(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration], purpose: Purpose, tables: Tables
) -> tuple[Migration, ...]:
    """The migrations of `tables` that the file lacks. Refuses a file of another program or of a newer version."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        if application or connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            article = "an" if tables.what[0] in "aeiou" else "a"
            raise tables.leaf(purpose)(
                f"the file is a database of another program, not {article} {tables.what}: {path}"
            )
        return tuple(migrations)
    rows = connection.execute("SELECT name, applied_by FROM migrations ORDER BY number").fetchall()
    if not all(isinstance(name, str) for name, _ in rows):
        raise tables.corrupt(f"the {tables.what} file's record of its migrations is damaged: {path}")
    applied = [(name[len(tables.prefix) :], version) for name, version in rows if tables.owns(name)]
    known = [migration.name for migration in migrations]
    for name, version in applied:
        if name not in known:
            raise tables.too_new(
                f"flowyml-policy {version} wrote this {tables.what} file, {VERSION} cannot read it: {path}"
            )
    if [name for name, _ in applied] != known[: len(applied)]:
        raise tables.corrupt(f"the {tables.what} file's record of its migrations is out of order: {path}")
    return tuple(migrations[len(applied) :])


def apply(connection: sqlite3.Connection, migration: Migration, tables: Tables) -> None:
    """Make one step of the schema and record it, inside the transaction that is open. Raises sqlite3.Error."""
    from sqlite_utils import Database

    database = Database(connection, execute_plugins=False)
    if "migrations" not in database.table_names():
        database.execute(_MIGRATIONS_TABLE)
        database.execute(f"PRAGMA application_id={APPLICATION_ID}")
    for statement in migration.statements:
        database.execute(statement)
    database.execute(
        "INSERT INTO migrations (number, name, applied_at, applied_by)"
        " SELECT coalesce(max(number), 0) + 1, ?, ?, ? FROM migrations",
        [tables.prefix + migration.name, datetime.now(timezone.utc).isoformat(timespec="seconds"), VERSION],
    )


def refusals(table: str, same_row: str, what: str) -> dict[str, str]:
    """A trigger for every way to change a row of `table`: its name, and its SQL.

    `same_row` says which row an INSERT would replace, `what` is the part of the file that says no.
    """
    changes = {
        "update": f"BEFORE UPDATE ON {table}",
        "delete": f"BEFORE DELETE ON {table}",
        "replace": f"BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE {same_row})",
    }
    return {
        f"{table}_refuse_{name}": (
            f"CREATE TRIGGER {table}_refuse_{name} {when} BEGIN SELECT RAISE(ABORT, 'the {what} is append-only'); END"
        )
        for name, when in changes.items()
    }
