"""Events of the audit's journal, typed, and the holder of a lock that they name.

Each part of the program adds its own type by subclassing `Event`; a type that this version does not know is
read as a plain `Event`, so that an older reader loses nothing.
"""

from typing import ClassVar

from pydantic import Field

from flowyml_policy.records.record import Json, Record, Sha256


class NewEvent(Record):
    """What is to be appended to the journal. `type` is the TYPE of its class, `at` an RFC 3339 instant in UTC.

    `id` is given only where it must be known before; else the journal makes one.
    """

    id: str | None = None
    type: str = Field(min_length=1)
    at: str
    actor: str
    stack_name: str | None = None
    decision_id: str | None = None
    payload: dict[str, Json] = Field(default_factory=dict)


class Event(Record):
    """One row of the journal. `at` is an RFC 3339 instant in UTC; the hashes are 64 lower-case hex digits.

    `hash` covers `prev_hash` and every other field, so editing one row breaks every later one.
    """

    TYPE: ClassVar[str] = ""

    seq: int
    id: str
    at: str
    type: str
    stack_name: str | None
    decision_id: str | None
    actor: str
    payload: dict[str, Json]
    prev_hash: str
    hash: str


class PolicyChecked(Event):
    """Policy was asked about a stack. The payload names the outcome and the digests of the stored decision."""

    TYPE = "PolicyChecked"

    @property
    def outcome(self) -> str:
        """`allow`, `deny` or `error`."""
        return str(self.payload.get("outcome", "error"))

    @property
    def decision_digest(self) -> Sha256 | None:
        digest = self.payload.get("decision_sha256")
        return None if digest is None else str(digest)


class StackValidated(Event):
    """A stack went through `validate`."""

    TYPE = "StackValidated"


class RegistryEvent(Event):
    """What became of a version in a registry. The payload names the version, its digest and the registry."""

    @property
    def version(self) -> str | None:
        return _text(self, "version")

    @property
    def definition_digest(self) -> Sha256 | None:
        return _text(self, "definition_digest")

    @property
    def registry(self) -> str | None:
        """Which registry: its address, or the path of its file."""
        return _text(self, "registry")

    @property
    def request(self) -> str | None:
        """The idempotency key of the request, where a server made the change for a client."""
        return _text(self, "request")


class StackApplied(RegistryEvent):
    """A stack was registered after an allow."""

    TYPE = "StackApplied"

    @property
    def source(self) -> str | None:
        """The URI that the definition was read from."""
        return _text(self, "source")


class RetirementEvent(RegistryEvent):
    """How far the retirement of a version came. The payload has the reason too."""

    @property
    def reason(self) -> str | None:
        """What whoever retired it said of it."""
        return _text(self, "reason")


class StackRetiring(RetirementEvent):
    """A registry that is not in the audit's file is about to be asked to retire a version; StackRetired says it did."""

    TYPE = "StackRetiring"


class StackRetired(RetirementEvent):
    """A registered version was retired."""

    TYPE = "StackRetired"


class LockEvent(Event):
    """What became of a stack's lock. The payload names the process that holds or held it, and its host."""

    @property
    def pid(self) -> int | None:
        return _number(self, "pid")

    @property
    def host(self) -> str | None:
        return _text(self, "host")


class StackLocked(LockEvent):
    """A process took the lock of a stack."""

    TYPE = "StackLocked"


class StackUnlocked(LockEvent):
    """The holder of a stack's lock gave it back. A holder that died leaves no such event: the system released it."""

    TYPE = "StackUnlocked"

    @property
    def held_ms(self) -> int | None:
        """For how many milliseconds it was held."""
        return _number(self, "held_ms")


