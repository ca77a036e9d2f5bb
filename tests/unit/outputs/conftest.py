"""Results as the engine would give them, made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import pytest

from flowyml_policy.records.policy_input import Source
from flowyml_policy.records.record import Location
from flowyml_policy.records.result import ErrorReport, LocatedFinding, Result, StackName

Outcome = Literal["allow", "deny", "error"]


class MakeFinding(Protocol):
    def __call__(self, code: str, *, severity: Literal["deny", "warn"] = "deny", line: int = 4) -> LocatedFinding: ...


class MakeResult(Protocol):
    def __call__(
        self,
        name: str,
        outcome: Outcome = "allow",
        findings: Sequence[LocatedFinding] = (),
        error: ErrorReport | None = None,
    ) -> Result: ...


@pytest.fixture
def finding() -> MakeFinding:
    def make(code: str, *, severity: Literal["deny", "warn"] = "deny", line: int = 4) -> LocatedFinding:
        return LocatedFinding(
            code=code,
            severity=severity,
            enforcement="hard" if severity == "deny" else "advisory",
            subject="payments",
            message=f"what {code} says of this stack is a sentence that needs more than one line of 80 columns",
            fix=f"do what {code} asks for",
            path=("metadata", "name"),
            waiver=None,
            override=None,
            effective_on=None,
            location=Location(file="stacks/payments.yaml", line=line, column=9),
        )

    return make


@pytest.fixture
def result() -> MakeResult:
    def make(
        name: str,
        outcome: Outcome = "allow",
        findings: Sequence[LocatedFinding] = (),
        error: ErrorReport | None = None,
    ) -> Result:
        return Result(
            stack=StackName(name=name, version="1.0.0"),
            source=Source(kind="local", uri=f"stacks/{name}.yaml"),
            outcome=outcome,
            decision_id=f"id-of-{name}",
            authority="project",
            environments=(),
            hypothetical=False,
            bundles={"flowyml": "r1"},
            evaluator=None,
            findings=tuple(findings),
            images=(),
            error=error,
        )

    return make


@pytest.fixture
def timeout() -> Callable[[], ErrorReport]:
    return lambda: ErrorReport(code="opa_deadline_exceeded", message="OPA took longer than 2s", advice="raise it")
