"""Secrets in what was found: a rule may quote what it read elsewhere, and a key of a path may be one.

One look at all texts together decides whether any of them is taken apart, which is next to never.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flowyml_policy.mask.text import holds_secret
from flowyml_policy.mask.value import mask_value
from flowyml_policy.records.decision import Decision, Finding
from flowyml_policy.records.result import LocatedFinding


def texts_of(findings: Iterable[Finding]) -> Iterator[str]:
    """Every text of `findings` that a rule or an author had a say in, but for the name of a file."""
    for finding in findings:
        yield from (finding.code, finding.subject, finding.message, finding.fix)
        yield from (key for key in finding.path if isinstance(key, str))
        if finding.waiver is not None:
            yield finding.waiver
        if finding.override is not None:
            yield from (finding.override.actor, finding.override.reason)


def masked_finding(finding: LocatedFinding) -> LocatedFinding:
    """`finding` without secrets, in its path and the name of its file too."""
    return LocatedFinding.model_validate(mask_value(finding.model_dump())[0], strict=False)


def masked_decision(decision: Decision) -> Decision:
    """`decision` without secrets: the very same one where there are none."""
    waived = (*decision.waivers.applied, *decision.waivers.expired)
    texts = (*texts_of(decision.findings), *(text for one in waived for text in (one.code, one.id, one.subject)))
    if not holds_secret("\n".join((*texts, *decision.rules))):
        return decision
    return Decision.model_validate(mask_value(decision.model_dump())[0], strict=False)
