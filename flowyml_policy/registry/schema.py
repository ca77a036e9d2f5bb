"""The tables of the project's own registry, as migrations.

Rules:
- A migration that has shipped never changes; a change is a new one at the end.
- Both tables are append-only: a version is registered once and retired once, and triggers refuse everything else.
- `precedence` is the version without build metadata, so that two builds of one version cannot both be there.
- `document` stands last, so that a listing does not read it.
"""

from __future__ import annotations

from typing import Final

from flowyml_policy.errors.registry import RegistryCorrupt, RegistryTooNew, RegistryUnreadable, RegistryUnwritable
from flowyml_policy.storage.migrations import Migration, refusals
from flowyml_policy.storage.schema import Tables

REGISTRY: Final = Tables(
    what="registry",
    prefix="registry/",
    corrupt=RegistryCorrupt,
    too_new=RegistryTooNew,
    unreadable=RegistryUnreadable,
    unwritable=RegistryUnwritable,
)

STACK_COLUMNS: Final = (
    "name",
    "version",
    "precedence",
    "digest",
    "labels",
    "source",
    "applied_by",
    "applied_at",
    "decision_id",
    "document",
)

_STACKS: Final = """CREATE TABLE stacks (
  number INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  precedence TEXT NOT NULL,
  digest TEXT NOT NULL,
  labels TEXT NOT NULL,
  source TEXT NOT NULL,
  applied_by TEXT NOT NULL,
  applied_at TEXT NOT NULL,
  decision_id TEXT,
  document TEXT NOT NULL,
  UNIQUE (name, precedence))"""

_RETIREMENTS: Final = """CREATE TABLE stack_retirements (
  number INTEGER PRIMARY KEY REFERENCES stacks (number),
  at TEXT NOT NULL,
  by TEXT NOT NULL,
  reason TEXT NOT NULL)"""

TABLES: Final = ("stacks", "stack_retirements")

TRIGGERS: Final = {
    **refusals("stacks", "number = NEW.number OR (name = NEW.name AND precedence = NEW.precedence)", "registry"),
    **refusals("stack_retirements", "number = NEW.number", "registry"),
}
"""Name to SQL, as SQLite's own schema table must show them."""

MIGRATIONS: Final = (Migration("stacks", (_STACKS, _RETIREMENTS, *TRIGGERS.values())),)
