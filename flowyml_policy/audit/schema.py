"""The tables of the audit, as migrations.

Rules:
- A migration that has shipped never changes; a change is a new one at the end.
- Every table is append-only: triggers refuse UPDATE, DELETE, and an INSERT that would replace a row.
- A decision's `seq` is that of its PolicyChecked event, and its findings carry it too.
- Dropping a trigger leaves a mark: `verify` asks for all of `TRIGGERS`.
"""

from __future__ import annotations

from typing import Final

from flowyml_policy.errors.audit import AuditCorrupt, AuditTooNew, AuditUnreadable, AuditUnwritable
from flowyml_policy.storage.migrations import Migration, refusals
from flowyml_policy.storage.schema import Tables

EVENT_COLUMNS: Final = (
    "seq",
    "id",
    "at",
    "type",
    "stack_name",
    "decision_id",
    "actor",
    "payload",
    "prev_hash",
    "hash",
)

DECISION_COLUMNS: Final = (
    "decision_id",
    "at",
    "operation",
    "actor",
    "outcome",
    "stack_name",
    "stack_version",
    "source",
    "authority",
    "environments",
    "hypothetical",
    "bundles",
    "evaluator_name",
    "evaluator_version",
    "duration_ns",
    "definition_digest",
    "decision",
    "error",
    "input_sha256",
)
"""What a decision row's digest covers, in this order; `seq` stands before them in the table, `input` after."""

FINDING_COLUMNS: Final = (
    "position",
    "code",
    "severity",
    "enforcement",
    "subject",
    "message",
    "fix",
    "path",
    "file",
    "line",
    "column",
    "waiver",
    "override",
    "effective_on",
)
"""What the digest of a decision's findings covers; `seq` stands before them in the table. `position` counts from 0."""

_EVENTS: Final = """CREATE TABLE events (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  at TEXT NOT NULL,
  type TEXT NOT NULL,
  stack_name TEXT,
  decision_id TEXT,
  actor TEXT NOT NULL,
  payload TEXT NOT NULL,
  prev_hash TEXT NOT NULL,
  hash TEXT NOT NULL)"""

_DECISIONS: Final = """CREATE TABLE decisions (
  seq INTEGER PRIMARY KEY,
  decision_id TEXT NOT NULL UNIQUE,
  at TEXT NOT NULL,
  operation TEXT NOT NULL,
  actor TEXT NOT NULL,
  outcome TEXT NOT NULL,
  stack_name TEXT,
  stack_version TEXT,
  source TEXT NOT NULL,
  authority TEXT NOT NULL,
  environments TEXT NOT NULL,
  hypothetical INTEGER NOT NULL,
  bundles TEXT NOT NULL,
  evaluator_name TEXT,
  evaluator_version TEXT,
  duration_ns INTEGER NOT NULL,
  definition_digest TEXT,
  decision TEXT,
  error TEXT,
  input_sha256 TEXT,
  input TEXT)"""

_FINDINGS: Final = """CREATE TABLE findings (
  seq INTEGER NOT NULL,
  position INTEGER NOT NULL,
  code TEXT NOT NULL,
  severity TEXT NOT NULL,
  enforcement TEXT NOT NULL,
  subject TEXT NOT NULL,
  message TEXT NOT NULL,
  fix TEXT NOT NULL,
  path TEXT NOT NULL,
  file TEXT,
  line INTEGER,
  "column" INTEGER,
  waiver TEXT,
  override TEXT,
  effective_on TEXT,
  PRIMARY KEY (seq, position)) WITHOUT ROWID"""


_DECISIONS_BY_DEFINITION: Final = """CREATE INDEX decisions_by_definition
  ON decisions (definition_digest, hypothetical, seq, outcome, at, decision_id)"""
"""Holds all that a listing says of the last decision, so that it reads none of the rows, which are large."""

TABLES: Final = ("events", "decisions", "findings")

TRIGGERS: Final = {
    **refusals("events", "seq = NEW.seq", "audit"),
    **refusals("decisions", "seq = NEW.seq OR decision_id = NEW.decision_id", "audit"),
    **refusals("findings", "seq = NEW.seq AND position = NEW.position", "audit"),
}
"""Name to SQL, as SQLite's own schema table must show them."""

MIGRATIONS: Final = (
    Migration(
        "journal_and_decisions",
        (
            _EVENTS,
            "CREATE INDEX events_by_stack ON events (stack_name)",
            "CREATE INDEX events_by_decision ON events (decision_id)",
            _DECISIONS,
            "CREATE INDEX decisions_by_stack ON decisions (stack_name)",
            _FINDINGS,
            *TRIGGERS.values(),
        ),
    ),
    Migration(
        "decisions_by_definition",
        (_DECISIONS_BY_DEFINITION,),
        only_speeds_up=True,
    ),
)


AUDIT: Final = Tables(
    what="audit",
    prefix="",
    corrupt=AuditCorrupt,
    too_new=AuditTooNew,
    unreadable=AuditUnreadable,
    unwritable=AuditUnwritable,
)
