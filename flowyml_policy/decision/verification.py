"""Whether a project's record is whole: the journal, and the registry's rows that it speaks of.

Rules:
- Where both are in one file, each row has its event and each event its row, and neither says more than the other.
- One transaction wrote row and event, so that none can be missing. What a call left that ended between the two, when
  the registry was elsewhere, is told and is no fault: a row by an allow that this audit holds, a retirement that was
  begun.
- In two places only the journal is judged, and the answer says so.
- On a server a row has the decision that its client made, and the event the server's own, with the client's beside it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final, NamedTuple

from flowyml_policy.audit.schema import AUDIT
from flowyml_policy.audit.schema import MIGRATIONS as AUDIT_MIGRATIONS
from flowyml_policy.audit.store import AuditStore
from flowyml_policy.audit.verification import Problem, Progress, Verification
from flowyml_policy.documents.canonical import canonical_digest
from flowyml_policy.errors.audit import AuditCorrupt, AuditError
from flowyml_policy.mask.text import mask
from flowyml_policy.records.events import StackApplied, StackRetired, StackRetiring
from flowyml_policy.records.record import Json
from flowyml_policy.registry.local import precedence
from flowyml_policy.registry.schema import TABLES, TRIGGERS
from flowyml_policy.storage.opening import open_for_reading
from flowyml_policy.storage.schema import reported

_STACKS: Final = (
    "SELECT name, version, precedence, digest, labels, source, applied_by, applied_at, decision_id, document, at, by,"
    " reason FROM stacks LEFT JOIN stack_retirements USING (number) ORDER BY number"
)
_STRAYS: Final = "SELECT count(*) FROM stack_retirements WHERE number NOT IN (SELECT number FROM stacks)"
_EVENTS: Final = (
    "SELECT seq, type, stack_name, at, actor, decision_id, payload FROM events WHERE type IN (?, ?, ?) ORDER BY seq"
)
_ALLOWED: Final = (
    "SELECT 1 FROM decisions WHERE decision_id = ? AND outcome = 'allow' AND definition_digest = ?"
    " AND operation = 'apply' AND hypothetical = 0"
)


class ProjectVerification(Verification):
    """What a check of a project's record came to: `stacks` and `retirements` are the registry's rows in order.

    `registry` says whether they were looked at: `elsewhere` is a registry in another place than the audit.
    `unfinished` names what a call left that ended before its event was written; the same call again writes it.
    """

    registry: str = "elsewhere"
    stacks: int = 0
    retirements: int = 0
    unfinished: tuple[str, ...] = ()

    @property
    def counts(self) -> tuple[tuple[int, str], ...]:
        registered = ((self.stacks, "registered version"),) if self.stacks else ()
        return (*super().counts, *registered)

    @property
    def limits(self) -> str:
        if self.registry == "checked":
            return super().limits
        return f"only the journal was judged: the registry is in another place; {super().limits}"


def verify_project(audit: AuditStore, *, in_one_file: bool, progress: Progress | None = None) -> ProjectVerification:
    """Check the journal of `audit`, and, where it is `in_one_file` with the registry, the registry's rows.

    Raises AuditError.
    """
    journal = dict(audit.verify(progress))
    if not in_one_file or journal["problem"] is not None:
        return ProjectVerification.model_validate(journal)
    try:
        with (
            closing(open_for_reading(audit.path, AUDIT_MIGRATIONS, tables=AUDIT)) as connection,
            reported(audit.path, "read", AUDIT),
        ):
            connection.execute("BEGIN")
            return ProjectVerification.model_validate({**journal, **_Registry(connection).judged()})
    except AuditError:
        raise
    except Exception as error:
        raise AuditCorrupt(f"the registry holds a row that is not of its shape: {audit.path}: {error}") from error


class _Broken(Exception):
    def __init__(self, seq: int | None, what: str) -> None:
        super().__init__(what)
        self.problem = Problem(seq=seq, what=what)


class _Told(NamedTuple):
    """What an event says of a version, in the words of its row."""

    seq: int
    at: str
    actor: str
    decision_id: str | None
    payload: dict[str, Any]


class _Registry:
    """The registry's rows beside the events that tell of them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._events: dict[tuple[str, str, str], _Told] = {}
        self.stacks = self.retirements = 0
        self.unfinished: list[str] = []

    def judged(self) -> dict[str, Json]:
        problem = None
        try:
            self._judge()
        except _Broken as broken:
            problem = broken.problem
        return {
            "registry": "checked",
            "stacks": self.stacks,
            "retirements": self.retirements,
            "unfinished": tuple(self.unfinished),
            "problem": problem,
        }

    def _judge(self) -> None:
        types = (StackApplied.TYPE, StackRetired.TYPE, StackRetiring.TYPE)
        for seq, kind, name, at, actor, decision_id, payload in self._connection.execute(_EVENTS, types):
            told = json.loads(payload)
            if "://" not in str(told.get("registry")):  # a company's registry keeps its own rows
                self._events[kind, name, told.get("version")] = _Told(seq, at, actor, decision_id, told)
        for row in self._rows():
            self._stack(row)
        for (kind, name, version), event in self._events.items():
            if kind == StackApplied.TYPE:
                raise _Broken(event.seq, f"the registry's row of {name}@{version}, which was registered, is missing")
            if kind == StackRetired.TYPE:
                raise _Broken(event.seq, f"the registry's row that retires {name}@{version} is missing")

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows, where the file has the registry's tables, with the triggers that guard them."""
        marks = ", ".join("?" * len(TABLES))
        query = f"SELECT type, name, sql FROM sqlite_master WHERE tbl_name COLLATE NOCASE IN ({marks})"  # noqa: S608  marks
        present = [*self._connection.execute(query, TABLES)]
        if not present:
            return
        if {name: sql for kind, name, sql in present if kind == "trigger"} != TRIGGERS:
            raise _Broken(None, "the triggers that refuse changes of the registry are not as they were")
        if self._connection.execute(_STRAYS).fetchone()[0]:
            raise _Broken(None, "the registry retires a version that it does not have")
        yield from self._connection.execute(_STACKS)

    def _stack(self, row: tuple[Any, ...]) -> None:
        name, version, found_by, digest, labels, source, by, at, decision_id, document, *retired = row
        what = f"{name}@{version}"
        definition = json.loads(document)
        metadata = definition.get("metadata", {})
        said = (metadata.get("name"), metadata.get("version"), metadata.get("labels", {}), canonical_digest(definition))
        if said != (name, version, json.loads(labels), digest) or found_by != precedence(version):
            raise _Broken(None, f"what is registered of {what} is not what its digest says")
        event = self._events.pop((StackApplied.TYPE, mask(name), version), None)
        if event is not None:
            written = (digest, mask(json.loads(source)["uri"]), decision_id, mask(by), at)
            decided = event.payload.get("request", event.decision_id)
            promised = (*map(event.payload.get, ("definition_digest", "source")), decided)
            if written != (*promised, event.actor, event.at):
                raise _Broken(event.seq, f"the registry's row of {what} was changed after it was written")
        elif self._connection.execute(_ALLOWED, (decision_id, digest)).fetchone():
            self.unfinished.append(f"{what} was registered by a call that ended before the audit said so")
        else:
            raise _Broken(None, f"the registry holds {what}, and no event tells of it")
        self.stacks += 1
        if retired[0] is not None:
            self._retirement(mask(name), version, retired)

    def _retirement(self, name: str, version: str, retired: list[str]) -> None:
        at, by, reason = retired
        event = self._events.pop((StackRetired.TYPE, name, version), None)
        if event is not None:
            if (at, mask(by), mask(reason)) != (event.at, event.actor, event.payload.get("reason", "")):
                raise _Broken(event.seq, f"the row that retires {name}@{version} was changed after it was written")
        elif (StackRetiring.TYPE, name, version) in self._events:
            self.unfinished.append(f"{name}@{version} was retired by a call that ended before the audit said so")
        else:
            raise _Broken(None, f"the registry says that {name}@{version} is retired, and no event tells of it")
        self.retirements += 1