class BundleTagForced(Event):
    """A tag of a bundle was about to go back in sequence, because `--force` said so: it never goes unrecorded.

    The payload has the reference, and digest, revision and sequence of both: of the old, where it is a bundle.
    """

    TYPE = "BundleTagForced"

    @property
    def reference(self) -> str | None:
        """`registry/repository:tag`."""
        return _text(self, "reference")

    @property
    def sequence(self) -> int | None:
        """That of the bundle that the tag was to name."""
        return _number(self, "sequence")

    @property
    def old_sequence(self) -> int | None:
        """That of what the tag named before."""
        return _number(self, "old_sequence")


class BundleActivated(Event):
    """A revision of a remote bundle judged for the first time, by the decision that the event names."""

    TYPE = "BundleActivated"

    @property
    def bundle(self) -> str | None:
        """The name of the bundle."""
        return _text(self, "bundle")

    @property
    def revision(self) -> str | None:
        return _text(self, "revision")

    @property
    def previous(self) -> str | None:
        """The revision that judged before; None for the first that the journal knows of."""
        return _text(self, "previous")

    @property
    def copied_at(self) -> str | None:
        """Where a kept copy judged, the instant when it was last known to be the newest."""
        return _text(self, "copied_at")


class DecisionLogReceived(Event):
    """A server took decision logs. The payload has how many rows, their first and last number, and their digest."""

    TYPE = "DecisionLogReceived"

    @property
    def first(self) -> int | None:
        """The number of the first row."""
        return _number(self, "first")

    @property
    def last(self) -> int | None:
        """The number of the last row."""
        return _number(self, "last")

    @property
    def rows_digest(self) -> str | None:
        """The digest of the digests of the rows."""
        return _text(self, "rows_sha256")


class RunEvent(Event):
    """What became of a pipeline's run. The event names the decision; the payload the run."""

    @property
    def run_id(self) -> str | None:
        return _text(self, "run_id")

    @property
    def pipeline(self) -> str | None:
        return _text(self, "pipeline")


class PipelineStarted(RunEvent):
    """A pipeline was about to start, by the decision that the event names. It never starts before this is recorded."""

    TYPE = "PipelineStarted"

    @property
    def orchestrator(self) -> str | None:
        """The full name of the class that runs it."""
        return _text(self, "orchestrator")


class PipelineBlocked(RunEvent):
    """A pipeline was kept from starting. The payload has the codes that denied, or that of the error."""

    TYPE = "PipelineBlocked"

    @property
    def outcome(self) -> str:
        """`deny` or `error`."""
        return _text(self, "outcome") or "error"


class WouldBlock(PipelineBlocked):
    """A pipeline was let go although it was denied or undecided, because `policy.enforce` is observe."""

    TYPE = "WouldBlock"


class GuardOff(Event):
    """Runs of a process are not judged. The payload says why: `policy.enforce`, or `disable()`."""

    TYPE = "GuardOff"

    @property
    def why(self) -> str | None:
        return _text(self, "why")


_TYPES: dict[str, type[Event]] = {
    kind.TYPE: kind
    for kind in (
        PolicyChecked,
        StackValidated,
        StackApplied,
        StackRetiring,
        StackRetired,
        StackLocked,
        StackUnlocked,
        BundleTagForced,
        BundleActivated,
        DecisionLogReceived,
        PipelineStarted,
        PipelineBlocked,
        WouldBlock,
        GuardOff,
    )
}


def typed_event(type_name: str) -> type[Event]:
    """The class for a row's `type`; `Event` itself for one that this version does not know."""
    return _TYPES.get(type_name, Event)


def _text(event: Event, key: str) -> str | None:
    found = event.payload.get(key)
    return found if isinstance(found, str) else None


def _number(event: Event, key: str) -> int | None:
    found = event.payload.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


class LockHolder(Record):
    """The process that holds a stack's lock. `since` is an RFC 3339 instant in UTC.

    `started` is when the system started the process, in its own units: it tells the process from a later one that
    got the same number. None where the system does not say.
    """

    stack: str
    pid: int = Field(gt=0)
    host: str
    user: str
    since: str
    started: str | None = None

    def __str__(self) -> str:
        return f"pid {self.pid} on host {self.host}, user {self.user}, since {self.since}"
