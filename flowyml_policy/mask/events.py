"""Events for the audit's journal, without secrets."""

from __future__ import annotations

from collections.abc import Mapping

from flowyml_policy.mask.text import encodable, mask
from flowyml_policy.mask.value import mask_value
from flowyml_policy.records.events import NewEvent
from flowyml_policy.records.record import Json


def new_event(
    kind: str,
    *,
    at: str,
    actor: str,
    stack_name: str | None = None,
    decision_id: str | None = None,
    payload: Mapping[str, Json],
) -> NewEvent:
    """Return an event to be appended, its texts and payload masked."""
    return NewEvent(
        type=kind,
        at=at,
        actor=mask(actor),
        stack_name=None if stack_name is None else mask(stack_name),
        decision_id=None if decision_id is None else encodable(decision_id),
        payload=mask_value(dict(payload)),
    )
