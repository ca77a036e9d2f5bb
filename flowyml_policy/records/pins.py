"""What flowyml.lock pins of a stack, and how resolving asks for it."""

from typing import Protocol

from pydantic import Field

from flowyml_policy.records.policy_input import LockFacts
from flowyml_policy.records.record import Record, Sha256, SourceKind


class StackPin(Record):
    """One stack as it was when it was pinned.

    `name` and `version` are its metadata's. `definition` is the digest of the keys that its author set. `uri` is where
    it was read, from the project's folder for what lies in it; `ref` what was asked for there, `full_ref` which of a
    repository's refs that was (`refs/tags/v1`), `commit` the full commit id that it named. `images` maps each image
    that it names to the digest in the reference; null where there is none.
    """

    name: str
    version: str | None = None
    definition: Sha256
    kind: SourceKind
    uri: str
    ref: str | None = None
    full_ref: str | None = None
    commit: str | None = None
    images: dict[str, Sha256 | None] = Field(default_factory=dict)

    @property
    def is_tag(self) -> bool:
        """Whether a tag was asked for, which is not meant to move."""
        return self.full_ref is not None and self.full_ref.startswith("refs/tags/")


class StackPins(Protocol):
    """The pins of one project, one state of them. Every call raises only LockfileError.

    `reference` is what the settings write: an environment's `stack`, or a key of `stacks:`. A project without a
    lockfile pins nothing. Whoever resolves asks `pin_of` before it fetches, and `require` when it has the
    definition, for an environment with `require_lock`.
    """

    def pin_of(self, reference: str) -> StackPin | None:
        """What `reference` was pinned to; null where it was not. The settings may say something else by now."""

    def require(
        self, *, environment: str, reference: str | None, name: str, definition: str, commit: str | None
    ) -> LockFacts:
        """What is pinned of a stack that is what was pinned: the same definition, from the same commit.

        `name` and `definition` (its digest) are those of what was resolved, `commit` that of where it was read.
        Only the pin of what `environment` runs on counts. Raises StackNotPinned or StackDrifted.
        """

    def pins_at(self, uri: str) -> tuple[StackPin, ...]:
        """The pins of stacks that were read at `uri`, under whatever name."""

    def references_to(self, *, name: str, definition: str) -> tuple[str, ...]:
        """The references that were pinned to a stack of that name or that digest, wherever it was read."""

    def facts(self, *, reference: str | None, name: str, definition: str, commit: str | None) -> LockFacts | None:
        """What is pinned of a stack that is what was pinned under `reference`, or else by its name; see `require`.

        Null where nothing is pinned, or something else: another definition, or another commit than a pin has.
        """
