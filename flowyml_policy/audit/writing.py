"""How one recorded decision becomes rows: its decision, its findings, and the events of the journal.

Rules:
- Everything but the place in the chain is made here, before the database is locked.
- A decision's PolicyChecked event carries the digests of its decision row and of its findings.
- What is handed over is masked already. Texts that people and sources wrote are looked at once more, and what the
  mask would still change is refused: then nothing is written, and the stack is undecided.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from flowyml_policy.audit.chain import GENESIS, Cell, event_hash, rows_digest, text_digest
from flowyml_policy.audit.schema import DECISION_COLUMNS, EVENT_COLUMNS, FINDING_COLUMNS
from flowyml_policy.errors.audit import AuditUnwritable
from flowyml_policy.mask.findings import texts_of, texts_of_findings
from flowyml_policy.mask.text import are_clean, is_clean
from flowyml_policy.mask.value import mask_value
from flowyml_policy.records.record import Json
from flowyml_policy.records.result import DecisionRecord, LocatedFinding

if TYPE_CHECKING:
    from flowyml_policy.records.events import NewEvent

_compact: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_strict: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode

_CHECKED: Final = "PolicyChecked"
_VALIDATED: Final = "StackValidated"
"""Types of events, by the names of the classes that they are read back as."""


class EventCells(NamedTuple):
    """The columns `id` to `payload` of an event that has no place in the chain yet."""

    id: str
    at: str
    type: str
    stack_name: str | None
    decision_id: str | None
    actor: str
    payload: str


class DecisionRows(NamedTuple):
    """All rows of one decision, in the order in which they are appended. `checked` is its first event."""

    checked: EventCells
    others: tuple[EventCells, ...]
    decision: tuple[Cell, ...]
    findings: tuple[tuple[Cell, ...], ...]


def rows_of(record: DecisionRecord) -> DecisionRows:
    """Return the rows of `record`.

    Raises AuditUnwritable for one that is not masked, and UnicodeDecodeError for an input that is not UTF-8.
    """
    _require_masked(_texts(record))
    findings = tuple(_finding_cells(position, finding) for position, finding in enumerate(record.result.findings))
    stored_input = None if record.input is None else record.input.decode()
    decision = _decision_cells(record)
    checked = _event(record, _CHECKED, _checked_payload(record, decision, findings))
    others = () if record.operation == "run" else (_event(record, _VALIDATED, _validated_payload(record)),)
    return DecisionRows(checked, others, (*decision, stored_input), findings)


def cells_of(event: NewEvent) -> EventCells:
    """Return the columns of an event without a decision.

    Raises AuditUnwritable for one that is not masked or promises rows it does not bring, and ValueError or TypeError
    for a payload that is not JSON.
    """
    if event.type == _CHECKED:
        raise AuditUnwritable(f"a {event.type} event without its decision was to be recorded")
    _require_masked((event.stack_name or "", event.actor))
    if mask_value(event.payload) != event.payload:
        raise _unmasked()
    return EventCells(
        id=event.id or str(uuid.uuid4()),
        at=event.at,
        type=event.type,
        stack_name=event.stack_name,
        decision_id=event.decision_id,
        actor=event.actor,
        payload=_strict(event.payload),
    )


def _require_masked(texts: Iterable[str]) -> None:
    """Raise AuditUnwritable where the mask would change one of `texts`; one look at all of them is the rule."""
    texts = dict.fromkeys(texts)
    if not are_clean(texts) and not all(map(is_clean, texts)):
        raise _unmasked()


class NotMasked(AuditUnwritable):
    """A record that holds a secret: the fault of one stack, which must not keep others from being recorded."""


def _unmasked() -> NotMasked:
    return NotMasked(
        "a text that is to be recorded was not masked, so nothing was recorded",
        advice="report this: it is a fault of this program",
    )


def _decision_cells(record: DecisionRecord) -> tuple[Cell, ...]:
    """The cells of schema.DECISION_COLUMNS."""
    result = record.result
    evaluator = result.evaluator
    return (
        record.decision_id,
        record.at,
        record.operation,
        record.actor,
        result.outcome,
        result.stack.name,
        result.stack.version,
        result.source.model_dump_json(),
        result.authority,
        _compact(result.environments),
        int(result.hypothetical),
        _compact(result.bundles),
        None if evaluator is None else evaluator.name,
        None if evaluator is None else evaluator.version,
        record.duration_ns,
        record.definition_digest,
        None if record.decision is None else record.decision.model_dump_json(),
        None if result.error is None else result.error.model_dump_json(),
        None if record.input is None else text_digest(record.input),
    )


def _finding_cells(position: int, finding: LocatedFinding) -> tuple[Cell, ...]:
    """The cells of schema.FINDING_COLUMNS."""
    location = finding.location
    return (
        position,
        finding.code,
        finding.severity,
        finding.enforcement,
        finding.subject,
        finding.message,
        finding.fix,
        _compact(finding.path),
        None if location is None else location.file,
        None if location is None else location.line,
        None if location is None else location.column,
        finding.waiver,
        None if finding.override is None else finding.override.model_dump_json(),
        finding.effective_on,
    )


def _event(record: DecisionRecord, type_name: str, payload: dict[str, Json]) -> EventCells:
    return EventCells(
        id=str(uuid.uuid4()),
        at=record.at,
        type=type_name,
        stack_name=record.result.stack.name,
        decision_id=record.decision_id,
        actor=record.actor,
        payload=_compact(payload),
    )


def _checked_payload(
    record: DecisionRecord, decision: tuple[Cell, ...], findings: tuple[tuple[Cell, ...], ...]
) -> dict[str, Json]:
    result = record.result
    return {
        "outcome": result.outcome,
        "operation": record.operation,
        "stack_version": result.stack.version,
        "hypothetical": result.hypothetical,
        "bundles": result.bundles,
        **({"copies": dict(record.copies)} if record.copies else {}),
        "denials": sorted({finding.code for finding in result.denials}),
        "error": None if result.error is None else result.error.code,
        "decision_sha256": rows_digest(decision),
        "findings_sha256": rows_digest(findings),
    }


def _validated_payload(record: DecisionRecord) -> dict[str, Json]:
    result = record.result
    return {
        "outcome": result.outcome,
        "stack_version": result.stack.version,
        "source": result.source.uri,
        "definition_digest": record.definition_digest,
    }


def _texts(record: DecisionRecord) -> Iterator[str]:
    """The texts that a secret could have slipped into on its way here."""
    result = record.result
    yield from (result.source.uri, result.source.ref or "", result.stack.name or "", result.stack.version or "")
    if result.error is not None:
        yield from (result.error.message, result.error.advice)
    yield from texts_of_findings(result.findings)
    yield from (located.location.file for located in result.findings if located.location is not None)
    if record.decision is not None:
        yield from texts_of(record.decision)


DECISION_ROW: Final = ("seq", *DECISION_COLUMNS, "input")
FINDING_ROW: Final = ("seq", *FINDING_COLUMNS)


def columns(names: Sequence[str]) -> str:
    """`names` as SQL lists them."""
    return ", ".join(f'"{name}"' for name in names)


def _insert(table: str, names: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({columns(names)}) VALUES ({', '.join('?' * len(names))})"


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


def append_decisions(
    connection: sqlite3.Connection, batch: Sequence[DecisionRows], activations: Sequence[tuple[EventCells, ...]] = ()
) -> None:
    """Append decisions with their events and findings, and `activations` of each. Raises sqlite3.Error."""
    end = _End(connection)
    decisions: list[tuple[Cell, ...]] = []
    findings: list[tuple[Cell, ...]] = []
    for position, rows in enumerate(batch):
        activated = activations[position] if activations else ()
        first = end.seq + 1
        end.add((rows.checked, *rows.others, *activated))
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
