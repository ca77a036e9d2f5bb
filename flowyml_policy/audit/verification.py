"""Whether the audit is still what was written: the chain, and every row that an event answers for.

One pass over the file in the order of `seq`, with three cursors side by side, so that memory does not grow
with the file. It stops at the first row that is wrong.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from flowyml_policy.audit.chain import GENESIS, event_hash, rows_digest, text_digest
from flowyml_policy.audit.schema import DECISION_COLUMNS, EVENT_COLUMNS, FINDING_COLUMNS, TABLES, TRIGGERS
from flowyml_policy.records.events import PolicyChecked
from flowyml_policy.records.record import Json, Record
from flowyml_policy.records.result import EXIT_ALLOWED, EXIT_DENIED

Progress = Callable[[int, int], None]
"""Called now and then with the number of events checked and the number of all."""

_PROGRESS_STEP: Final = 1000


class Problem(Record):
    """The first thing that is wrong. `seq` is the event's number; null for what concerns the whole file."""

    seq: int | None
    what: str

    def __str__(self) -> str:
        return self.what if self.seq is None else f"event {self.seq}: {self.what}"


class Verification(Record):
    """What a check of the audit came to. The counts are of what was in order, up to the first problem.

    `head_seq` and `head_hash` are the last event that was in order (0 and 64 zeros before the first): kept
    elsewhere, they prove later that nothing up to there was changed or cut off.
    """

    events: int
    decisions: int
    findings: int
    head_seq: int
    head_hash: str
    problem: Problem | None

    @property
    def ok(self) -> bool:
        return self.problem is None

    @property
    def exit_code(self) -> int:
        return EXIT_ALLOWED if self.ok else EXIT_DENIED

    @property
    def counts(self) -> tuple[tuple[int, str], ...]:
        """What was in order: how many of what, the noun being singular."""
        return ((self.events, "event"), (self.decisions, "decision"), (self.findings, "finding"))

    @property
    def limits(self) -> str:
        """What this check cannot prove, in a sentence for people."""
        return (
            "no row was edited, unless whoever did it computed every later hash anew; only a checkpoint kept elsewhere "
            f"shows that, or an end that was cut off: keep event {self.head_seq} and its hash {self.head_hash}"
        )


class _Broken(Exception):
    def __init__(self, seq: int | None, what: str) -> None:
        super().__init__(what)
        self.problem = Problem(seq=seq, what=what)


class _Rows:
    """Rows of one table in the order of `seq`, their first cell, taken one `seq` at a time."""

    def __init__(self, connection: sqlite3.Connection, table: str, query: str) -> None:
        self.table = table
        self._rows: Iterator[Sequence[Json]] = iter(connection.execute(query))
        self._next = next(self._rows, None)

    def take(self, seq: int) -> Iterator[Sequence[Json]]:
        while self._next is not None and self._next[0] == seq:
            row, self._next = self._next, next(self._rows, None)
            yield row

    def refuse_before(self, seq: int | None) -> None:
        """No row may be left over below `seq` (None: at all): an event has to answer for each."""
        if self._next is None:
            return
        stray = self._next[0]
        if not isinstance(stray, int):
            if seq is None:
                raise _Broken(None, f"a row of {self.table} has the seq {stray!r}, which no event has")
        elif seq is None or stray < seq:
            raise _Broken(stray, f"a row of {self.table} stands here that no event answers for")


