"""One definition file at an http(s) address.

Rules:
- Each read asks the server, with the validators of what it sent before; a file that is pinned by its SHA-256 and was
  fetched once is not asked for again.
- A redirect is followed to the same scheme only, five times at most; credentials stay with the host, scheme and port
  that they were given for, and are never sent in clear over a network.
- Plain http is for this machine itself and for hosts that are named for it.
- An answer counts when it is whole: of the length that it announced, in no encoding, and no web page.
- The time is for all of it: name service, connection, every redirect, the last byte.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from flowyml_policy.documents.canonical import digest
from flowyml_policy.errors.sources import (
    SourceAccessDenied,
    SourceChanged,
    SourceMissing,
    SourceRefused,
    SourceUnreachable,
)
from flowyml_policy.mask.text import mask_text
from flowyml_policy.network.limits import Deadline
from flowyml_policy.records.instant import utc_now
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.references.git import is_loopback
from flowyml_policy.references.url import PLAIN_HTTP, may_be_plain
from flowyml_policy.settings.problems import dotted
from flowyml_policy.sources.source import DefinitionSource, FetchRules, Revision
from flowyml_policy.storage.cache import Cached, ContentCache

if TYPE_CHECKING:
    from flowyml_policy.network.http_exchange import Answer

_ADVICE: Final = "write https://host/path/stack.yaml"
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)
_ADDRESS: Final = re.compile(r"[\x21-\x7e]{1,2000}", re.ASCII)


class HttpSource(DefinitionSource):
    """The file at `url`, which must have the digest `sha256` (`sha256:` and 64 hex digits) where one is given.

    `token_env` names the variable of `environ` that holds a bearer token, `ca` a PEM file whose certificates alone
    are trusted. Offline what is not pinned is SourceUnreachable, unless `rules` allow what it last was.
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
        key = ("http", hashlib.sha256(self.url.encode()).hexdigest())
        known = self._cache.get(*key)
        if known is not None and self.sha256 is not None and digest(known.data) == self.sha256:
            return known
        if self.rules.offline:
            return self._stale(known)
        answer = self._asked(known)
        notes = {name: value for name, value in answer.validators.items() if value} | {"fetched_at": utc_now()}
        data = known.data if answer.not_modified and known is not None else answer.body
        if self.sha256 is not None and digest(data) != self.sha256:
            raise SourceChanged(f"pinned to {self.sha256}, and its content is {digest(data)}: {self.uri}")
        self._cache.put(*key, data=data, notes=notes)
        return Cached(data, notes)

    def _asked(self, known: Cached | None) -> Answer:
        from flowyml_policy.network.http_exchange import Request, exchange

        request = Request(
            url=self.url,
            token=self._token(),
            ca=self._ca,
            check=lambda url: check_url(url, self.rules.plain_http),
            size=self.limits.file_size,
            needs_length=self.sha256 is None,
            validators=known.notes if known is not None else {},
        )
        deadline = Deadline(self.limits.timeout, self.uri)
        return exchange(request, self.uri, deadline)

    def _stale(self, known: Cached | None) -> Cached:
        if known is None or not self.rules.allow_stale or self.sha256 is not None:
            raise SourceUnreachable(
                f"it is asked for at its server, and nothing is fetched offline: {self.uri}",
                advice="pin it by sha256 and fetch it once while there is a network",
            )
        return known

    def _token(self) -> str | None:
        if self._token_env is None:
            return None
        token = self._environ.get(self._token_env, "")
        if not token:
            raise SourceAccessDenied(
                f"the environment variable {self._token_env}, which holds the token, is not set: {self.uri}",
                advice=f"set {self._token_env}",
            )
        if _TOKEN.fullmatch(token) is None:
            raise SourceAccessDenied(
                f"the environment variable {self._token_env} holds no token: {self.uri}",
                advice=f"set {self._token_env} to the token alone, without blanks and line ends",
            )
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            raise SourceRefused(f"a token is not sent over plain http: {self.uri}", advice="write https")
        return token


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

    def file_name(self, path: str) -> str:  # noqa: ARG002  it is one file
        return self._source.uri

    def _read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        for path in paths:
            if path != self.only_file:
                raise SourceMissing(f"an http source is one file, and it is not {path}: {self._source.uri}")
        return dict.fromkeys(paths, self._content.data)

    def _list_paths(self, folder: str, *, recursive: bool) -> list[str]:  # noqa: ARG002  one file has no folders
        return [] if folder or self.only_file is None else [self.only_file]

    def _holds(self, path: str) -> Literal["file", "folder"] | None:
        return "file" if path == self.only_file else None


def display_url(url: str) -> str:
    """`url` without credentials: its user information taken out, and what looks like a secret masked."""
    scheme, separator, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    shown = f"{scheme}{separator}{place.rpartition('@')[2]}{slash}{path}"
    return mask_text("".join(character for character in shown if character.isprintable()))[0]


def check_url(url: str, plain_http: Collection[str]) -> None:
    """Raise SourceRefused for an address that is not fetched from."""
    uri = display_url(url)
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        parts.port  # noqa: B018  reading it is what checks it
    except ValueError as error:
        raise SourceRefused("this is no address of a file", advice=_ADVICE) from error
    if _ADDRESS.fullmatch(url) is None or parts.scheme not in {"https", "http"} or not host:
        raise SourceRefused(f"this is no https address: {uri}", advice=_ADVICE)
    if parts.username is not None or parts.password is not None:
        raise SourceRefused(
            f"the address carries credentials: {uri}", advice="take them out and name a variable in `token_env`"
        )
    if "#" in url:
        raise SourceRefused(f"the address of a file has no '#' part: {uri}", advice=_ADVICE)
    if parts.scheme == "http" and not may_be_plain(parts, plain_http):
        raise SourceRefused(
            f"plain http is not used to {host}: {uri}",
            advice=f"write https, or name {host} under `{dotted(PLAIN_HTTP)}` of the settings",
        )
