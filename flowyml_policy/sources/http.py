"""One definition file at an http(s) address.

Rules:
- Each read asks the server. What it sent before counts where this very address confirms its strong ETag, and where the
  same CA, token and server stood behind it; what another project fetched through others does not.
- A file that is pinned by its SHA-256 and was fetched once is not asked for again.
- At most five redirects are followed. `network.http` says where credentials go, and how long all of it may take.
- An answer counts when it is whole: of the length that it announced, in no encoding, and no web page.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from flowyml_policy.documents.canonical import digest
from flowyml_policy.documents.key_path import dotted
from flowyml_policy.errors.sources import (
    SourceAccessDenied,
    SourceChanged,
    SourceError,
    SourceMissing,
    SourceRefused,
    SourceUnreachable,
    SourceUnreadable,
)
from flowyml_policy.mask.text import mask
from flowyml_policy.network.address import AddressRefused, parse_address
from flowyml_policy.network.bearer import bearer
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.failures import FailureReason, HttpFailure
from flowyml_policy.records.instant import utc_now
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.references.url import PLAIN_HTTP
from flowyml_policy.sources.source import DefinitionSource, FetchRules, Revision, too_large
from flowyml_policy.storage.cache import Cached, ContentCache

if TYPE_CHECKING:
    from flowyml_policy.network.http import Response

_ADVICE: Final = "write https://host/path/stack.yaml"
_ACCEPT: Final = "application/yaml, text/yaml, text/plain;q=0.9, */*;q=0.5"
_WEB_PAGES: Final = frozenset({"text/html", "application/xhtml+xml"})
_MOST_REDIRECTS: Final = 5
_LONGEST_WAIT: Final = 86_400
_SERVER_ERRORS: Final = range(500, 600)
_LEAVES: Final[Mapping[FailureReason, type[SourceError]]] = {
    "certificates": SourceUnreadable,
    "encoded": SourceUnreadable,
    "redirect": SourceUnreadable,
    "scheme": SourceRefused,
    "plain_token": SourceRefused,
}
"""What is not named here is SourceUnreachable."""
_ADVICE_FOR: Final[Mapping[FailureReason, str]] = {
    "untrusted": "name the company's CA certificates in `ca`",
    "certificates": "name a PEM file in `ca`",
    "encoded": "switch content encodings off for this address",
}


class HttpSource(DefinitionSource):
    """The file at `url`, which must have the digest `sha256` (`sha256:` and 64 hex digits) where one is given.

    `token_env` names the variable of `environ` that holds a bearer token, `ca` a PEM file whose certificates alone
    are trusted. Offline what is not pinned is SourceUnreachable.
    """

    kind = "http"

    def __init__(
        self,
        url: str,
        *,
        cache: ContentCache,
        sha256: str | None = None,
        token_env: str | None = None,
        environ: Mapping[str, str] | None = None,
        ca: Path | None = None,
        rules: FetchRules | None = None,
    ) -> None:
        super().__init__(rules)
        self.uri = display_url(url)
        check_url(url, self.rules.plain_http)
        self.url = url
        self.sha256 = sha256 if sha256 is None or sha256.startswith("sha256:") else f"sha256:{sha256}"
        self._cache = cache
        self._token_env = token_env
        self._environ = os.environ if environ is None else environ
        self._ca = ca
        self._lock = threading.Lock()
        self._revision: HttpRevision | None = None

    def _fetch(self) -> HttpRevision:
        with self._lock:
            if self._revision is None:
                self._revision = HttpRevision(self, self._current())
            return self._revision

    def _current(self) -> Cached:
        """The file's bytes as they are now, with when the server last confirmed them."""
        if self.sha256 is not None:
            known = self._cache.get("http", _hashed(self.url), self.sha256)
            if known is not None and digest(known.data) == self.sha256:
                return known
        if self.rules.offline:
            raise SourceUnreachable(
                f"it is asked for at its server, and nothing is fetched offline: {self.uri}",
                advice="pin it by sha256 and fetch it once while there is a network",
            )
        try:
            return self._asked()
        except AddressRefused as error:
            raise _refused(error) from error
        except HttpFailure as failure:
            raise self._leaf(failure) from failure

    def _asked(self) -> Cached:
        """What the server has now."""
        from flowyml_policy.network.http import Client, Request

        request = Request(
            "GET",
            self.url,
            self.limits.file_size,
            headers={"Accept": _ACCEPT},
            authorization=self._authorization(),
            redirects=_MOST_REDIRECTS,
        )
        with closing(Client(ca=self._ca, plain_http=self.rules.plain_http, environ=self._environ)) as client:
            known = None
            if self.sha256 is None:
                known = self._cache.get("http", _hashed(self.url), client.trust_of(request))
            deadline = Deadline(self.limits.timeout)
            etag = None if known is None else known.notes.get("etag")
            response = client.send(replace(request, etag=etag), deadline)
            if known is not None and response.not_modified:
                return self._kept(response, known.data, etag)
            if response.status == HTTPStatus.NOT_MODIFIED and etag is not None:
                # It speaks of something else than was asked about: ask for the whole.
                response = client.send(request, deadline)
        self._check(response)
        return self._kept(response, response.body, response.etag)

    def _kept(self, response: Response, data: bytes, etag: str | None) -> Cached:
        """Keep the file by what it is believed for: its digest, or who answered, and why that was believed."""
        if self.sha256 is not None and digest(data) != self.sha256:
            raise SourceChanged(f"pinned to {self.sha256}, and its content is {digest(data)}: {self.uri}")
        notes = ({} if etag is None else {"etag": etag}) | {"fetched_at": utc_now()}
        url, reason = (response.url, response.trust) if self.sha256 is None else (self.url, self.sha256)
        self._cache.put("http", _hashed(url), reason, data=data, notes=notes)
        return Cached(data, notes)

    def _check(self, response: Response) -> None:
        """Raise a SourceError for an answer that is not the whole file."""
        self._check_status(response)
        if response.headers.get("content-type", "").partition(";")[0].strip().lower() in _WEB_PAGES:
            raise SourceUnreadable(
                f"the server sent a web page, not a definition: {self.uri}",
                advice="name the address of the file itself; if the page asks for a sign-in, give a token",
            )
        if self.sha256 is None and not response.is_delimited:
            raise SourceUnreadable(
                f"the server does not say how long the file is, so that a part would pass for all of it: {self.uri}",
                advice="have the server send Content-Length, or pin the file by sha256",
            )

    def _check_status(self, response: Response) -> None:
        status = response.status
        if status == HTTPStatus.OK:
            return
        named = "with the token that was given" if self._token_env else "without a token"
        if status == HTTPStatus.UNAUTHORIZED:
            raise SourceAccessDenied(
                f"the server wants other credentials (401, {named}): {self.uri}",
                advice="name the variable that holds a valid token in `token_env`",
            )
        if status == HTTPStatus.FORBIDDEN:
            raise SourceAccessDenied(
                f"the server gives no access (403, {named}): {self.uri}", advice="ask its owner for read access"
            )
        if status in {404, 410}:
            raise SourceMissing(f"the server has no such file ({status}): {self.uri}", advice="correct the address")
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise SourceUnreachable(
                f"the server takes no more requests now (429): {self.uri}",
                advice=f"try again {_later(response.retry_after)}",
            )
        if status in _SERVER_ERRORS:
            raise SourceUnreachable(
                f"the server failed ({status}): {self.uri}", advice="try again later, or tell its owner"
            )
        raise SourceUnreadable(
            f"the server answered {status} in place of the file: {self.uri}", advice="correct the address"
        )

    def _leaf(self, failure: HttpFailure) -> SourceError:
        if failure.reason == "too_large":
            return too_large(self.uri, self.limits.file_size)
        leaf = _LEAVES.get(failure.reason, SourceUnreachable)
        return leaf(f"{failure.what}: {self.uri}", advice=failure.advice_for(_ADVICE_FOR))

    def _authorization(self) -> str | None:
        if self._token_env is None:
            return None
        token = self._environ.get(self._token_env, "")
        if not token:
            raise SourceAccessDenied(
                f"the environment variable {self._token_env}, which holds the token, is not set: {self.uri}",
                advice=f"set {self._token_env}",
            )
        authorization = bearer(token)
        if authorization is None:
            raise SourceAccessDenied(
                f"the environment variable {self._token_env} holds no token: {self.uri}",
                advice=f"set {self._token_env} to the token alone, without blanks and line ends",
            )
        return authorization


