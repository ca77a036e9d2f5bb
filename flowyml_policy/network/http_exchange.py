"""One GET over http(s), redirects and all, within a deadline: what came back, or why it does not count.

The exchange runs in a thread of its own, which is left to end alone when time is over: a name service, and a server
that sends one byte at a time, can hold any single call of the standard library for longer than its timeout.
"""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, UnknownHandler
from urllib.request import Request as UrllibRequest

from flowyml_policy.errors.sources import (
    SourceAccessDenied,
    SourceError,
    SourceMissing,
    SourceRefused,
    SourceUnreachable,
    SourceUnreadable,
)
from flowyml_policy.mask.quoted import shown
from flowyml_policy.network.limits import Deadline, too_large
from flowyml_policy.references.git import is_loopback
from flowyml_policy.version import VERSION

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 5
_OK: Final = 200
_NOT_MODIFIED: Final = 304
_CHUNK: Final = 65536
_VALIDATOR: Final = re.compile(r"[\x20-\x7e]{1,1000}", re.ASCII)
_SERVER_ERRORS: Final = range(500, 600)


@dataclass(frozen=True)
class Request:
    """What is asked for.

    `check` raises SourceRefused for an address that a redirect may not lead to; `size` is that of the largest body;
    `needs_length` asks for a body whose end is certain; `validators` are an earlier answer's.
    """

    url: str
    token: str | None
    ca: Path | None
    check: Callable[[str], None]
    size: int
    needs_length: bool
    validators: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """What came back: a body, or that what the validators stand for is still so."""

    body: bytes
    validators: dict[str, str] = field(default_factory=dict)
    not_modified: bool = False


def exchange(request: Request, uri: str, deadline: Deadline) -> Answer:
    """The server's answer. Raises only SourceError; `uri` is what messages call the address."""
    worker = _Exchange(request, uri, deadline)
    thread = threading.Thread(target=worker.run, name="flowyml-policy-http", daemon=True)
    thread.start()
    thread.join(deadline.remaining())
    return worker.result()


