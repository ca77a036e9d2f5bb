"""Rows put at the end of the journal, each event chained to the one before it. Inside a transaction of the caller's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from flowyml_policy.audit.chain import GENESIS, Cell, event_hash
from flowyml_policy.audit.rows import DecisionRows, EventCells
from flowyml_policy.audit.schema import DECISION_COLUMNS, EVENT_COLUMNS, FINDING_COLUMNS

DECISION_ROW: Final = ("seq", *DECISION_COLUMNS, "input")
FINDING_ROW: Final = ("seq", *FINDING_COLUMNS)


def columns(names: Sequence[str]) -> str:
    """`names` as SQL lists them."""
    return ", ".join(f'"{name}"' for name in names)


def _insert(table: str, names: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({columns(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608  our names


_INSERT_EVENT: Final = _insert("events", EVENT_COLUMNS)
_INSERT_DECISION: Final = _insert("decisions", DECISION_ROW)
_INSERT_FINDING: Final = _insert("findings", FINDING_ROW)
_LARGE_DECISION: Final = 2**16


class _End:
    """The end of the chain, and the rows that wait to be put there."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        head = connection.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        self.seq: int = 0 if head is None else head[0]
        self._prev_hash: str = GENESIS if head is None else head[1]
        self.rows: list[tuple[Cell, ...]] = []

    def add(self, events: Iterable[EventCells]) -> None:
        for event in events:
            self.seq += 1
            fields = (self.seq, *event)
            digest = event_hash(self._prev_hash, fields)
            self.rows.append((*fields, self._prev_hash, digest))
            self._prev_hash = digest


def append_decisions(connection: sqlite3.Connection, batch: Sequence[DecisionRows]) -> None:
    """Append decisions with their events and findings. Raises sqlite3.Error."""
    end = _End(connection)
    decisions: list[tuple[Cell, ...]] = []
    findings: list[tuple[Cell, ...]] = []
    for rows in batch:
        first = end.seq + 1
        end.add((rows.checked, *rows.others))
        decisions.append((first, *rows.decision))
        findings.extend((first, *finding) for finding in rows.findings)
    connection.executemany(_INSERT_EVENT, end.rows)
    connection.executemany(_INSERT_DECISION, decisions)
    connection.executemany(_INSERT_FINDING, findings)


def append_events(connection: sqlite3.Connection, batch: Sequence[EventCells]) -> None:
    """Append events that have no decision of their own. Raises sqlite3.Error."""
    end = _End(connection)
    end.add(batch)
    connection.executemany(_INSERT_EVENT, end.rows)


def try_out(connection: sqlite3.Connection) -> None:
    """Write what a large decision takes, for the caller to roll back. Raises sqlite3.Error where there is no room."""
    connection.execute("PRAGMA cache_size=1")  # else SQLite would write nothing before the COMMIT that never comes
    connection.execute(f"CREATE TABLE tried_out AS SELECT zeroblob({_LARGE_DECISION}) AS room")
