"""One event of a decision log as a row: what can be asked for, beside the event whole. No I/O.

Rules:
- The event is masked again, though its client did so; columns are taken from what is left.
- Unknown keys are kept. A known key of another type than OPA's gives an empty column and a note, never a refusal: OPA
  sends a refused chunk again for ever, and the other events of it would wait.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final, NamedTuple

from flowyml_policy.mask.value import mask_value
from flowyml_policy.records.record import Json
from flowyml_policy.server.clients import LONGEST, client_id, client_name

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False).encode
_TEXTS: Final = ("decision_id", "batch_decision_id", "timestamp", "path")
_ALLOWS: Final = ("allow", "allowed")
_OUTCOMES: Final = {True: "allow", False: "deny"}


class LogRow(NamedTuple):
    """The cells of an event that do not depend on what is in the table; intake_schema.COLUMNS says what they are."""

    identity: str
    digest: str
    client: str
    client_id: str | None
    decision_id: str | None
    batch_decision_id: str | None
    at: str | None
    path: str | None
    bundles: str
    outcome: str | None
    stack_name: str | None
    stack_version: str | None
    error: str | None
    note: str | None
    event: str


def row_of(item: Json, token: str) -> LogRow:
    """The row of one item of a chunk. Raises RecursionError and ValueError for what cannot be written as JSON."""
    masked = mask_value(item)
    text = _encode(masked)
    digest = hashlib.sha256(text.encode()).hexdigest()
    event = masked if isinstance(masked, dict) else {}
    notes = [] if isinstance(masked, dict) else ["this is no JSON object"]
    notes += [f"`{key}` is no text" for key in _TEXTS if not isinstance(event.get(key, ""), str)]
    decision_id, batch_id = _text(event, "decision_id"), _text(event, "batch_decision_id")
    labels, path, error = event.get("labels"), _text(event, "path"), event.get("error")
    name, version = _stack(event)
    return LogRow(
        identity=_digest_of(["content", digest] if decision_id is None else ["id", decision_id, batch_id]),
        digest=digest,
        client=client_name(labels, token),
        client_id=client_id(labels),
        decision_id=decision_id,
        batch_decision_id=batch_id,
        at=_text(event, "timestamp"),
        path=None if path is None else path.lstrip("/"),
        bundles=_encode(_revisions(event.get("bundles"))),
        outcome=_outcome(event),
        stack_name=name,
        stack_version=version,
        error=None if error is None else _message(error)[:LONGEST],
        note="; ".join(notes) or None,
        event=text,
    )


def _outcome(event: dict[str, Json]) -> str | None:
    """What was decided, as far as a result says so; null for what another policy answered, or OPA erased."""
    if event.get("error") is not None:
        return "error"
    if "result" not in event:
        erased = event.get("erased")
        is_erased = isinstance(erased, list) and any(str(path).startswith("/result") for path in erased)
        return "error" if event and not is_erased else None
    result = event["result"]
    said = [result] if isinstance(result, bool) else []
    if isinstance(result, dict):
        said = [result[key] for key in _ALLOWS if isinstance(result.get(key), bool)]
    return _OUTCOMES[all(said)] if said else None


def _revisions(bundles: Json) -> dict[str, str]:
    """`{"org": {"revision": "r1"}}` as `{"org": "r1"}`."""
    found = bundles.items() if isinstance(bundles, dict) else ()
    return {name: str(said["revision"]) for name, said in found if isinstance(said, dict) and "revision" in said}


def _stack(event: dict[str, Json]) -> tuple[str | None, str | None]:
    """Name and version of the stack that was judged: of the input, or, where there was none, of an engine's own key."""
    for place in ("input", "custom"):
        holder = event.get(place)
        stack = holder.get("stack") if isinstance(holder, dict) else None
        if isinstance(stack, dict):
            return _text(stack, "name"), _text(stack, "version")
    return None, None


def _message(error: Json) -> str:
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else _encode(error)


def _text(holder: dict[str, Json], key: str) -> str | None:
    found = holder.get(key)
    return found if isinstance(found, str) and found else None


def _digest_of(parts: list[str | None]) -> str:
    return hashlib.sha256(_encode(parts).encode()).hexdigest()