class _Exchange:
    """The work of one thread. What it found is read by another one, once it is done or too late."""

    def __init__(self, request: Request, uri: str, deadline: Deadline) -> None:
        self._request = request
        self._uri = uri
        self._deadline = deadline
        self._answer: Answer | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._answer = self._asked(self._request.validators)
        except BaseException as error:  # noqa: BLE001  it is raised where the answer is waited for
            self._error = error

    def result(self) -> Answer:
        if self._answer is not None:
            return self._answer
        error = self._error
        if error is None:
            raise self._deadline.passed()
        if isinstance(error, SourceError):
            raise error
        raise self._unreachable(error) from error

    def _asked(self, validators: Mapping[str, str]) -> Answer:
        url, token = self._request.url, self._request.token
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._opened(url, token, validators)
            with response:
                status = response.status
                if status in _REDIRECTS:
                    following = self._next(url, response)
                    token = token if _origin(following) == _origin(url) else None
                    url = following
                    continue
                if status == _NOT_MODIFIED and validators:
                    if _same_tag(validators.get("etag"), response.headers.get("ETag")):
                        return Answer(b"", dict(validators), not_modified=True)
                    # A 304 that speaks of something else than was asked about: ask for the whole.
                    return self._asked({})
                self._check_status(status, response)
                return Answer(self._body(response), _validators(response))
        raise SourceUnreadable(
            f"more than {_MOST_REDIRECTS} redirects: {self._uri}", advice="name the address that they lead to"
        )

    def _opened(self, url: str, token: str | None, validators: Mapping[str, str]) -> HTTPResponse:
        headers = {
            "User-Agent": f"flowyml-policy/{VERSION}",
            "Accept": "application/yaml, text/yaml, text/plain;q=0.9, */*;q=0.5",
            "Accept-Encoding": "identity",
        }
        if "etag" in validators:
            headers["If-None-Match"] = validators["etag"]
        if "last_modified" in validators:
            headers["If-Modified-Since"] = validators["last_modified"]
        asked = UrllibRequest(url, headers=headers)  # noqa: S310  `check` allows https and http only
        if token is not None:
            asked.add_unredirected_header("Authorization", f"Bearer {token}")
        opened = _opener(url, self._request.ca).open(asked, timeout=self._deadline.remaining())
        if not isinstance(opened, HTTPResponse):
            raise TypeError("an opener for http gave no http response")
        return opened

    def _next(self, url: str, response: HTTPResponse) -> str:
        """Where a redirect leads. Raises SourceRefused for another scheme, and for what is not fetched from."""
        given = response.headers.get("Location")
        if not given:
            raise SourceUnreadable(f"a redirect that leads nowhere: {self._uri}", advice="report it to the server")
        following = urljoin(url, given).partition("#")[0]
        if urlsplit(following).scheme != urlsplit(url).scheme:
            raise SourceRefused(
                f"a redirect to another scheme, {shown(urlsplit(following).scheme)}: {self._uri}",
                advice="name the address that it leads to, if that may be trusted",
            )
        self._request.check(following)
        return following

    def _check_status(self, status: int, response: HTTPResponse) -> None:
        if status == _OK:
            return
        named = "with the token that was given" if self._request.token else "without a token"
        if status == 401:  # noqa: PLR2004  the number is its name
            raise SourceAccessDenied(
                f"the server wants other credentials (401, {named}): {self._uri}",
                advice="name the variable that holds a valid token in `token_env`",
            )
        if status == 403:  # noqa: PLR2004
            raise SourceAccessDenied(
                f"the server gives no access (403, {named}): {self._uri}", advice="ask its owner for read access"
            )
        if status in {404, 410}:
            raise SourceMissing(f"the server has no such file ({status}): {self._uri}", advice="correct the address")
        if status == 429:  # noqa: PLR2004
            raise SourceUnreachable(
                f"the server takes no more requests now (429): {self._uri}",
                advice=f"try again {_later(response.headers.get('Retry-After'))}",
            )
        if status in _SERVER_ERRORS:
            raise SourceUnreachable(
                f"the server failed ({status}): {self._uri}", advice="try again later, or tell its owner"
            )
        raise SourceUnreadable(
            f"the server answered {status} in place of the file: {self._uri}", advice="correct the address"
        )

    def _body(self, response: HTTPResponse) -> bytes:
        headers = response.headers
        encoding = headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            raise SourceUnreadable(
                f"the server sent the file in the encoding {shown(encoding)}, which was not asked for: {self._uri}",
                advice="switch content encodings off for this address",
            )
        if headers.get_content_type() in {"text/html", "application/xhtml+xml"}:
            raise SourceUnreadable(
                f"the server sent a web page, not a definition: {self._uri}",
                advice="name the address of the file itself; if the page asks for a sign-in, give a token",
            )
        length = headers.get("Content-Length", "").strip()
        announced = int(length) if length.isascii() and length.isdecimal() else None
        chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
        if announced is not None and announced > self._request.size:
            raise too_large(self._uri, self._request.size)
        if announced is None and not chunked and self._request.needs_length:
            raise SourceUnreadable(
                f"the server does not say how long the file is, so that a part would pass for all of it: {self._uri}",
                advice="have the server send Content-Length, or pin the file by sha256",
            )
        body = self._read(response)
        if announced is not None and not chunked and len(body) != announced:
            raise SourceUnreachable(
                f"the answer was cut off after {len(body)} of {announced} bytes: {self._uri}", advice="try again"
            )
        return body

    def _read(self, response: HTTPResponse) -> bytes:
        body = bytearray()
        while True:
            self._deadline.remaining()
            part = response.read1(min(_CHUNK, self._request.size + 1 - len(body)))
            body += part
            if len(body) > self._request.size:
                raise too_large(self._uri, self._request.size)
            if not part:
                return bytes(body)

    def _unreachable(self, error: BaseException) -> SourceError:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            return SourceUnreachable(
                f"its certificate is not trusted ({reason.verify_message}): {self._uri}",
                advice="name the company's CA certificates in `ca`",
            )
        if isinstance(reason, TimeoutError):
            return self._deadline.passed()
        if isinstance(reason, HTTPException):
            return SourceUnreachable(
                f"the answer was cut off, or is no http ({type(reason).__name__}): {self._uri}", advice="try again"
            )
        said = reason.strerror if isinstance(reason, OSError) and reason.strerror else type(reason).__name__
        return SourceUnreachable(f"the server cannot be reached ({said}): {self._uri}")


def _opener(url: str, ca: Path | None) -> OpenerDirector:
    """An opener that follows nothing and makes no error of a status.

    It uses the proxies of the environment, but not to this machine.
    """
    opener = OpenerDirector()
    if not is_loopback(urlsplit(url).hostname or ""):
        opener.add_handler(ProxyHandler())
    for handler in (HTTPHandler(), HTTPSHandler(context=_context(ca)), UnknownHandler()):
        opener.add_handler(handler)
    return opener


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except OSError as error:
        reason = "it holds no certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise SourceUnreadable(
            f"the CA certificates cannot be used: {ca}: {reason}", advice="name a PEM file in `ca`"
        ) from error


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _validators(response: HTTPResponse) -> dict[str, str]:
    found = {"etag": response.headers.get("ETag"), "last_modified": response.headers.get("Last-Modified")}
    return {name: value for name, value in found.items() if value and _VALIDATOR.fullmatch(value)}


def _same_tag(sent: str | None, got: str | None) -> bool:
    """Whether a 304 speaks of what was asked about: it names the same tag (weakly compared), or none."""
    return got is None or (sent is not None and sent.removeprefix("W/") == got.removeprefix("W/"))


def _later(retry_after: str | None) -> str:
    with suppress(ValueError):
        return f"in {int(retry_after or '')} s"
    return "later"
