"""One HTTP client for every server: bounded in time, size, redirects and repetitions. It keeps no answer.

- The time is for all of a call: name service, connection, TLS, redirects, repetitions, the last byte.
- Credentials, an ETag and the caller's headers go to the scheme, host and port that they were given for. Another one
  gets `Accept` alone, also where it redirects back. No credentials go over plain http to another machine.
- A redirect is followed where the caller allows for it, with GET and HEAD, to the same scheme.
- What may be asked twice is asked again where the connection broke, and at 429, 502, 503 and 504 after `Retry-After`.
- https goes through the environment's HTTPS_PROXY, but to hosts in NO_PROXY and to this machine; http goes direct.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Collection, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, PoolManager, Timeout
from urllib3.exceptions import HTTPError, ProxyError

from flowyml_policy.network.address import Address, parse_address
from flowyml_policy.network.connections import Call, open_manager, proxy_of
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.failures import HttpFailure, failure_of, proxy_failure_of
from flowyml_policy.network.messages import Request, Response
from flowyml_policy.network.tls import PLAIN, Certificate, Tls, file_of, load_tls, trust
from flowyml_policy.version import VERSION

__all__ = ["Client", "Request", "Response"]

_MOST_TRIES: Final = 3
_FIRST_PAUSE: Final = 0.1
_CHUNK: Final = 1 << 16
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TRY_AGAIN: Final = frozenset({429, 502, 503, 504})
_SUCCESS: Final = range(200, 300)
_NOT_MODIFIED: Final = 304
_OWN_HEADERS: Final = {"User-Agent": f"flowyml-policy/{VERSION}", "Accept-Encoding": "identity"}


class Client:
    """Asks servers, and keeps its connections open for the next request. Safe from many threads.

    `ca` is a PEM file of the certificates to trust in place of the system's, or such files by `host` or `host:port`;
    `certificates` are client certificates by the same. `plain_http` names hosts that http may be used to besides this
    machine. `offline` asks nothing. A server that says nothing for `silence` seconds is given up.
    """

    def __init__(
        self,
        *,
        ca: Path | Mapping[str, Path] | None = None,
        certificates: Mapping[str, Certificate] | None = None,
        plain_http: Collection[str] = (),
        offline: bool = False,
        environ: Mapping[str, str] | None = None,
        silence: float = 15.0,
    ) -> None:
        self._ca = ca
        self._certificates = certificates or {}
        self._plain_http = plain_http
        self._offline = offline
        self._environ = os.environ if environ is None else environ
        self._silence = silence
        self._tls: dict[tuple[Path | None, Certificate | None], Tls] = {}
        self._managers: dict[tuple[int, Tls, str | None], PoolManager] = {}
        self._lock = threading.Lock()

    def send(self, request: Request, deadline: Deadline) -> Response:
        """Ask until there is an answer, of whatever status. Raises HttpFailure, AddressRefused."""
        if self._offline:
            raise HttpFailure("offline", "no server is asked offline", "go online to ask it")
        call = Call[Response](deadline)
        return call.result(lambda: self._follow(request, call))

    def trust_of(self, request: Request) -> str:
        """The `trust` of an answer to `request` by its own address. Raises HttpFailure, AddressRefused."""
        address = parse_address(request.url, self._plain_http)
        return trust(address, self.tls_to(address), request.authorization, request.mirror)

    def tls_to(self, address: Address) -> Tls:
        """How the server at `address` is trusted, read once. Raises HttpFailure."""
        if address.scheme == "http":
            return PLAIN
        ca = file_of(self._ca, address) if isinstance(self._ca, Mapping) else self._ca
        key = ca, file_of(self._certificates, address)
        if key not in self._tls:
            loaded = load_tls(*key)  # outside the lock, which a fork in the meantime would never give back
            with self._lock:
                self._tls.setdefault(key, loaded)
        return self._tls[key]

    def close(self) -> None:
        """Close the connections that are kept open."""
        with self._lock:
            for manager in self._managers.values():
                manager.clear()
            self._managers.clear()

    def _follow(self, request: Request, call: Call[Response]) -> Response:
        address = parse_address(request.url, self._plain_http)
        url, headers = request.url, {**_OWN_HEADERS, **request.headers}
        headers |= {} if request.etag is None else {"If-None-Match": request.etag}
        headers |= {} if request.authorization is None else {"Authorization": request.authorization}
        for _ in range(request.redirects + 1):
            response = self._repeat(request, url, headers, call)
            if not request.redirects or not request.is_safe or response.status not in _REDIRECTS:
                return response
            headers.pop("If-None-Match", None)
            url = _following(url, response)
            following = parse_address(url, self._plain_http)
            if following.origin != address.origin:
                headers = {**_OWN_HEADERS, "Accept": request.headers.get("Accept", "*/*")}
            address = following
        raise HttpFailure("redirect", f"more than {request.redirects} redirects", "name the address that they lead to")

    def _repeat(self, request: Request, url: str, headers: Mapping[str, str], call: Call[Response]) -> Response:
        """Ask one address, and once or twice again where that does no harm and may help."""
        repeatable = request.is_safe if request.repeatable is None else request.repeatable
        for left in reversed(range(_MOST_TRIES if repeatable else 1)):
            pause = _FIRST_PAUSE * 2 ** (_MOST_TRIES - left) * random.uniform(0.5, 1)  # noqa: S311  no secret
            try:
                response = self._ask(request, url, headers, call)
            except HttpFailure as failure:
                if failure.reason != "cut_off" or not left or pause >= call.left():
                    raise
            else:
                pause = max(response.retry_after or 0.0, pause)
                if response.status not in _TRY_AGAIN or not left or pause >= call.left():
                    return response
            call.over.wait(pause)
        raise AssertionError("the last try ends this")

    def _ask(self, request: Request, url: str, headers: Mapping[str, str], call: Call[Response]) -> Response:
        address = parse_address(url, self._plain_http)
        authorization, etag = headers.get("Authorization"), headers.get("If-None-Match")
        if authorization is not None and address.scheme == "http" and not address.is_loopback:
            raise HttpFailure("plain_token", "a token is not sent over plain http", "write https")
        tls = self.tls_to(address)
        pool = self._pool(address, tls)
        seconds = min(self._silence, call.left())
        try:
            with pool.urlopen(
                request.method,
                address.target,
                body=request.body,
                headers=headers,
                timeout=Timeout(connect=seconds, read=seconds),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            ) as raw:
                body = _body(raw, request, call)
        except ProxyError as error:
            raise proxy_failure_of(error) from error
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            raise failure_of(error) from error
        found = {name.lower(): raw.headers[name] for name in raw.headers}
        same = raw.status == _NOT_MODIFIED and etag is not None and found.get("etag", etag) == etag
        return Response(raw.status, found, body, url, trust(address, tls, authorization, request.mirror), same)

    def _pool(self, address: Address, tls: Tls) -> HTTPConnectionPool:
        key = os.getpid(), tls, proxy_of(address, self._environ)  # no child of a fork speaks over its parent's
        with self._lock:
            if key not in self._managers:
                self._managers[key] = open_manager(tls.context, key[2])
            return self._managers[key].connection_from_host(address.host, address.port, address.scheme)


def _following(url: str, response: Response) -> str:
    """Where a redirect leads, which must be of the same scheme."""
    given = response.headers.get("location", "")
    try:
        following = urljoin(url, given).partition("#")[0]
        scheme = urlsplit(following).scheme
    except ValueError:
        given = ""
    if not given:
        raise HttpFailure("redirect", "a redirect that leads nowhere", "report it to the server")
    if scheme != urlsplit(url).scheme:
        what = f"a redirect to another scheme, {ascii(scheme)[:40]}"
        raise HttpFailure("scheme", what, "name the address that it leads to, if that may be trusted")
    return following


def _body(raw: BaseHTTPResponse, request: Request, call: Call[Response]) -> bytes:
    """Read the body. What is wrong with that of no success matters less than its status."""
    counts = raw.status in _SUCCESS and request.method != "HEAD"
    encoding = raw.headers.get("Content-Encoding", "").strip().lower()
    if counts and encoding not in {"", "identity"}:
        raise HttpFailure("encoded", f"the answer is encoded ({ascii(encoding)[:40]}), which was not asked for")
    largest, found = request.largest, bytearray()
    if not counts or (raw.length_remaining or 0) <= largest:
        try:
            while len(found) <= largest and (part := raw.read1(min(_CHUNK, largest + 1 - len(found)))):
                found += part
                call.left()
        except (HTTPError, HTTPException, OSError):
            if counts:
                raise
        if not counts or len(found) <= largest:
            return bytes(found[:largest])
    raise HttpFailure("too_large", f"the answer is larger than {largest:,} bytes")
