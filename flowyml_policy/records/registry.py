"""Registered stacks, as every registry keeps them and as commands show them."""

from typing import Literal, TypeAlias

from pydantic import Field

from flowyml_policy.records.policy_input import Source
from flowyml_policy.records.record import Json, Record, Sha256
from flowyml_policy.records.result import Outcome


class LastDecision(Record):
    """The newest decision about a definition. `at` is an RFC 3339 instant in UTC."""

    outcome: Outcome
    at: str
    decision_id: str


class Retirement(Record):
    """That a version may no longer be chosen: since when, by whom, and what was said of it."""

    at: str
    by: str
    reason: str = ""


class NewStack(Record):
    """A definition that is to be registered. `digest` is that of the canonical JSON of `document`.

    `document` holds the keys that the author set, in schema A's spelling. `version` is a semantic version.
    `applied_at` is an RFC 3339 instant in UTC, `decision_id` that of the allow by which it may be registered.
    """

    name: str
    version: str
    digest: Sha256
    document: dict[str, Json]
    labels: dict[str, str] = Field(default_factory=dict)
    source: Source
    applied_by: str
    applied_at: str
    decision_id: str | None = None


class RegisteredStack(NewStack):
    """A version of a stack in a registry: what was registered, never changed since, and whether it was retired."""

    retired: Retirement | None = None

    @property
    def is_retired(self) -> bool:
        return self.retired is not None

    @property
    def retired_at(self) -> str | None:
        return None if self.retired is None else self.retired.at


class ListedStack(Record):
    """A registered version without its document. `last_decision` is null where none is known."""

    name: str
    version: str
    digest: Sha256
    labels: dict[str, str]
    source: Source
    applied_by: str
    applied_at: str
    decision_id: str | None = None
    retired: Retirement | None = None
    last_decision: LastDecision | None = None

    @property
    def retired_at(self) -> str | None:
        return None if self.retired is None else self.retired.at


class Registered(Record):
    """The answer to a registration: the version is there, and was not before."""

    kind: Literal["registered"] = "registered"
    stack: RegisteredStack


class AlreadyThere(Record):
    """The answer to a registration: the version was there with the same content, and nothing was changed."""

    kind: Literal["already_there"] = "already_there"
    stack: RegisteredStack


Registration: TypeAlias = Registered | AlreadyThere
