"""Decision logs that came in, read back and checked, from the server's file alone: the server need not run."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from flowyml_policy.audit.chain import rows_digest
from flowyml_policy.audit.schema import AUDIT
from flowyml_policy.audit.schema import MIGRATIONS as AUDIT_MIGRATIONS
from flowyml_policy.audit.store import AuditStore
from flowyml_policy.audit.verification import Problem, Progress
from flowyml_policy.decision.verification import ProjectVerification, verify_project
from flowyml_policy.errors.audit import AuditCorrupt, AuditError
from flowyml_policy.errors.server import ServerCorrupt, ServerUnreadable
from flowyml_policy.mask.text import encodable
from flowyml_policy.records.events import DecisionLogReceived
from flowyml_policy.records.received import ReceivedDecision
from flowyml_policy.records.result import StackName
from flowyml_policy.server.intake_schema import COLUMNS, MIGRATIONS, RECEIVED, TRIGGERS
from flowyml_policy.server.store import FILE
from flowyml_policy.storage.database import Database
from flowyml_policy.storage.opening import open_for_reading
from flowyml_policy.storage.schema import reported
from flowyml_policy.system.files import is_missing

_SELECT: Final = f"SELECT number, {', '.join(COLUMNS)} FROM received"
_EVENTS: Final = "SELECT seq, payload FROM events WHERE type = ? ORDER BY seq"
_OBJECTS: Final = "SELECT type, name, sql FROM sqlite_master WHERE tbl_name = 'received' COLLATE NOCASE"


def server_file(folder: Path) -> Path:
    """The file of the server whose folder this is. Raises ServerUnreadable where there is none."""
    path = folder / FILE
    if is_missing(path):
        raise ServerUnreadable(f"there is no server's file in the folder: {path}")
    return path


class ReceivedStore:
    """What the server's file `path` holds of its clients' decision logs. Every method raises only ServerError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = Database(path, MIGRATIONS, tables=RECEIVED)

    def latest(self, stack_name: str | None = None, limit: int = 100) -> list[ReceivedDecision]:
        """What came in last, about one stack where it is named, newest first."""
        if stack_name is None:
            return self._read("ORDER BY number DESC LIMIT ?", limit)
        return self._read("WHERE stack_name = ? ORDER BY number DESC LIMIT ?", encodable(stack_name), limit)

    def with_id(self, decision_id: str) -> list[ReceivedDecision]:
        """Everything that came in under an id, in the order in which it came: of each token, and conflicts."""
        return self._read("WHERE decision_id = ? ORDER BY number", encodable(decision_id))

    def close(self) -> None:
        """Release the file. Closing twice is fine."""
        self._database.close()

    def _read(self, which: str, *values: str | int) -> list[ReceivedDecision]:
        with self._database.reading() as connection:
            rows = [] if connection is None else connection.execute(f"{_SELECT} {which}", values).fetchall()
        try:
            return [_received(row) for row in rows]
        except ValueError as error:
            raise ServerCorrupt(f"a row of the {RECEIVED.what} is not of its shape: {self.path}") from error


class ServerVerification(ProjectVerification):
    """What a check of a server's file came to; `received` counts the events of its clients that were in order."""

    received: int = 0

    @property
    def counts(self) -> tuple[tuple[int, str], ...]:
        return (*super().counts, (self.received, "received event"))


def verify_server(path: Path, progress: Progress | None = None) -> ServerVerification:
    """Check the journal of the server's file `path`, its registry, and what came in. Raises AuditError."""
    with AuditStore(path) as audit:
        judged = dict(verify_project(audit, in_one_file=True, progress=progress))
    if judged["problem"] is not None:
        return ServerVerification.model_validate(judged)
    try:
        with (
            closing(open_for_reading(path, AUDIT_MIGRATIONS, tables=AUDIT)) as connection,
            reported(path, "read", AUDIT),
        ):
            connection.execute("BEGIN")
            walk = _Walk(connection)
            return ServerVerification.model_validate({**judged, "problem": walk.problem(), "received": walk.received})
    except AuditError:
        raise
    except Exception as error:
        raise AuditCorrupt(f"the {RECEIVED.what} holds a row that is not of its shape: {path}: {error}") from error


class _Walk:
    """The rows beside the events that answer for them, both in order."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.received = 0

    def problem(self) -> Problem | None:
        """The first thing that is wrong."""
        rows = self._rows()
        for seq, payload in self._connection.execute(_EVENTS, (DecisionLogReceived.TYPE,)):
            said = json.loads(payload)
            if (said["first"], said["last"]) != (self.received + 1, self.received + said["count"]):
                return Problem(seq=seq, what="it does not go on where the received events before it end")
            digests: list[str] = []
            for _ in range(said["count"]):
                row = next(rows, None)
                if row is None or row[0] != self.received + len(digests) + 1:
                    number = self.received + len(digests) + 1
                    return Problem(seq=seq, what=f"the row of the received event {number} is missing")
                digests.append(rows_digest(row))
            if rows_digest(digests) != said["rows_sha256"]:
                first, last = said["first"], said["last"]
                return Problem(seq=seq, what=f"a row of the received events {first} to {last} was changed")
            self.received += len(digests)
        stray = next(rows, None)
        if stray is not None:
            return Problem(seq=None, what=f"no event of the journal answers for the received event {stray[0]}")
        return self._triggers()

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        if self._connection.execute(_OBJECTS).fetchone():
            yield from self._connection.execute(f"{_SELECT} ORDER BY number")

    def _triggers(self) -> Problem | None:
        objects = self._connection.execute(_OBJECTS).fetchall()
        if not objects or {name: sql for kind, name, sql in objects if kind == "trigger"} == TRIGGERS:
            return None
        return Problem(seq=None, what="the triggers that refuse changes of received events are not as they were")


def _received(row: tuple[Any, ...]) -> ReceivedDecision:
    cells = dict(zip(("number", *COLUMNS), row, strict=True))
    for name in ("identity", "digest"):
        del cells[name]
    return ReceivedDecision(
        stack=StackName(name=cells.pop("stack_name"), version=cells.pop("stack_version")),
        bundles=json.loads(cells.pop("bundles")),
        conflict=bool(cells.pop("conflict")),
        **cells,
    )
