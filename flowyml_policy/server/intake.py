"""Decision logs that clients post, kept: each event once, chained like the audit, on disk before it is acknowledged.

Rules:
- An event is known by its decision_id and batch_decision_id, for one token; without an id by its content. The same
  again is acknowledged and not kept twice; the same id with other content is kept beside it, and counted.
- A chunk is taken whole or not at all. What in it is no event is kept as it is, with a note: see log_events.
- Of large chunks one is worked on at a time, since it takes many times its size in memory.
- Calls that wait at the same time share one transaction, since a commit waits for the disk.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple

from flowyml_policy.audit.chain import Cell, rows_digest
from flowyml_policy.audit.recorder import AuditRecorder
from flowyml_policy.mask.events import new_event
from flowyml_policy.mask.text import mask
from flowyml_policy.records.events import DecisionLogReceived
from flowyml_policy.server.bodies import parse_json, unpacked
from flowyml_policy.server.clients import LONGEST
from flowyml_policy.server.exchange import Refused
from flowyml_policy.server.group_commit import GroupCommit
from flowyml_policy.server.intake_schema import COLUMNS, MIGRATIONS, RECEIVED
from flowyml_policy.server.log_events import LogRow, row_of
from flowyml_policy.storage.database import Database, Transaction

ACTOR: Final = "server"
"""Who the journal says took the events: several clients may share one entry, and each row names its own."""

MOST_EVENTS: Final = 100_000
"""Events of a chunk; OPA keeps 10,000 back at most where nothing else is said."""

_LARGE: Final = 4 << 20
_KNOWN: Final = (
    "SELECT EXISTS(SELECT 1 FROM received WHERE token = ? AND identity = ? AND digest = ?),"
    " EXISTS(SELECT 1 FROM received WHERE token = ? AND identity = ?)"
)
_LAST: Final = "SELECT coalesce(max(number), 0) FROM received"
_INSERT: Final = f"INSERT INTO received (number, {', '.join(COLUMNS)}) VALUES (?{', ?' * len(COLUMNS)})"


class Taken(NamedTuple):
    """What became of the events of a chunk: kept for the first time, kept already, or kept beside another content."""

    new: int = 0
    repeated: int = 0
    conflicts: int = 0


class _Chunk(NamedTuple):
    """What one call brings."""

    rows: Sequence[LogRow]
    token: str
    partition: str | None
    at: str


class Intake:
    """Takes decision logs into the file `path`. Safe from many threads."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, MIGRATIONS, tables=RECEIVED)
        self._journal = AuditRecorder(path)
        self._commits = GroupCommit(self._keep)
        self._large = threading.Lock()

    def open(self) -> None:
        """Make the tables that are missing, so that the first request does not wait. Raises ServerError."""
        with self._database.writing():
            pass

    def take(
        self, body: bytes, *, content_encoding: str | None, partition: str | None, token: str, at: str, largest: int
    ) -> Taken:
        """Keep the events of `body`, a JSON array, of at most `largest` bytes unpacked: durable when this returns.

        `token` is the name of the token that was shown, `at` this instant. Raises Refused for what is no such body, and
        ServerError or AuditError where it cannot be kept; then nothing of it is.
        """
        partition = None if partition is None else mask(partition)[:LONGEST]
        text = unpacked(body, content_encoding, largest)
        with self._large if len(text) > _LARGE else nullcontext():
            rows = _rows(text, token)
            return self._commits.submit(_Chunk(rows, token, partition, at)) if rows else Taken()

    def close(self) -> None:
        """Release the file. Closing twice is fine."""
        self._database.close()
        self._journal.close()

    def _keep(self, chunks: Sequence[_Chunk]) -> list[Taken]:
        with self._database.writing() as transaction:
            return self._append(transaction, chunks)

    def _append(self, transaction: Transaction, chunks: Sequence[_Chunk]) -> list[Taken]:
        connection = transaction.connection
        last: int = connection.execute(_LAST).fetchone()[0]
        taken, digests, number = [], [], last
        for chunk in chunks:
            counts = dict.fromkeys(Taken._fields, 0)
            for row in chunk.rows:
                key = (chunk.token, row.identity)
                is_there, is_known = connection.execute(_KNOWN, (*key, row.digest, *key)).fetchone()
                if is_there:
                    counts["repeated"] += 1
                    continue
                counts["conflicts" if is_known else "new"] += 1
                number += 1
                cells = (number, *_cells(chunk, row, is_conflict=bool(is_known)))
                connection.execute(_INSERT, cells)
                digests.append(rows_digest(cells))
            taken.append(Taken(**counts))
        if digests:
            self._chain(transaction, last + 1, digests, at=max(chunk.at for chunk in chunks))
        return taken

    def _chain(self, transaction: Transaction, first: int, digests: Sequence[Cell], *, at: str) -> None:
        """Put into the journal what was appended, in the same transaction."""
        payload = {
            "count": len(digests),
            "first": first,
            "last": first + len(digests) - 1,
            "rows_sha256": rows_digest(digests),
        }
        event = new_event(DecisionLogReceived.TYPE, at=at, actor=ACTOR, payload=payload)
        self._journal.append_events([event], within=transaction)


def _rows(text: bytes, token: str) -> list[LogRow]:
    """The rows of a chunk. Raises Refused."""
    items = parse_json(text)
    if not isinstance(items, list):
        raise Refused(HTTPStatus.BAD_REQUEST, "no_events", "the body is no JSON array of decision-log events")
    if len(items) > MOST_EVENTS:
        raise Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_many_events", f"at most {MOST_EVENTS:,} events are taken at once"
        )
    try:
        return [row_of(item, token) for item in items]
    except RecursionError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "json_too_deep", "the JSON is nested too deeply") from error


def _cells(chunk: _Chunk, row: LogRow, *, is_conflict: bool) -> tuple[Cell, ...]:
    """The cells of intake_schema.COLUMNS."""
    found = {
        **row._asdict(),
        "token": chunk.token,
        "partition": chunk.partition,
        "received_at": chunk.at,
        "conflict": int(is_conflict),
    }
    return tuple(found[name] for name in COLUMNS)