class _Walk:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.head_seq, self.head_hash = 0, GENESIS
        self.events = self.decided = self.found = 0
        self.decisions = _Rows(
            connection,
            "decisions",
            f"SELECT seq, {_names(DECISION_COLUMNS)}, input FROM decisions ORDER BY seq",
        )
        self.findings = _Rows(
            connection,
            "findings",
            f"SELECT seq, {_names(FINDING_COLUMNS)} FROM findings ORDER BY seq, position",
        )

    def run(self, progress: Progress | None) -> None:
        total = self.connection.execute("SELECT count(*) FROM events").fetchone()[0] if progress else 0
        query = f"SELECT {_names(EVENT_COLUMNS)} FROM events ORDER BY seq"
        for row in self.connection.execute(query):
            self._event(row)
            if progress and self.events % _PROGRESS_STEP == 0:
                progress(self.events, total)
        self.decisions.refuse_before(None)
        self.findings.refuse_before(None)
        if progress:
            progress(self.events, total)
        self._triggers()

    def _event(self, row: Sequence[Json]) -> None:
        seq, (prev_hash, stored_hash) = row[0], row[-2:]
        self.decisions.refuse_before(min(seq, self.head_seq + 1))
        self.findings.refuse_before(min(seq, self.head_seq + 1))
        if seq != self.head_seq + 1:
            raise _Broken(self.head_seq + 1, f"the event is missing; the next one there is {seq}")
        if prev_hash != self.head_hash:
            raise _Broken(seq, "its prev_hash is not the hash of the event before it")
        if _hash_of(row) != stored_hash:
            raise _Broken(seq, "its hash does not fit what it says: it was changed after it was written")
        if row[3] == PolicyChecked.TYPE:
            self._decision(seq, row[7])
        self.head_seq, self.head_hash = seq, stored_hash
        self.events += 1

    def _decision(self, seq: int, payload: str) -> None:
        try:
            promised = json.loads(payload)
            decision_digest, findings_digest = promised["decision_sha256"], promised["findings_sha256"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise _Broken(seq, "its payload does not hold the digests of its decision") from None
        row = next(self.decisions.take(seq), None)
        if row is None:
            raise _Broken(seq, "the row of its decision is missing")
        *cells, stored_input = row[1:]
        if _digest_of(cells) != decision_digest:
            raise _Broken(seq, "the row of its decision was changed after it was written")
        if _input_digest(stored_input) != cells[-1]:
            raise _Broken(seq, "the input of its decision was changed after it was written")
        findings = [list(finding[1:]) for finding in self.findings.take(seq)]
        if _digest_of(findings) != findings_digest:
            raise _Broken(seq, "the findings of its decision were changed after they were written")
        self.decided += 1
        self.found += len(findings)

    def _triggers(self) -> None:
        """Those of the audit's own tables; other parts may keep tables in the file, with triggers of their own."""
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name COLLATE NOCASE IN (?, ?, ?)"
        present = dict(self.connection.execute(query, TABLES))
        if present != TRIGGERS:
            raise _Broken(None, "every row is in order, but the triggers that refuse changes are not as they were")


def verify(connection: sqlite3.Connection, progress: Progress | None = None) -> Verification:
    """Check the whole file behind `connection`, whose text_factory this sets. Raises sqlite3.Error."""
    connection.text_factory = lambda raw: str(raw, "utf-8", "surrogateescape")
    connection.execute("BEGIN")
    damage = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if damage != "ok":
        raise sqlite3.DatabaseError(f"malformed: {damage}")
    walk = _Walk(connection)
    problem = None
    try:
        walk.run(progress)
    except _Broken as broken:
        problem = broken.problem
    return Verification(
        events=walk.events,
        decisions=walk.decided,
        findings=walk.found,
        head_seq=walk.head_seq,
        head_hash=walk.head_hash,
        problem=problem,
    )


def _names(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


def _hash_of(row: Sequence[Json]) -> str | None:
    try:
        return event_hash(row[-2], row[:-2])
    except UnicodeEncodeError:
        return None


def _digest_of(cells: Sequence[Json]) -> str | None:
    try:
        return rows_digest(cells)
    except UnicodeEncodeError:
        return None


def _input_digest(stored: object) -> str | None:
    if stored is None:
        return None
    return text_digest(stored.encode("utf-8", "surrogateescape")) if isinstance(stored, str) else "not a text"
