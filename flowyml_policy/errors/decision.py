"""Errors that stop a caller: denied, undecided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowyml_policy.errors.root import FlowymlPolicyError

if TYPE_CHECKING:
    from flowyml_policy.records.decision import Decision
    from flowyml_policy.records.result import Result


class PolicyDenied(FlowymlPolicyError):
    """Raised only by calls whose point is to stop: the stack was judged and denied. Carries the decision."""

    code = "policy_denied"
    exit_code = 1
    default_advice = "correct what the findings name"

    def __init__(self, decision: Decision, result: Result) -> None:
        self.decision = decision
        self.result = result
        reasons = "; ".join(f"{finding.code}: {finding.message}" for finding in decision.denials)
        super().__init__(f"stack {result.stack.name!r} is denied: {reasons}")


class GuardInactive(FlowymlPolicyError):
    """Runs of FlowyML are not guarded, or cannot be: nothing may run as if they were."""

    code = "guard_inactive"
    default_advice = "reinstall flowyml-policy beside FlowyML: pip install 'flowyml-policy[flowyml]'"


class PolicyUndecided(FlowymlPolicyError):
    """There is no decision; nothing may run. `result` carries what was recorded, the cause is chained."""

    code = "policy_undecided"

    def __init__(self, result: Result) -> None:
        self.result = result
        error = result.error
        super().__init__(error.message if error else "no decision was reached", advice=error.advice if error else None)
