"""How a stack was resolved, told step by step: what was looked at, what was found, and why it won.

What is told is masked: whoever reads it need not be trusted with what stood in a variable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.mask.text import mask
from flowyml_policy.records.html import BLACK, report
from flowyml_policy.records.policy_input import LockFacts
from flowyml_policy.records.provenance import Provenance, StepName
from flowyml_policy.references.stack import without_secrets

Verdict: TypeAlias = Literal["chosen", "not set", "not asked", "broken"]

STEPS: Final[tuple[StepName, ...]] = get_args(StepName)

_STEP_WORDS: Final[dict[StepName, str]] = {
    "argument": "by the argument",
    "env": "by its environment",
    "builtin": "since nothing names another",
}


@dataclass(frozen=True)
class ResolvedStack:
    """The one definition that is meant, and how it came to be that one.

    `reference` is what named it, `step` where that stood. `environment` is the one that was asked for, `lock` what
    flowyml.lock pins of the stack.
    """

    definition: StackDefinition
    reference: str
    step: StepName
    environment: str | None
    provenance: Provenance
    lock: LockFacts | None = None

    @property
    def title(self) -> str:
        """The stack's name, with its version where it has one."""
        metadata = self.definition.metadata
        return f"{metadata.name} {metadata.version}" if metadata.version else metadata.name

    def facts(self) -> Iterator[tuple[str, str]]:
        """Where it came from, in words: what each fact is called, and the fact, masked."""
        provenance, lock = self.provenance, self.lock
        for name, value in (
            ("named", f"{self.reference}, {self._step_in_words()}"),
            ("environment", self.environment),
            ("source", f"{provenance.kind} {provenance.uri}"),
            ("ref", provenance.ref),
            ("commit", provenance.commit),
            ("path", provenance.path),
            ("bytes", provenance.digest),
            ("definition", self.definition.digest),
            ("pinned", "yes" if provenance.pinned else "no: it may change under this name"),
            ("fetched", _instant(provenance.fetched_at)),
            ("locked", None if lock is None else lock.definition_digest),
        ):
            if value is not None:
                yield name, mask(value)

    def _step_in_words(self) -> str:
        return _STEP_WORDS.get(self.step, f"by {self.step}")

    def _repr_html_(self) -> str:
        """What a notebook shows: the stack, and where it came from."""
        return report(mask(self.title), BLACK, ("", ""), self.facts())


def _instant(at: str | None) -> str | None:
    return None if at is None else f"{at[:10]} {at[11:19]} UTC"


@dataclass(frozen=True)
class Step:
    """One step of the chain: where it looked, what stood there, what came of it, and why."""

    name: StepName
    looked_at: str
    found: str | None
    verdict: Verdict
    why: str


@dataclass(frozen=True)
class Place:
    """One place where the reference was looked up, and what was there."""

    where: str
    found: str


@dataclass(frozen=True)
class Explanation:
    """Every step in the order in which they are asked, and every place in which the reference was looked up.

    `environment` says what the environment that applies demands, `resolved` what came of it all; or `error` why
    nothing did.
    """

    steps: tuple[Step, ...]
    places: tuple[Place, ...]
    environment: str | None
    resolved: ResolvedStack | None
    error: FlowymlPolicyError | None


@dataclass
class Trail:
    """What was seen so far, while a stack is being resolved. `asked_by` is what a caller calls the environment by."""

    asked_by: str = "env="
    steps: list[Step] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    environment: str | None = None

    def step(self, name: StepName, looked_at: str, found: str | None, *, verdict: Verdict, why: str) -> None:
        shown = None if found is None else without_secrets(found)
        self.steps.append(Step(name, mask(looked_at), shown, verdict, mask(why)))

    def place(self, where: str, found: str) -> None:
        self.places.append(Place(mask(where), mask(found)))

    def explained(self, resolved: ResolvedStack | None = None, error: FlowymlPolicyError | None = None) -> Explanation:
        """The whole of it; the step that was chosen is broken where nothing could be resolved by it."""
        steps = list(self.steps)
        if error is not None and steps and steps[-1].verdict == "chosen":
            last = steps[-1]
            steps[-1] = Step(last.name, last.looked_at, last.found, "broken", "it is set, so no later step is asked")
        steps += [Step(name, "", None, "not asked", "an earlier step decided") for name in STEPS[len(steps) :]]
        demanded = None if self.environment is None else mask(self.environment)
        return Explanation(tuple(steps), tuple(self.places), demanded, resolved, error)
