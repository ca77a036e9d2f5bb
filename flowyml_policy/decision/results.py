"""From a judgement, an invalid definition or an error to the Result that people hear and the record that is kept.

Rules:
- No I/O and no clock. Three ways in, one shape out; an error is never turned into anything but `error`.
- An invalid definition is denied without asking OPA: its findings are `definition.*`, hard, and not waivable.
- Findings and errors may quote what an author or a rule wrote. They are masked as they are made here, so that screens
  and the audit read the same.
- What UTF-8 cannot hold is written out with them, and never keeps an answer from being recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple
from uuid import uuid4

from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.definitions import DefinitionInvalid
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.mask.findings import hard_denial, masked_decision, masked_location
from flowyml_policy.mask.policy_input import masked_source
from flowyml_policy.mask.reports import error_report
from flowyml_policy.mask.text import encodable, mask
from flowyml_policy.records.decision import Decision, Finding, Waivers
from flowyml_policy.records.policy_input import Actor, PolicyInput, RunFacts, Source
from flowyml_policy.records.record import Authority, Location, Operation
from flowyml_policy.records.result import (
    DecisionRecord,
    ErrorReport,
    Evaluation,
    LocatedFinding,
    Result,
    StackName,
    judged_images,
)

if TYPE_CHECKING:
    from flowyml_policy.images.inspection import Told
    from flowyml_policy.images.scans import ScanReports
    from flowyml_policy.settings.policy_section import Enforce
    from flowyml_policy.settings.settings import Settings

DEFINITION_RULE = "definition"
"""The name that stands in `rules` of a decision that was made without OPA."""


class Call(NamedTuple):
    """What is the same for every stack of one call: its kind, its instant, who asks, by whose settings.

    `scans` are reports of scanned images; `told` is called while images are examined. `run` is what a run of the stack
    asks for.
    """

    operation: Operation
    evaluated_at: str
    actor: Actor
    authority: Authority
    environment: str | None = None
    scans: ScanReports | None = None
    told: Told | None = None
    run: RunFacts | None = None


def judged(
    call: Call, definition: StackDefinition, document: PolicyInput, decision: Decision, evaluation: Evaluation
) -> DecisionRecord:
    """The answer that OPA gave, each finding with its place in the file."""
    masked = masked_decision(decision)
    result = Result(
        stack=StackName(name=document.stack.name, version=document.stack.version),
        source=document.source,
        outcome="allow" if masked.allowed else "deny",
        decision_id=str(uuid4()),
        authority=call.authority,
        environments=document.environments,
        hypothetical=document.hypothetical,
        bundles=evaluation.bundles,
        evaluator=evaluation.evaluator,
        findings=_located(decision, masked, definition, document.source),
        images=document.images,
        judged_images=judged_images(document.images),
        error=None,
    )
    record = _record(call, result, document=document, decision=masked, duration_ns=evaluation.duration_ns)
    return record._replace(remote=evaluation.remote, copies=evaluation.copies)


def invalid(call: Call, error: DefinitionInvalid, source: Source) -> DecisionRecord:
    """The denial of a document that is no definition, made without OPA."""
    findings = tuple(
        hard_denial(
            problem.code,
            subject=error.stack_name or source.uri,
            message=problem.message,
            fix=problem.fix,
            path=problem.path,
            location=problem.location,
        )
        for problem in error.problems
    )
    name = _named(error.stack_name, error.stack_version)
    result = _without_judgement(call, name, source, "deny", findings=findings)
    decision = Decision(
        schema_version=1,
        allow=False,
        findings=tuple(_unlocated(finding) for finding in findings),
        waivers=Waivers(applied=(), expired=()),
        rules=(DEFINITION_RULE,),
    )
    return _record(call, result, decision=decision)


def undecided(
    call: Call,
    error: FlowymlPolicyError,
    source: Source,
    *,
    definition: StackDefinition | None = None,
    document: PolicyInput | None = None,
) -> DecisionRecord:
    """No decision, and why. What was to be judged is kept where it came that far."""
    metadata = definition.metadata if definition else None
    name = _named(metadata.name, metadata.version) if metadata else _named(None, None)
    result = _without_judgement(call, name, source, "error", error=error_report(error))
    if document is not None:
        images = document.images
        known = {"environments": document.environments, "images": images, "judged_images": judged_images(images)}
        result = result.model_copy(update={**known, "hypothetical": document.hypothetical})
    return _record(call, result, document=document, cause=error)


def unrecorded(record: DecisionRecord, error: FlowymlPolicyError) -> DecisionRecord:
    """`record`, which could not be recorded: it becomes undecided, whatever it was, and names no decision."""
    result = record.result.model_copy(
        update={
            "outcome": "error",
            "decision_id": None,
            "findings": (),
            "bundles": {},
            "evaluator": None,
            "error": error_report(error),
        }
    )
    return record._replace(result=result, decision=None, cause=error)


def enforcement_of(result: Result, settings: Settings) -> Enforce:
    """What `result`, which allows nothing, does to its run by `settings`.

    Where it never came to be judged nobody knows all environments of the stack, and each of them counts.
    """
    return settings.enforcement(settings.environments if result.evaluator is None else result.environments)


def _without_judgement(
    call: Call,
    name: StackName,
    source: Source,
    outcome: Literal["deny", "error"],
    *,
    findings: tuple[LocatedFinding, ...] = (),
    error: ErrorReport | None = None,
) -> Result:
    return Result(
        stack=name,
        source=masked_source(source),
        outcome=outcome,
        decision_id=str(uuid4()),
        authority=call.authority,
        environments=(call.environment,) if call.environment else (),
        hypothetical=False,
        bundles={},
        evaluator=None,
        findings=findings,
        images=(),
        error=error,
    )


def _record(
    call: Call,
    result: Result,
    *,
    document: PolicyInput | None = None,
    decision: Decision | None = None,
    duration_ns: int = 0,
    cause: FlowymlPolicyError | None = None,
) -> DecisionRecord:
    if result.decision_id is None:
        raise ValueError("an answer that is to be recorded needs a decision id")
    return DecisionRecord(
        decision_id=result.decision_id,
        at=call.evaluated_at,
        operation=call.operation,
        actor=encodable(call.actor.name),
        result=result,
        input=_encoded(document) if document else None,
        decision=decision,
        definition_digest=document.stack.definition_digest if document else None,
        duration_ns=duration_ns,
        cause=cause,
    )


def _encoded(document: PolicyInput) -> bytes | None:
    """The bytes of `document`, None where it cannot be serialised: then it was not judged either."""
    try:
        return document.encoded
    except ValueError:
        return None


def _located(
    judged: Decision, masked: Decision, definition: StackDefinition, source: Source
) -> tuple[LocatedFinding, ...]:
    """The findings of `masked`, each at the place that its path led to before it was masked.

    `source` is masked: a file that is called like it has no secret in its name.
    """
    hidden = definition.file != source.uri
    findings = []
    for original, finding in zip(judged.findings, masked.findings, strict=True):
        location = None if original.path[:1] == ("run",) else definition.location(original.path)
        findings.append(_at(finding, masked_location(location) if hidden else location))
    return tuple(findings)


def _at(finding: Finding, location: Location | None) -> LocatedFinding:
    return LocatedFinding.model_construct(**dict(finding), location=location)


def _unlocated(finding: LocatedFinding) -> Finding:
    return Finding(**finding.model_dump(exclude={"location"}))


def _named(name: str | None, version: str | None) -> StackName:
    return StackName(name=None if name is None else mask(name), version=None if version is None else mask(version))
