"""What of the audit a server was not sent yet: its decisions as OPA writes a decision log, and how far that came.

Rules:
- The audit itself is the outbox. What the server acknowledged stands beside it, outside the chain: it is no record of
  anything that was decided.
- Decisions go in the order in which they were recorded, so that one number says how far.
- What is sent is what is recorded, masked before it came there; nothing is added to it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from flowyml_policy.audit.schema import AUDIT, DECISION_COLUMNS
from flowyml_policy.audit.schema import MIGRATIONS as AUDIT_MIGRATIONS
from flowyml_policy.records.record import Json
from flowyml_policy.storage.database import Database
from flowyml_policy.storage.migrations import Migration

PATH: Final = "flowyml/main/decision"
MOST_EVENTS: Final = 200
MOST_BYTES: Final = 1 << 20
"""What one chunk holds at most, but for a single event that is larger."""

REPORTED: Final = AUDIT._replace(prefix="reported/")

_REPORTED: Final = "CREATE TABLE reported (url TEXT PRIMARY KEY, seq INTEGER NOT NULL, at TEXT NOT NULL)"
_REPORTER: Final = "CREATE TABLE reporter (number INTEGER PRIMARY KEY CHECK (number = 1), id TEXT NOT NULL)"
MIGRATIONS: Final = (Migration("reported", (_REPORTED, _REPORTER)),)

_ID: Final = "SELECT id FROM reporter"
_WAITING: Final = (
    f"SELECT seq, {', '.join(DECISION_COLUMNS)}, input FROM decisions WHERE seq > ? ORDER BY seq LIMIT {MOST_EVENTS}"
)
_ACKNOWLEDGE: Final = (
    "INSERT INTO reported (url, seq, at) VALUES (?, ?, ?)"
    " ON CONFLICT (url) DO UPDATE SET seq = max(seq, excluded.seq), at = excluded.at"
)
_BUNDLES: Final = "SELECT bundles FROM decisions WHERE bundles != '{}' ORDER BY seq DESC LIMIT 1"


class Waiting(NamedTuple):
    """A decision that was not acknowledged: the number of its event, and the event for the log."""

    seq: int
    event: dict[str, Json]


class Outbox:
    """The decisions in the audit `path` that the server at `url` has not acknowledged. Raises AuditError."""

    def __init__(self, path: Path, url: str, *, timeout: float) -> None:
        self._url = url
        self._audit = Database(path, AUDIT_MIGRATIONS, tables=AUDIT, timeout=timeout)
        self._own = Database(path, MIGRATIONS, tables=REPORTED, timeout=timeout)

    def client_id(self) -> str:
        """What this audit is known by: made once, and kept with it."""
        with self._own.reading() as connection:
            row = None if connection is None else connection.execute(_ID).fetchone()
        if row is None:
            with self._own.writing() as transaction:
                transaction.connection.execute("INSERT OR IGNORE INTO reporter VALUES (1, ?)", (str(uuid.uuid4()),))
                row = transaction.connection.execute(_ID).fetchone()
        return str(row[0])

    def acknowledged(self) -> int:
        """The number up to which everything is acknowledged; 0 where nothing is."""
        with self._own.reading() as connection:
            query = "SELECT seq FROM reported WHERE url = ?"
            row = None if connection is None else connection.execute(query, (self._url,)).fetchone()
        return 0 if row is None else int(row[0])

    def acknowledge(self, seq: int, at: str) -> None:
        """Note that everything up to `seq` is acknowledged. It never goes back."""
        with self._own.writing() as transaction:
            transaction.connection.execute(_ACKNOWLEDGE, (self._url, seq, at))

    def chunk(self, after: int) -> list[Waiting]:
        """The next decisions behind the number `after`, as many as fit into a chunk."""
        found: list[Waiting] = []
        size = 0
        with self._audit.reading() as connection:
            for row in () if connection is None else connection.execute(_WAITING, (after,)):
                size += sum(len(cell) for cell in row if isinstance(cell, str))
                if found and size > MOST_BYTES:
                    break
                found.append(Waiting(row[0], _event(row)))
        return found

    def waiting(self) -> int:
        """How many decisions are not acknowledged."""
        after = self.acknowledged()
        with self._audit.reading() as connection:
            query = "SELECT count(*) FROM decisions WHERE seq > ?"
            return 0 if connection is None else int(connection.execute(query, (after,)).fetchone()[0])

    def revisions(self) -> dict[str, str]:
        """The revision of each bundle that judged last."""
        with self._audit.reading() as connection:
            row = None if connection is None else connection.execute(_BUNDLES).fetchone()
        return {} if row is None else json.loads(row[0])

    def close(self) -> None:
        """Release the file. Closing twice is fine."""
        self._audit.close()
        self._own.close()


def _event(row: tuple[Any, ...]) -> dict[str, Json]:
    """A recorded decision as OPA would write it into its log; what is undecided has `error`, and no result."""
    cells = dict(zip(("seq", *DECISION_COLUMNS, "input"), row, strict=True))
    event: dict[str, Json] = {
        "decision_id": cells["decision_id"],
        "bundles": {name: {"revision": revision} for name, revision in json.loads(cells["bundles"]).items()},
        "path": PATH,
        "timestamp": cells["at"],
        "metrics": {"timer_rego_query_eval_ns": cells["duration_ns"]},
        "custom": dict(_custom(cells)),
    }
    for key, column in (("input", "input"), ("result", "decision"), ("error", "error")):
        if cells[column] is not None:
            event[key] = json.loads(cells[column])
    return event


def _custom(cells: dict[str, Json]) -> Iterator[tuple[str, Json]]:
    """What OPA's log has no key for. Of what was never judged, it is all that is known of the stack."""
    yield "stack", {"name": cells["stack_name"], "version": cells["stack_version"]}
    for name in ("operation", "actor", "authority", "definition_digest"):
        yield name, cells[name]
    yield "environments", json.loads(cells["environments"])
    yield "source", json.loads(cells["source"])
    yield "hypothetical", bool(cells["hypothetical"])
