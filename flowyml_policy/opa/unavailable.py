"""An evaluator for an OPA that could not start."""

from __future__ import annotations

from collections.abc import Sequence

from flowyml_policy.errors.opa import OpaError
from flowyml_policy.records.decision import Decision
from flowyml_policy.records.policy_input import PolicyInput
from flowyml_policy.records.record import Json
from flowyml_policy.records.result import Evaluation, GlobProblem


class UnavailableEvaluator:
    """Stands in for an OPA that could not start: every question raises why."""

    def __init__(self, reason: OpaError) -> None:
        self._reason = reason

    def judge(self, _document: PolicyInput) -> tuple[Decision, Evaluation]:
        raise self._again()

    def evaluate(self, _document: PolicyInput) -> Decision:
        raise self._again()

    def query(self, _path: str, _document: Json) -> Json:
        raise self._again()

    def check_globs(self, _patterns: Sequence[str]) -> tuple[GlobProblem, ...]:
        raise self._again()

    def close(self) -> None:
        """There is nothing to release."""

    def _again(self) -> OpaError:
        error = type(self._reason)(self._reason.message, advice=self._reason.advice)
        error.__cause__ = self._reason
        return error
