"""Findings and decisions without secrets: a rule may quote what it read elsewhere, and a key of a path may be one.

One look at all texts together decides whether any of them is taken apart, which is next to never.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flowyml_policy.mask.text import are_clean, is_clean, mask
from flowyml_policy.mask.value import mask_value
from flowyml_policy.records.decision import Decision, Finding
from flowyml_policy.records.record import KeyPath, Location
from flowyml_policy.records.result import LocatedFinding


def texts_of(decision: Decision) -> Iterator[str]:
    """Every text of `decision` that a rule or an author had a say in."""
    yield from texts_of_findings(decision.findings)
    for waived in (*decision.waivers.applied, *decision.waivers.expired):
        yield from (waived.code, waived.id, waived.subject)
    yield from decision.rules


def texts_of_findings(findings: Iterable[Finding]) -> Iterator[str]:
    """Every text of `findings` that a rule or an author had a say in, but for the name of a file."""
    for finding in findings:
        yield from (finding.code, finding.subject, finding.message, finding.fix)
        yield from (key for key in finding.path if isinstance(key, str))
        if finding.waiver is not None:
            yield finding.waiver
        if finding.override is not None:
            yield from (finding.override.actor, finding.override.reason)


def masked_decision(decision: Decision) -> Decision:
    """Return `decision` without secrets: the very same one where there are none."""
    if are_clean(texts_of(decision)):
        return decision
    return Decision.model_validate(mask_value(decision.model_dump()), strict=False)


def masked_location(location: Location | None) -> Location | None:
    """Return `location` without secrets in the name of its file."""
    if location is None or is_clean(location.file):
        return location
    return location.model_copy(update={"file": mask(location.file)})


def hard_denial(
    code: str, *, subject: str, message: str, fix: str, path: KeyPath, location: Location | None
) -> LocatedFinding:
    """Return the finding of a fault that no waiver lifts, masked."""
    return LocatedFinding(
        code=code,
        severity="deny",
        enforcement="hard",
        subject=mask(subject),
        path=tuple(mask(key) if isinstance(key, str) else key for key in path),
        message=mask(message),
        fix=mask(fix),
        waiver=None,
        override=None,
        effective_on=None,
        location=masked_location(location),
    )
