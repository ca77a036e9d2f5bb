"""From a judgement, an invalid definition or an error to the Result that people hear and the record that is kept.

Rules:
- No I/O and no clock. Three ways in, one shape out; an error is never turned into anything but `error`.
- An invalid definition is denied without asking OPA: its findings are `definition.*`, hard, and not waivable.
- Findings and errors may quote what an author or a rule wrote. They are masked here, before anybody hears or
  records them, so that both read the same.
- What UTF-8 cannot hold never keeps an answer from being told and recorded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple
from uuid import uuid4

from flowyml_policy.decision.normaliser import masked_source
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.definitions import DefinitionInvalid
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.mask.encodable import encodable
from flowyml_policy.mask.findings import masked_decision
from flowyml_policy.mask.text import holds_secret, mask_text
from flowyml_policy.records.decision import Decision, Finding, Waivers
from flowyml_policy.records.policy_input import Actor, PolicyInput, Source
from flowyml_policy.records.record import Location, Operation
from flowyml_policy.records.result import DecisionRecord, ErrorReport, Evaluation, LocatedFinding, Result, StackName

DEFINITION_RULE = "definition"
"""The name that stands in `rules` of a decision that was made without OPA."""


class Call(NamedTuple):
    """What is the same for every stack of one call: its kind, its instant, who asks, by whose settings."""

    operation: Operation
    evaluated_at: str
    actor: Actor
    authority: Literal["project", "platform"]
    environment: str | None = None


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
        error=None,
    )
    return _record(call, result, document=document, decision=masked, duration_ns=evaluation.duration_ns)


def invalid(call: Call, error: DefinitionInvalid, source: Source) -> DecisionRecord:
    """The denial of a document that is no definition, made without OPA."""
    subject = _masked(error.stack_name or source.uri)
    findings = tuple(
        LocatedFinding(
            code=problem.code,
            severity="deny",
            enforcement="hard",
            subject=subject,
            path=tuple(_masked(key) if isinstance(key, str) else key for key in problem.path),
            message=_masked(problem.message),
            fix=_masked(problem.fix),
            waiver=None,
            override=None,
            effective_on=None,
            location=_masked_location(problem.location),
        )
        for problem in error.problems
    )
    name = StackName(name=_masked_or_none(error.stack_name), version=_masked_or_none(error.stack_version))
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
    name = StackName(
        name=_masked_or_none(metadata.name if metadata else None),
        version=_masked_or_none(metadata.version if metadata else None),
    )
    result = _without_judgement(call, name, source, "error", error=_report(error))
    if document is not None:
        known = {"environments": document.environments, "images": document.images}
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
            "error": _report(error),
        }
    )
    return replace(record, result=result, decision=None, cause=error)


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
        actor=call.actor.name,
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
        location = definition.location(original.path)
        findings.append(_at(finding, _masked_location(location) if hidden else location))
    return tuple(findings)


def _at(finding: Finding, location: Location | None) -> LocatedFinding:
    return LocatedFinding.model_construct(**dict(finding), location=location)


def _masked_location(location: Location | None) -> Location | None:
    if location is None or not holds_secret(location.file):
        return location
    return location.model_copy(update={"file": _masked(location.file)})


def _report(error: FlowymlPolicyError) -> ErrorReport:
    return ErrorReport(code=error.code, message=_masked(error.message), advice=_masked(error.advice))


def _unlocated(finding: LocatedFinding) -> Finding:
    return Finding(**finding.model_dump(exclude={"location"}))


def _masked(text: str) -> str:
    return mask_text(encodable(text))[0]


def _masked_or_none(text: str | None) -> str | None:
    return None if text is None else _masked(text)
