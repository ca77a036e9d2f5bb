"""BundleActivated: the events that say with which decision a revision of a remote bundle began to judge.

Rules:
- Recorded with the first decision by a revision, in its transaction: none is told that is not in the journal.
- The journal says what was known last, so that a second process that starts on the same revision adds nothing.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from typing import Final

from flowyml_policy.audit.writing import EventCells
from flowyml_policy.records.result import DecisionRecord

ACTIVATED: Final = "BundleActivated"
"""By the name of the class that it is read back as."""

_NEWEST: Final = """SELECT json_extract(payload, '$.revision') FROM events
  WHERE type = ? AND json_extract(payload, '$.bundle') = ? ORDER BY seq DESC LIMIT 1"""


def new_activations(
    connection: sqlite3.Connection, records: Sequence[DecisionRecord], known: dict[str, str]
) -> list[tuple[EventCells, ...]]:
    """The events that each of `records` is the first for. `known`, revisions by bundle, is brought up to date."""
    return [tuple(_events(connection, record, known)) for record in records]


def _events(connection: sqlite3.Connection, record: DecisionRecord, known: dict[str, str]) -> Iterator[EventCells]:
    for bundle, revision in sorted(record.remote.items()):
        if known.get(bundle) == revision:
            continue
        newest = connection.execute(_NEWEST, (ACTIVATED, bundle)).fetchone()
        known[bundle] = revision
        previous = None if newest is None else newest[0]
        if previous != revision:
            payload = {
                "bundle": bundle,
                "revision": revision,
                "previous": previous,
                "copied_at": record.copies.get(bundle),
            }
            yield EventCells(
                id=str(uuid.uuid4()),
                at=record.at,
                type=ACTIVATED,
                stack_name=None,
                decision_id=record.decision_id,
                actor=record.actor,
                payload=json.dumps(payload, ensure_ascii=False, separators=(",", ":")),
            )
