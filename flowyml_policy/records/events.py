"""Events of the audit's journal, typed.

Each part of the program adds its own type by subclassing `Event`; a type that this version does not know is
read as a plain `Event`, so that an older reader loses nothing.
"""

from typing import ClassVar

from flowyml_policy.records.record import Json, Record, Sha256


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


class StackApplied(Event):
    """A stack was registered after an allow."""

    TYPE = "StackApplied"


_TYPES: dict[str, type[Event]] = {kind.TYPE: kind for kind in (PolicyChecked, StackValidated, StackApplied)}


def typed_event(type_name: str) -> type[Event]:
    """The class for a row's `type`; `Event` itself for one that this version does not know."""
    return _TYPES.get(type_name, Event)
