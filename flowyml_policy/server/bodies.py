"""Bodies that clients post: unpacked to a bound, and read as JSON.

Rules:
- What a body grows to is bounded while it is unpacked, never looked at afterwards.
- So is the number of its values: `[{},{},...]` is fifty times larger in memory than on the wire.
- A number that Python cannot hold stays the text that it was, so that one of them does not lose a whole chunk.
"""

from __future__ import annotations

import json
import math
import zlib
from http import HTTPStatus
from typing import Final

from flowyml_policy.records.record import Json
from flowyml_policy.server.exchange import Refused

_GZIP_OR_ZLIB: Final = zlib.MAX_WBITS | 32
_GZIP_MAGIC: Final = b"\x1f\x8b"
_PLAIN: Final = frozenset({"", "identity"})
_GZIP: Final = frozenset({"gzip", "x-gzip"})
_MOST_VALUES: Final = 5_000_000
"""Commas. A body of 64 MiB has as many where a value takes 13 bytes with its key; decisions take more."""
_LONGEST_INTEGER: Final = 400
"""Digits. Python refuses more than 4300, and none of these counts anything."""


def read_json(body: bytes, content_encoding: str | None, *, largest: int) -> Json:
    """The JSON of a body, packed or not, of at most `largest` bytes unpacked. Raises Refused."""
    return parse_json(unpacked(body, content_encoding, largest))


def parse_json(text: bytes) -> Json:
    """The JSON of a body that is unpacked. Raises Refused."""
    if text.count(b",") > _MOST_VALUES:
        raise Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_many_values", f"the body has more than {_MOST_VALUES:,} values"
        )
    try:
        return json.loads(
            text,
            parse_float=_float,
            parse_int=_integer,
            parse_constant=_no_number,
        )
    except RecursionError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "json_too_deep", "the JSON is nested too deeply") from error
    except ValueError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "json_invalid", "the body is no JSON in UTF-8") from error


def unpacked(body: bytes, content_encoding: str | None, largest: int) -> bytes:
    """A body as it was before it was packed. Raises Refused."""
    encoding = (content_encoding or "").strip().lower()
    if encoding not in _PLAIN | _GZIP:
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "encoding_unknown", "the content encoding must be gzip or none"
        )
    packed = encoding in _GZIP or body.startswith(_GZIP_MAGIC)
    found = _gunzipped(body, largest) if packed else body
    if len(found) > largest:
        raise Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", f"the body is larger than {largest:,} bytes unpacked"
        )
    return found


def _gunzipped(body: bytes, largest: int) -> bytes:
    """What `body`, one gzip member after another, unpacks to; one byte more than `largest` where it is more."""
    found = bytearray()
    try:
        while body and len(found) <= largest:
            member = zlib.decompressobj(_GZIP_OR_ZLIB)
            found += member.decompress(body, largest + 1 - len(found))
            if not member.eof and len(found) <= largest:
                raise Refused(HTTPStatus.BAD_REQUEST, "gzip_invalid", "the gzip body ends too early")
            body = member.unused_data
    except zlib.error as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "gzip_invalid", "the body is no gzip") from error
    return bytes(found)


def _float(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _integer(text: str) -> int | str:
    return int(text) if len(text) <= _LONGEST_INTEGER else text


def _no_number(text: str) -> Json:
    raise ValueError(f"{text} is no JSON")
