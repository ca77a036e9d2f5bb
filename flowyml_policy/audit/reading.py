"""Rows of the audit, read back as values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from flowyml_policy.audit.schema import DECISION_COLUMNS, EVENT_COLUMNS, FINDING_COLUMNS
from flowyml_policy.errors.audit import AuditCorrupt
from flowyml_policy.records.decision import Decision, Override
from flowyml_policy.records.events import Event, typed_event
from flowyml_policy.records.policy_input import ImageFacts, Source
from flowyml_policy.records.record import Authority, Json, Location, Operation, Record
from flowyml_policy.records.result import (
    ErrorReport,
    EvaluatorName,
    LocatedFinding,
    Outcome,
    Result,
    StackName,
    judged_images,
)


class StoredDecision(Record):
    """One decision as the audit keeps it. `seq` is that of its PolicyChecked event.

    `input` is the text that was judged, byte for byte; null for a definition that was never judged.
    `input_sha256` and `definition_digest` are null together with what they are digests of.
    """

    seq: int
    decision_id: str
    at: str
    operation: Operation
    actor: str
    outcome: Outcome
    stack: StackName
    source: Source
    authority: Authority
    environments: tuple[str, ...]
    hypothetical: bool
    bundles: dict[str, str]
    evaluator: EvaluatorName | None
    duration_ns: int
    definition_digest: str | None
    decision: Decision | None
    findings: tuple[LocatedFinding, ...]
    error: ErrorReport | None
    input_sha256: str | None
    input: str | None

    @property
    def document(self) -> Json:
        """The input as JSON, None where there is none. Raises AuditCorrupt."""
        with _as_recorded(self.decision_id):
            return None if self.input is None else json.loads(self.input)

    @property
    def result(self) -> Result:
        """The answer as it was given, with the images of the input. Raises AuditCorrupt."""
        with _as_recorded(self.decision_id):
            images = [ImageFacts.model_validate_json(json.dumps(image)) for image in self._images()]
        return Result(
            stack=self.stack,
            source=self.source,
            outcome=self.outcome,
            decision_id=self.decision_id,
            authority=self.authority,
            environments=self.environments,
            hypothetical=self.hypothetical,
            bundles=self.bundles,
            evaluator=self.evaluator,
            findings=self.findings,
            images=tuple(images),
            judged_images=judged_images(images),
            error=self.error,
        )

    def _images(self) -> list[Json]:
        document = self.document
        return [] if document is None else list(document.get("images", ()))


@contextmanager
def _as_recorded(decision_id: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise AuditCorrupt(f"the input that the audit keeps is not the document of decision {decision_id}") from error


Row = Sequence[Json]
"""A row as sqlite3 gives it."""


def event_of(row: Row) -> Event:
    """The typed event of a row of schema.EVENT_COLUMNS. Raises ValueError for a row that is none."""
    cells = dict(zip(EVENT_COLUMNS, row, strict=True))
    cells["payload"] = json.loads(cells["payload"])
    return typed_event(cells["type"])(**cells)


def decision_of(row: Row, findings: Iterable[Row]) -> StoredDecision:
    """The decision of a row of `seq`, schema.DECISION_COLUMNS, `input`, and rows of schema.FINDING_COLUMNS.

    Raises ValueError for rows that are none.
    """
    cells = dict(zip(("seq", *DECISION_COLUMNS, "input"), row, strict=True))
    evaluator, version = cells.pop("evaluator_name"), cells.pop("evaluator_version")
    return StoredDecision(
        stack=StackName(name=cells.pop("stack_name"), version=cells.pop("stack_version")),
        source=Source.model_validate_json(cells.pop("source")),
        environments=tuple(json.loads(cells.pop("environments"))),
        hypothetical=bool(cells.pop("hypothetical")),
        bundles=json.loads(cells.pop("bundles")),
        evaluator=None if evaluator is None else EvaluatorName(name=evaluator, version=version),
        decision=_optional(Decision, cells.pop("decision")),
        findings=tuple(_finding_of(finding) for finding in findings),
        error=_optional(ErrorReport, cells.pop("error")),
        **cells,
    )


def _finding_of(row: Row) -> LocatedFinding:
    cells = dict(zip(FINDING_COLUMNS, row, strict=True))
    del cells["position"]
    file, line, column = cells.pop("file"), cells.pop("line"), cells.pop("column")
    return LocatedFinding(
        path=tuple(json.loads(cells.pop("path"))),
        location=None if file is None else Location(file=file, line=line, column=column),
        override=_optional(Override, cells.pop("override")),
        **cells,
    )


def _optional(kind: type[Record], text: str | None) -> Json:
    return None if text is None else kind.model_validate_json(text)
