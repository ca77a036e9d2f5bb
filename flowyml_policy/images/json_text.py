"""JSON that others wrote, read strictly: one meaning or none."""

from __future__ import annotations

import json
from typing import Final, NoReturn

from flowyml_policy.records.record import Json

_WHAT: Final = "it is no JSON"


class NotJson(ValueError):
    """Bytes that are no JSON, or not the same JSON to every reader. Its text is what is wrong."""


def read_json(data: bytes) -> Json:
    """The value that `data`, UTF-8, holds. Raises NotJson, also for a key that stands twice, NaN and infinities."""
    try:
        return json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_refuse)
    except NotJson:
        raise
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError and an integer of 5,000 digits are ValueErrors
        raise NotJson(_WHAT) from error


def _once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotJson(f"{_WHAT} of one meaning: a key stands twice")
    return found


def _refuse(_: str) -> NoReturn:
    raise NotJson(_WHAT)
