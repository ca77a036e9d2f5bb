"""Decision records as the engine makes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.records.decision import Decision, Finding, Waivers
from flowyml_policy.records.policy_input import Source
from flowyml_policy.records.record import Location, Operation
from flowyml_policy.records.result import DecisionRecord, ErrorReport, EvaluatorName, LocatedFinding, Result, StackName

AT = "2026-11-20T10:00:00Z"


def _finding(code: str, severity: str, message: str) -> Finding:
    return Finding.model_validate(
        {
            "code": code,
            "severity": severity,
            "enforcement": "hard" if severity == "deny" else "advisory",
            "subject": "myregistry.azurecr.io/flowyml:latest",
            "path": ("spec", "runtime", "docker_image"),
            "message": message,
            "fix": "name an image of an approved registry",
            "waiver": None,
            "override": None,
            "effective_on": None,
        }
    )


def make_record(
    number: int = 1,
    *,
    name: str | None = "prod-gpu-large",
    outcome: str = "deny",
    operation: Operation = "validate",
    message: str = "registry docker.io is not approved",
    uri: str = "stacks/prod.yaml",
    error: str | None = None,
) -> DecisionRecord:
    """A record as PolicyEngine hands it over; with `error`, an undecided one."""
    findings = {
        "allow": (_finding("images_inspected.off", "warn", "image was not inspected"),),
        "deny": (
            _finding("images_registry.not_allowed", "deny", message),
            _finding("images_inspected.off", "warn", "image was not inspected"),
        ),
        "error": (),
    }[outcome]
    decision = Decision(
        schema_version=1,
        allow=not any(finding.denies for finding in findings),
        findings=findings,
        waivers=Waivers(applied=(), expired=()),
        rules=("images_inspected", "images_registry"),
    )
    location = Location(file=uri, line=14, column=17)
    digest = "sha256:" + f"{number:064x}"
    decision_id = f"00000000-0000-4000-8000-{number:012x}"
    result = Result.model_validate(
        {
            "stack": StackName(name=name, version="2.1.0"),
            "source": Source(kind="local", uri=uri, digest=digest),
            "outcome": outcome,
            "decision_id": decision_id,
            "authority": "project",
            "environments": ("production",),
            "hypothetical": False,
            "bundles": {"flowyml": "r1"},
            "evaluator": EvaluatorName(name="embedded", version="1.22.4"),
            "findings": tuple(
                LocatedFinding.model_validate({**dict(finding), "location": location}) for finding in findings
            ),
            "images": (),
            "error": None if error is None else ErrorReport(code="opa_error", message=error, advice="try again"),
        }
    )
    return DecisionRecord(
        decision_id=decision_id,
        at=AT,
        operation=operation,
        actor="ada",
        result=result,
        input=json.dumps({"stack": {"name": name}, "images": [], "number": number}).encode(),
        decision=None if outcome == "error" else decision,
        definition_digest=digest,
        duration_ns=210_000,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.db"


@pytest.fixture(scope="session")
def make() -> Callable[..., DecisionRecord]:
    return make_record


@pytest.fixture
def record() -> Callable[..., DecisionRecord]:
    return make_record


@pytest.fixture
def store(path: Path) -> AuditStore:
    return AuditStore(path)
