"""What one judged stack came to: the shape of `--format json`, and what the audit records of it."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

from pydantic import Field

from flowyml_policy.records.decision import Decision, Finding
from flowyml_policy.records.policy_input import ImageFacts, Source
from flowyml_policy.records.record import Authority, Location, Operation, Record, Sha256

Outcome: TypeAlias = Literal["allow", "deny", "error"]

EXIT_ALLOWED = 0
EXIT_DENIED = 1
EXIT_UNDECIDED = 3


class StackName(Record):
    """Name and version as far as they could be read; null for a document that has none."""

    name: str | None
    version: str | None


class EvaluatorName(Record):
    """Which evaluator judged (`embedded`, `sidecar`), and its OPA's version."""

    name: str
    version: str


class LocatedFinding(Finding):
    """A finding with its place in the file as written; null where no file holds it."""

    location: Location | None


class ErrorReport(Record):
    """Why there is no decision: a stable code, what happened, what to do."""

    code: str
    message: str
    advice: str


class Result(Record):
    """The answer for one stack. `outcome` is `error` wherever policy was not asked or did not answer.

    `bundles` maps each bundle that judged to its revision; `evaluator` is null for a definition that was
    denied before OPA was asked. `file` is null for a stack that is no file. `judged_images` maps each image that was
    examined to what was judged, as `registry/repository@sha256:...`: that is what may run.
    """

    stack: StackName
    source: Source
    outcome: Outcome
    decision_id: str | None
    authority: Authority
    environments: tuple[str, ...]
    hypothetical: bool
    bundles: dict[str, str]
    evaluator: EvaluatorName | None
    findings: tuple[LocatedFinding, ...]
    images: tuple[ImageFacts, ...]
    judged_images: dict[str, str] = Field(default_factory=dict)
    error: ErrorReport | None

    @property
    def allowed(self) -> bool:
        return self.outcome == "allow"

    @property
    def denials(self) -> tuple[LocatedFinding, ...]:
        return tuple(finding for finding in self.findings if finding.denies)

    @property
    def warnings(self) -> tuple[LocatedFinding, ...]:
        return tuple(finding for finding in self.findings if not finding.denies)

    def exit_code(self, *, fail_on_warn: bool = False) -> int:
        """0 allowed, 1 denied (or warned, where that counts), 3 undecided."""
        if self.outcome == "error":
            return EXIT_UNDECIDED
        if self.outcome == "deny" or (fail_on_warn and self.warnings):
            return EXIT_DENIED
        return EXIT_ALLOWED


class Summary(Record):
    """Counts over a run: `warnings` counts findings, the others count stacks."""

    stacks: int = 0
    allowed: int = 0
    denied: int = 0
    errors: int = 0
    warnings: int = 0

    def including(self, results: Iterable[Result]) -> "Summary":
        """These counts with `results` added."""
        counts = self.model_dump()
        names = {"allow": "allowed", "deny": "denied", "error": "errors"}
        for result in results:
            counts["stacks"] += 1
            counts[names[result.outcome]] += 1
            counts["warnings"] += len(result.warnings)
        return Summary(**counts)

    def exit_code(self, *, fail_on_warn: bool = False) -> int:
        """The worst of all: 3 when one is undecided (or there is none at all), else 1, else 0."""
        if self.errors or not self.stacks:
            return EXIT_UNDECIDED
        if self.denied or (fail_on_warn and self.warnings):
            return EXIT_DENIED
        return EXIT_ALLOWED


def judged_images(images: Iterable[ImageFacts]) -> dict[str, str]:
    """The `judged_images` of a result with `images`."""
    return {image.ref: image.exact for image in images if image.exact is not None}


class DecisionRecord(NamedTuple):
    """One answer as it goes through the engine, and what the audit keeps of it. Everything in it is masked already.

    `at` is an RFC 3339 instant in UTC. `input` is PolicyInput's `encoded`, null for what never came that far.
    `decision` is null wherever none was reached; that of an invalid definition was made without OPA, and its
    result names no evaluator. `duration_ns` is the time the evaluator took. `cause` is the error that left no
    decision, and is not recorded. `remote` and `copies` are those of the Evaluation.
    """

    decision_id: str
    at: str
    operation: Operation
    actor: str
    result: Result
    input: bytes | None
    decision: Decision | None
    definition_digest: Sha256 | None
    duration_ns: int
    cause: Exception | None = None
    remote: Mapping[str, str] = MappingProxyType({})
    copies: Mapping[str, str] = MappingProxyType({})


class Evaluation(NamedTuple):
    """How a decision came about: the revision of each bundle in that very evaluation, who evaluated, and how long.

    `remote` are those of the bundles that a server gives. `copies` are those of them whose kept copy judged, since the
    server could not be reached, with the instant when each was last known to be the newest.
    """

    bundles: dict[str, str]
    evaluator: EvaluatorName
    duration_ns: int
    remote: Mapping[str, str] = MappingProxyType({})
    copies: Mapping[str, str] = MappingProxyType({})


class GlobProblem(Record):
    """A pattern that OPA's `glob.match` refuses, and OPA's reason."""

    pattern: str
    reason: str
