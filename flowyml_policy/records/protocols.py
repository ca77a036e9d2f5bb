"""What packages need of each other without importing each other; they are handed it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from flowyml_policy.records.decision import Decision
    from flowyml_policy.records.events import NewEvent
    from flowyml_policy.records.policy_input import ImageFacts, PolicyInput
    from flowyml_policy.records.record import Json
    from flowyml_policy.records.registry import LastDecision, ListedStack, NewStack, RegisteredStack, Registration
    from flowyml_policy.records.result import DecisionRecord, Evaluation, GlobProblem


class ReportableError(Protocol):
    """An error that can become an ErrorReport: every FlowymlPolicyError."""

    @property
    def code(self) -> str: ...

    @property
    def message(self) -> str: ...

    @property
    def advice(self) -> str: ...


class Evaluator(Protocol):
    """Judges a PolicyInput. Every call raises only OpaError, and never answers with a decision it could not check."""

    def judge(self, document: PolicyInput) -> tuple[Decision, Evaluation]:
        """The decision, and how it came about."""

    def evaluate(self, document: PolicyInput) -> Decision:
        """The decision alone."""

    def query(self, path: str, document: Json) -> Json:
        """The value at `path` (`flowyml/main/catalogue`) for `document`: for side questions, never for a decision."""

    def check_globs(self, patterns: Sequence[str]) -> tuple[GlobProblem, ...]:
        """Those of `patterns` that `glob.match` with delimiters null refuses."""

    def close(self) -> None:
        """Release everything; later calls raise OpaUnavailable. Closing twice is fine."""


class Recorder(Protocol):
    """Puts decisions on disk. When `record` returns they are durable; it raises only AuditError."""

    def record(self, records: Sequence[DecisionRecord]) -> None:
        """Append `records` in order, all or none."""


class EventRecorder(Protocol):
    """Puts events without a decision on disk. When a call returns they are durable; it raises only AuditError."""

    def append_events(self, events: Sequence[NewEvent]) -> None:
        """Append `events` in order, all or none."""


class SequenceStore(Protocol):
    """Knows the highest sequence that was seen of each signed bundle, by where it comes from.

    It raises only OpaUnavailable, where it can neither read nor keep them.
    """

    def known(self) -> Mapping[str, int]:
        """The highest sequence that was seen of each bundle, by its origin."""

    def advance(self, origin: str, sequence: int) -> int:
        """Keep `sequence` where it is higher than what is kept; answer the highest. Durable when this returns."""


class LastDecisions(Protocol):
    """Knows what was last decided. It raises only FlowymlPolicyError."""

    def last_decisions(self, digests: Iterable[str]) -> Mapping[str, LastDecision]:
        """The newest decision about each definition of `digests` that was judged."""


class StackRegistry(Protocol):
    """Keeps versions of stacks under their names; what stands under a version never changes.

    `wanted` is a version or a range (`2.1.0`, `^2.1`, `~2.1.0`); None the highest release. Every call raises only
    RegistryError.
    """

    @property
    def uri(self) -> str:
        """Its address or file, as people are told of it; without credentials."""

    def get(self, name: str, wanted: str | None = None, *, retired: bool = False) -> RegisteredStack:
        """The highest version of `name` that is wanted.

        Retired versions are never chosen by a range or by no wish; one that is asked for exactly raises VersionRetired,
        unless `retired` says that its history is what is wanted. Raises StackUnknown or VersionUnknown for none.
        """

    def versions(self, name: str) -> tuple[ListedStack, ...]:
        """Every version of `name`, retired ones too, the highest first. Raises StackUnknown."""

    def list(
        self, *, name: str | None = None, labels: Mapping[str, str] | None = None, all_versions: bool = False
    ) -> tuple[ListedStack, ...]:
        """What is registered, by name, the highest version first.

        One version of each name, the one that its bare name means (where there is none, the highest pre-release), or
        all of them, retired ones too. `name` is a name, in which `*` and `?` stand for any; of the versions so found,
        those that have all of `labels`.
        """

    def put(self, stack: NewStack) -> Registration:
        """Register a version. The same content again is AlreadyThere, and changes nothing.

        Raises VersionTaken where other content stands there, VersionRetired for the same that was retired,
        StackUnregistrable.
        """

    def retire(self, name: str, version: str, *, by: str, at: str, reason: str = "") -> RegisteredStack:
        """Take a version out of use; one that is retired stays as it is. Raises StackUnknown, VersionUnknown."""

    def retire_once(
        self, name: str, version: str, *, by: str, at: str, reason: str, key: str
    ) -> tuple[RegisteredStack, bool | None]:
        """As `retire`, and whether it was the request with this idempotency key that retired it.

        The same may be asked again with the same key. None where the registry cannot tell.
        """


class KeptBytes(Protocol):
    """What was kept under a key: the bytes, and what was noted with them."""

    @property
    def data(self) -> bytes: ...

    @property
    def notes(self) -> Mapping[str, str]: ...


class ContentStore(Protocol):
    """Keeps what was fetched, for as long as it likes. It raises only FlowymlPolicyError."""

    def get(self, *key: str) -> KeptBytes | None:
        """What was put under `key`."""

    def put(self, *key: str, data: bytes, notes: Mapping[str, str] | None = None) -> None:
        """Keep `data` under `key`, in place of what was there."""


class ImageInspector(Protocol):
    """Finds out what an image is. Safe from many threads."""

    def inspect(self, reference: str, platform: str | None = None) -> ImageFacts:
        """What the image is that `reference`, in its normal form, names; of all its platforms, or of one.

        Raises only ImageError. `paths` is empty, and the digest that of what was read.
        """
