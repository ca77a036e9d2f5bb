"""Canonical JSON (RFC 8785) and digests: equal values have equal bytes, on every machine and in every language.

Rules:
- What is not JSON, or not the same JSON to every reader, is refused: NotCanonical, never a best effort.
- Most documents take a fast path through the standard library, whose bytes a property test proves equal.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

import rfc8785

from flowyml_policy.errors.documents import NotCanonical
from flowyml_policy.records.record import Json

_LARGEST_INTEGER: Final = 2**53 - 1
_TO_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)
_DEEPEST: Final = 200


def canonical_json(value: Json) -> bytes:
    """`value` as RFC 8785 writes it. Raises NotCanonical for what JSON does not know.

    Not JSON are, besides other types: keys that are not text, infinities and NaN, integers beyond 2**53 - 1,
    lone surrogates, and nesting deeper than 200 (which is also what a value that contains itself comes to).
    """
    try:
        if _is_plain(value, _DEEPEST):
            return _TO_ENCODER.encode(value).encode()
        return rfc8785.dumps(value)
    except NotCanonical:
        raise
    except (rfc8785.CanonicalizationError, UnicodeError, TypeError, ValueError, RecursionError) as error:
        raise NotCanonical(f"the value has no canonical JSON: {error}") from error


def digest(data: bytes) -> str:
    """The SHA-256 of `data` as `sha256:` and 64 hex digits."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def canonical_digest(value: Json) -> str:
    """The digest of the canonical JSON of `value`. Raises NotCanonical."""
    return digest(canonical_json(value))


def _is_plain(value: Json, depth: int) -> bool:
    """Whether the standard library's encoder writes `value` as RFC 8785 does; raises NotCanonical if neither may.

    They differ in floats, in the order of keys beyond the basic plane (UTF-16 against code points), and in
    what they make of types that are nearly JSON.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        if not -_LARGEST_INTEGER <= value <= _LARGEST_INTEGER:
            raise NotCanonical("the value has an integer beyond 2**53 - 1")
        return True
    if depth == 0:
        raise NotCanonical(f"the value is nested more than {_DEEPEST} levels deep")
    if kind is dict:
        for key in value:
            if type(key) is not str:
                raise NotCanonical(f"the key {key!r} is not text")
        plain = [_is_plain(item, depth - 1) for item in value.values()]
        return all(plain) and all(key.isascii() or max(key) < "\ud800" for key in value)
    if kind is list:
        plain = [_is_plain(item, depth - 1) for item in value]
        return all(plain)
    return False
