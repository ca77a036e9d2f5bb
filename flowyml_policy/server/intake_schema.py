"""The table of decision logs that came in, as migrations.

Rules:
- A migration that has shipped never changes; a change is a new one at the end.
- Append-only, like the audit. Rows are numbered without a gap, and a DecisionLogReceived event of the journal, in the
  same transaction, carries the digest of those that came with it.
- `identity` is what an event is known by for one token; the same one with other content is a row of its own.
"""

from __future__ import annotations

from typing import Final

from flowyml_policy.server.store import SERVER
from flowyml_policy.storage.migrations import Migration, refusals

RECEIVED: Final = SERVER._replace(what="server's decision log", prefix="intake/")

COLUMNS: Final = (
    "token",
    "identity",
    "digest",
    "received_at",
    "partition",
    "client",
    "client_id",
    "decision_id",
    "batch_decision_id",
    "at",
    "path",
    "bundles",
    "outcome",
    "stack_name",
    "stack_version",
    "error",
    "conflict",
    "note",
    "event",
)
"""What the digest of a row covers, after its `number`."""

_RECEIVED: Final = """CREATE TABLE received (
  number INTEGER PRIMARY KEY,
  token TEXT NOT NULL,
  identity TEXT NOT NULL,
  digest TEXT NOT NULL,
  received_at TEXT NOT NULL,
  partition TEXT,
  client TEXT NOT NULL,
  client_id TEXT,
  decision_id TEXT,
  batch_decision_id TEXT,
  at TEXT,
  path TEXT,
  bundles TEXT NOT NULL,
  outcome TEXT,
  stack_name TEXT,
  stack_version TEXT,
  error TEXT,
  conflict INTEGER NOT NULL,
  note TEXT,
  event TEXT NOT NULL,
  UNIQUE (token, identity, digest))"""

TRIGGERS: Final = refusals(
    "received",
    "number = NEW.number OR (token = NEW.token AND identity = NEW.identity AND digest = NEW.digest)",
    "decision log",
)
"""Name to SQL, as SQLite's own schema table must show them."""

MIGRATIONS: Final = (
    Migration(
        "received",
        (
            _RECEIVED,
            "CREATE INDEX received_by_decision ON received (decision_id)",
            "CREATE INDEX received_by_stack ON received (stack_name)",
            *TRIGGERS.values(),
        ),
    ),
)
