"""One request to the registry's server, and its answer: bounded in time and size, never redirected.

The exchange runs in a thread of its own, whose socket is shut when time is over: a name service, and a server that
sends one byte at a time, can hold any single call of the standard library for longer than its timeout.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from flowyml_policy.errors.registry import RegistryAnswerInvalid, RegistryError, RegistryUnreachable
from flowyml_policy.version import VERSION

LARGEST_ANSWER: Final = 16 << 20
_CHUNK: Final = 65536


@dataclass(frozen=True)
class Answer:
    """What the server said. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Deadline:
    """The end of one call's time, whatever number of requests it takes."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        return max(self._end - time.monotonic(), 0.0)


class Server:
    """The server at `url`. `ca` is a PEM file of the certificates to trust in place of the system's.

    Raises ValueError for an address that is no https, nor http on this machine itself, or holds credentials.
    """

    def __init__(self, url: str, ca: Path | None) -> None:
        parts = urlsplit(url)
        if not parts.hostname or parts.username is not None or parts.query or parts.fragment:
            raise ValueError("it is no plain address of a server")
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname)):
            raise ValueError("it is neither https, nor http on this machine itself")
        self._scheme, self._host, self._port = parts.scheme, parts.hostname, parts.port
        self._base = parts.path.rstrip("/")
        self._ca = ca
        self.url = url.rstrip("/")

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, deadline: Deadline) -> Answer:
        """The answer to one request for `path`, which is below the server's address. Raises only RegistryError."""
        if not deadline.remaining:
            raise self._too_late(deadline)
        exchange = _Exchange(self._connection(deadline), method, self._base + path, headers, body, deadline)
        thread = threading.Thread(target=exchange.run, name="flowyml-policy-registry", daemon=True)
        thread.start()
        thread.join(deadline.remaining)
        if exchange.answer is not None:
            return exchange.answer
        if exchange.error is None or not deadline.remaining:
            exchange.abandon()
            raise self._too_late(deadline) from exchange.error
        raise self._as_leaf(exchange.error) from exchange.error

    def _connection(self, deadline: Deadline) -> HTTPConnection:
        if self._scheme == "http":
            return HTTPConnection(self._host, self._port, timeout=deadline.remaining)
        try:
            context = ssl.create_default_context(cafile=self._ca)
        except OSError as error:
            raise RegistryUnreachable(
                f"the CA certificates cannot be read: {self._ca}: {error.strerror or error}",
                advice="name a readable PEM file",
            ) from error
        return HTTPSConnection(self._host, self._port, timeout=deadline.remaining, context=context)

    def _too_late(self, deadline: Deadline) -> RegistryUnreachable:
        return RegistryUnreachable(f"no complete answer within {deadline.seconds:g} s: {self.url}")

    def _as_leaf(self, error: BaseException) -> RegistryError:
        if isinstance(error, RegistryError):
            return error
        if isinstance(error, ssl.SSLCertVerificationError):
            return RegistryUnreachable(
                f"the server's certificate is not trusted ({error.verify_message}): {self.url}",
                advice="name its CA certificates in policy.registry.ca, or correct the address",
            )
        if isinstance(error, OSError | IncompleteRead):
            return RegistryUnreachable(f"{_what_failed(error)}: {self.url}")
        what = "does not speak HTTP" if isinstance(error, HTTPException) else "cannot be asked"
        return RegistryAnswerInvalid(f"the server {what} ({type(error).__name__}): {self.url}")


class _Exchange:
    """The work of one thread. What it found is read by another one, once it is done or too late."""

    def __init__(
        self,
        connection: HTTPConnection,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        deadline: Deadline,
    ) -> None:
        self._connection = connection
        self._request = (method, target, body, {"User-Agent": f"flowyml-policy/{VERSION}", **headers})
        self._deadline = deadline
        self.answer: Answer | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            method, target, body, headers = self._request
            self._connection.request(method, target, body, dict(headers))
            with self._connection.getresponse() as response:
                found = {name.lower(): value for name, value in response.getheaders()}
                self.answer = Answer(response.status, found, self._body(response))
        except BaseException as error:  # noqa: BLE001  it is raised where the answer is waited for
            self.error = error
        finally:
            with suppress(Exception):
                self._connection.close()

    def abandon(self) -> None:
        """Shut the socket, so that the thread ends."""
        found = self._connection.sock
        if found is not None:
            with suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)

    def _body(self, response: HTTPResponse) -> bytes:
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            raise RegistryAnswerInvalid(f"the answer is encoded ({ascii(encoding)[:40]}), which was not asked for")
        found = bytearray()
        while chunk := response.read1(_CHUNK):
            found += chunk
            if len(found) > LARGEST_ANSWER:
                raise RegistryAnswerInvalid(f"the answer is larger than {LARGEST_ANSWER:,} bytes")
            if not self._deadline.remaining:
                raise TimeoutError
        if response.length:
            raise IncompleteRead(bytes(found[:0]), response.length)
        return bytes(found)


def _what_failed(error: OSError | IncompleteRead) -> str:
    if isinstance(error, IncompleteRead):
        return "the answer was cut off"
    if isinstance(error, TimeoutError):
        return "the server does not answer"
    return f"the server cannot be reached ({error.strerror or type(error).__name__})"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
