"""The server's one SQLite file, and the tables that are its own in it: tokens and publications.

The audit, the registry, decision logs and statuses keep their tables in the same file, each with its own migrations.

Rules:
- A migration that has shipped never changes; a change is a new one at the end.
- Publications are append-only: what was published stays on record, though its archive goes when it is old.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flowyml_policy.errors.server import ServerCorrupt, ServerTooNew, ServerUnreadable, ServerUnwritable
from flowyml_policy.storage.database import Database
from flowyml_policy.storage.migrations import Migration, refusals
from flowyml_policy.storage.schema import Tables

FILE: Final = "server.db"
"""The file's name in the server's folder."""

SERVER: Final = Tables(
    what="server",
    prefix="server/",
    corrupt=ServerCorrupt,
    too_new=ServerTooNew,
    unreadable=ServerUnreadable,
    unwritable=ServerUnwritable,
)

_TOKENS: Final = """CREATE TABLE tokens (
  number INTEGER PRIMARY KEY,
  name TEXT UNIQUE,
  sha256 TEXT NOT NULL UNIQUE,
  scopes TEXT NOT NULL,
  created_at TEXT NOT NULL,
  expires_at TEXT,
  revoked_at TEXT)"""

_PUBLICATIONS: Final = """CREATE TABLE publications (
  number INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  revision TEXT NOT NULL,
  sequence INTEGER,
  expires TEXT,
  digest TEXT NOT NULL,
  size INTEGER NOT NULL,
  published_at TEXT NOT NULL,
  published_by TEXT NOT NULL)"""

MIGRATIONS: Final = (
    Migration("tokens", (_TOKENS,)),
    Migration(
        "publications",
        (_PUBLICATIONS, *refusals("publications", "number = NEW.number", "history of publications").values()),
    ),
)


def open_database(path: Path) -> Database:
    """The server's own tables in the file `path`. Nothing is opened before it is needed."""
    return Database(path, MIGRATIONS, tables=SERVER)
