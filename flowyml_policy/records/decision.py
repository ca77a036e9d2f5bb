"""The answer of the policy, exactly as the Rego entry point `data.flowyml.main.decision` gives it.

Every key is required and no other is accepted: an answer that is undefined, incomplete or oddly shaped is
an error of the evaluator, never an allow. `allow` must equal "no finding denies", and `rules` must not be
empty, so that a bundle without rules cannot allow.
"""

from typing import Literal, TypeAlias

from pydantic import model_validator
from typing_extensions import Self

from flowyml_policy.records.html import GREEN, RED, report
from flowyml_policy.records.record import KeyPath, Record

Severity: TypeAlias = Literal["deny", "warn"]
"""What a finding does to this decision."""

Enforcement: TypeAlias = Literal["advisory", "soft", "hard", "disabled"]
"""The level of a code: advisory warns, soft can be overridden, hard can only be waived, disabled is off."""


class Override(Record):
    """Who let a denial pass. `break_glass` overrides cover hard findings too."""

    actor: str
    reason: str
    break_glass: bool


class Finding(Record):
    """One thing that a rule found. `path` leads into the definition, in schema A's terms; empty means all of it.

    `waiver` is the id of the waiver that excuses it; `effective_on` is an RFC 3339 instant before which the
    finding only warns.
    """

    code: str
    severity: Severity
    enforcement: Enforcement
    subject: str
    path: KeyPath
    message: str
    fix: str
    waiver: str | None
    override: Override | None
    effective_on: str | None

    @property
    def denies(self) -> bool:
        return self.severity == "deny"


class Waived(Record):
    """A waiver met by a finding: the code, the waiver's id, and the subject it covers."""

    code: str
    id: str
    subject: str


class Waivers(Record):
    """Waivers that excused a finding, and those that would have, had they not expired."""

    applied: tuple[Waived, ...]
    expired: tuple[Waived, ...]


class Decision(Record):
    """An explicit allow or deny, with everything that was found and the names of the rules that looked."""

    schema_version: Literal[1]
    allow: bool
    findings: tuple[Finding, ...]
    waivers: Waivers
    rules: tuple[str, ...]

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if not self.rules:
            raise ValueError("no rule was evaluated")
        if self.allow == any(finding.denies for finding in self.findings):
            raise ValueError("allow contradicts the findings")
        return self

    @property
    def allowed(self) -> bool:
        return self.allow

    @property
    def denials(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.denies)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.denies)

    def _repr_html_(self) -> str:
        """What a notebook shows: the outcome, and each finding with what puts it right, denials first."""
        headline = "allowed" if self.allow else "DENIED"
        rows = [
            ("DENIED" if one.denies else "warning", one.code, one.subject, one.message, one.fix)
            for one in (*self.denials, *self.warnings)
        ]
        return report(headline, GREEN if self.allow else RED, ("", "code", "subject", "what is wrong", "fix"), rows)


class RuleLink(Record):
    """Where to read more: an address and what is found there."""

    ref: str
    description: str = ""


class CatalogueEntry(Record):
    """One code. `enforcement` is the level in force: the author's, the company's, or the project's stricter one.

    `needs` says what must be known for it to judge: `facts`, what an inspection finds in an image.
    """

    code: str
    root: Literal["flowyml", "org", "project"]
    rule: str
    title: str
    description: str
    why: str
    links: tuple[RuleLink, ...]
    enforcement: Enforcement
    needs: Literal["facts"] | None = None
