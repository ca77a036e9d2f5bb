"""What two processes say to each other about a policy: frames over a socket, and errors that cross it.

Rules:
- A frame is a byte that says what it is, four bytes of length, and as many bytes. One is on its way at a time.
- No frame is longer than `LONGEST`, and nothing is read for which there is no length.
- What is received is data, never code: JSON and bytes.
"""

from __future__ import annotations

import json
import socket
import struct
from time import monotonic
from typing import Any, Final

from flowyml_policy.errors import opa
from flowyml_policy.errors.opa import OpaError, OpaEvaluationFailed
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.errors.settings import FeatureUnavailable

READY: Final = b"R"
START: Final = b"S"
DECIDE: Final = b"D"
QUERY: Final = b"Q"
GLOBS: Final = b"G"
DESCRIBE: Final = b"B"
ANSWER: Final = b"A"
ERROR: Final = b"E"

LONGEST: Final = 2**28
"""Bytes of a frame: more than any stack definition or decision, less than the least memory that can be set."""

_AT_ONCE: Final = 2**18
"""Bytes that are taken in one call."""

_HEADER: Final = struct.Struct(">cI")
_PATH: Final = struct.Struct(">I")

_KNOWN: Final = (
    OpaError,
    opa.OpaUnavailable,
    opa.OpaStartFailed,
    opa.PolicyInvalid,
    opa.PolicyRolledBack,
    opa.PolicyExpired,
    opa.OpaDeadlineExceeded,
    opa.OpaEvaluationFailed,
    opa.OpaUndefined,
    opa.OpaAnswerInvalid,
    FeatureUnavailable,
)
_CLASSES: Final[dict[str, type[FlowymlPolicyError]]] = {known.code: known for known in _KNOWN}


class Garbled(Exception):
    """What came is no frame."""


class Silent(Exception):
    """Nothing came in time."""


class Gone(Exception):
    """There is nobody at the other end."""


def send(connection: socket.socket, kind: bytes, payload: bytes, until: float | None = None) -> None:
    """Send one frame, before the instant `until` of the monotonic clock. Raises Silent, Gone, OpaEvaluationFailed."""
    if len(payload) > LONGEST:
        raise OpaEvaluationFailed(
            f"a document of {len(payload)} bytes is too large to be judged apart", advice="make it smaller"
        )
    try:
        _wait_at_most(connection, until)
        connection.sendall(_HEADER.pack(kind, len(payload)) + payload)
    except TimeoutError as error:
        raise Silent from error
    except OSError as error:
        raise Gone from error


def receive(connection: socket.socket, until: float | None = None) -> tuple[bytes, bytes]:
    """The next frame, its kind and what it holds. Raises Silent, Gone, Garbled."""
    received = _received(connection, until)
    while len(received) < _HEADER.size:
        received += _received(connection, until)
    kind, size = _HEADER.unpack_from(received)
    if size > LONGEST:
        raise Garbled(f"a frame of {size} bytes")
    parts = [received[_HEADER.size :]]
    missing = size - len(parts[0])
    while missing > 0:
        parts.append(_received(connection, until))
        missing -= len(parts[-1])
    if missing < 0:
        raise Garbled("more than a frame")
    return kind, b"".join(parts)


def _received(connection: socket.socket, until: float | None) -> bytes:
    try:
        _wait_at_most(connection, until)
        part = connection.recv(_AT_ONCE)
    except TimeoutError as error:
        raise Silent from error
    except OSError as error:
        raise Gone from error
    if not part:
        raise Gone
    return part


def _wait_at_most(connection: socket.socket, until: float | None) -> None:
    """Let the next call wait until the instant `until`. Without one, none of the connection's calls ever ends."""
    if until is None:
        return
    left = until - monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)


def encode_query(path: str, document: bytes) -> bytes:
    """A path and a document as one payload."""
    encoded = path.encode()
    return _PATH.pack(len(encoded)) + encoded + document


def decode_query(payload: bytes) -> tuple[str, bytes]:
    """What `encode_query` made."""
    (size,) = _PATH.unpack_from(payload)
    end = _PATH.size + size
    return payload[_PATH.size : end].decode(), payload[end:]


def encode_error(error: FlowymlPolicyError) -> bytes:
    """An error, for the other process to raise."""
    return json.dumps({"code": error.code, "message": error.message, "advice": error.advice}).encode()


def decode_error(payload: bytes) -> FlowymlPolicyError:
    """The error that the other process told of: of its class, where that is one that OPA's evaluators raise."""
    try:
        told: Any = json.loads(payload)
        code, message, advice = (str(told[key]) for key in ("code", "message", "advice"))
    except (ValueError, TypeError, KeyError) as error:
        raise Garbled("an error that is none") from error
    return _CLASSES.get(code, OpaEvaluationFailed)(message, advice=advice)
