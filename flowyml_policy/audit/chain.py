"""The hash chain over the journal, and the digests of the rows that an event answers for. No I/O.

What is hashed is compact UTF-8 JSON of what is stored, so that anybody can check the file with SQLite and
a few lines of any language: an event's hash is SHA-256 over the array [prev_hash, seq, id, at, type,
stack_name, decision_id, actor, payload as stored text], in hex; the first event's prev_hash is 64 zeros.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Final

from flowyml_policy.records.record import Json

GENESIS: Final = "0" * 64

Cell = int | str | None
"""What a cell of the audit's tables holds."""


def _tagged(cell: object) -> Json:
    """A cell of a type that this program never stores, told apart from every cell that it does."""
    return {type(cell).__name__: repr(cell)}


_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_tagged).encode


def event_hash(prev_hash: str, fields: Sequence[Cell]) -> str:
    """The hash of the event after `prev_hash` whose columns `seq` to `payload` are `fields`."""
    return hashlib.sha256(_encode([prev_hash, *fields]).encode()).hexdigest()


def rows_digest(rows: Sequence[Sequence[Cell]] | Sequence[Cell]) -> str:
    """`sha256:` digest of a row (the array of its cells) or of several rows (the array of those arrays)."""
    return "sha256:" + hashlib.sha256(_encode(rows).encode()).hexdigest()


def text_digest(text: bytes) -> str:
    """`sha256:` digest of a stored text's bytes."""
    return "sha256:" + hashlib.sha256(text).hexdigest()
