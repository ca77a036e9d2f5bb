"""Decisions that a server was told of by its clients."""

from flowyml_policy.records.record import Record
from flowyml_policy.records.result import Outcome, StackName


class ReceivedDecision(Record):
    """One event of a client's decision log, as a server keeps it. `event` is all of it, as JSON, masked.

    `token` is the name of the token that was shown, `client` a name of the labels. Instants are RFC 3339, `at` as the
    client wrote it. `outcome` is null for an answer that says neither allow nor deny. `conflict`: an event with the
    same id and other content was here before. `note` is what is odd about the event.
    """

    number: int
    token: str
    received_at: str
    partition: str | None
    client: str
    client_id: str | None
    decision_id: str | None
    batch_decision_id: str | None
    at: str | None
    path: str | None
    bundles: dict[str, str]
    outcome: Outcome | None
    stack: StackName
    error: str | None
    conflict: bool
    note: str | None
    event: str
