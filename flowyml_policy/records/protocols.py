"""What rooms on one floor need of each other; they are handed it, and never import it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from flowyml_policy.records.decision import Decision
from flowyml_policy.records.events import NewEvent
from flowyml_policy.records.policy_input import PolicyInput
from flowyml_policy.records.record import Json, Record
from flowyml_policy.records.result import DecisionRecord, EvaluatorName


class Judgement(Record):
    """A decision with that very answer's provenance: each bundle's revision, and how long it took."""

    decision: Decision
    bundles: dict[str, str]
    evaluator: EvaluatorName
    duration_ns: int


class GlobProblem(Record):
    """A pattern that OPA's `glob.match` refuses, and OPA's reason."""

    pattern: str
    reason: str


class Evaluator(Protocol):
    """Judges a PolicyInput. Every call raises only OpaError, and never answers with a decision it could not check."""

    def judge(self, document: PolicyInput) -> Judgement:
        """The decision and its provenance."""

    def evaluate(self, document: PolicyInput) -> Decision:
        """The decision alone."""

    def query(self, path: str, document: Json) -> Json:
        """The value at `path` (`flowyml/main/catalogue`) for `document`: for side questions, never for a decision."""

    def check_globs(self, patterns: Sequence[str]) -> tuple[GlobProblem, ...]:
        """Those of `patterns` that `glob.match` with delimiters null refuses."""

    def close(self) -> None:
        """Release everything; later calls raise OpaUnavailable. Closing twice is fine."""


class Recorder(Protocol):
    """Puts decisions on disk. When `record` returns they are durable; it raises only AuditError."""

    def record(self, records: Sequence[DecisionRecord]) -> None:
        """Append `records` in order, all or none."""


class EventRecorder(Protocol):
    """Puts events without a decision on disk. When a call returns they are durable; it raises only AuditError."""

    def append_events(self, events: Sequence[NewEvent]) -> None:
        """Append `events` in order, all or none."""