class HttpRevision(Revision):
    """The one file, as the server had it. Made by HttpSource."""

    layout = "file"

    def __init__(self, source: HttpSource, content: Cached) -> None:
        super().__init__(source.limits)
        name = urlsplit(source.url).path.rpartition("/")[2]
        self.only_file = name if name.strip(".") else "index"
        self._source = source
        self._content = content

    def provenance(self, path: str, data: bytes) -> Provenance:
        return Provenance(
            kind="http",
            uri=self._source.uri,
            path=path,
            digest=digest(data),
            pinned=self._source.sha256 == digest(data),
            fetched_at=self._content.notes.get("fetched_at"),
        )

    def file_name(self, path: str) -> str:
        del path  # it is one file
        return self._source.uri

    def _read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        for path in paths:
            if path != self.only_file:
                raise SourceMissing(f"an http source is one file, and it is not {path}: {self._source.uri}")
        return dict.fromkeys(paths, self._content.data)

    def _list_paths(self, folder: str, *, recursive: bool) -> list[str]:
        del recursive  # one file has no folders
        return [] if folder or self.only_file is None else [self.only_file]

    def _holds(self, path: str) -> Literal["file", "folder"] | None:
        return "file" if path == self.only_file else None


def display_url(url: str) -> str:
    """`url` without credentials: its user information taken out, and what looks like a secret masked."""
    scheme, separator, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    shown = f"{scheme}{separator}{place.rpartition('@')[2]}{slash}{path}"
    return mask("".join(character for character in shown if character.isprintable()))


def check_url(url: str, plain_http: Collection[str]) -> None:
    """Raise SourceRefused for an address that is not fetched from."""
    try:
        parse_address(url, plain_http)
    except AddressRefused as error:
        raise _refused(error) from error


def _refused(error: AddressRefused) -> SourceRefused:
    uri = display_url(error.url)
    what, advice = {
        "unreadable": ("this is no address of a file", _ADVICE),
        "scheme": (f"this is no https address: {uri}", _ADVICE),
        "credentials": (
            f"the address carries credentials: {uri}",
            "take them out and name a variable in `token_env`",
        ),
        "fragment": (f"the address of a file has no '#' part: {uri}", _ADVICE),
        "plain": (
            f"plain http is not used to {error.host}: {uri}",
            f"write https, or name {error.host} under `{dotted(PLAIN_HTTP)}` of the settings",
        ),
    }[error.reason]
    return SourceRefused(what, advice=advice)


def _hashed(url: str) -> str:
    """An address as part of a key, which lies on the disk: it may hold what is secret."""
    return hashlib.sha256(url.encode()).hexdigest()


def _later(seconds: float | None) -> str:
    return "later" if seconds is None or seconds > _LONGEST_WAIT else f"in {seconds:.0f} s"
