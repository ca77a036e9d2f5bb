"""A bundle on a server, https://SERVER/bundles/NAME: published by PUT, the archive as it is, and its history.

Rules:
- The server decides whether the bundle is signed well and goes forward. Its reasons are repeated, masked and short.
- The token goes to the server that was named, over https, or http on this machine. No redirect is followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

from typing_extensions import Self

from flowyml_policy.bundles.archive import MOST_PACKED
from flowyml_policy.bundles.publication import SECONDS, Published, publishable
from flowyml_policy.errors.bundles import (
    BundleAccessDenied,
    BundleError,
    BundleMissing,
    BundleUnreachable,
    PushRefused,
)
from flowyml_policy.errors.root import UsageError
from flowyml_policy.mask.quoted import clipped
from flowyml_policy.mask.text import mask
from flowyml_policy.network.address import AddressRefused, parse_address
from flowyml_policy.network.bearer import bearer
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.failures import FailureReason, HttpFailure
from flowyml_policy.network.http import Client, Request, Response
from flowyml_policy.records.record import Json

_LARGEST_ANSWER: Final = 1 << 18
_LARGEST_HISTORY: Final = 4 << 20
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/bundles/[A-Za-z0-9._-]+", re.ASCII)
_OK: Final = 200
_CREATED: Final = 201
_NO_ACCESS: Final = frozenset({401, 403})
_NOT_FOUND: Final = 404
_TOO_MANY: Final = 429
_DECLINED: Final = frozenset({400, 409, 411, 412, 413, 415, 422})
_ADVICE: Final = "name the variable that holds a token for this bundle with --token-env"
_ADVICE_FOR: Final[Mapping[FailureReason, str]] = {
    "untrusted": "name the server's CA certificates with --ca",
    "certificates": "name a readable PEM file with --ca",
}
_LONGEST_REASON: Final = 300
_HISTORY: Final[Mapping[str, type]] = {"revision": str, "sequence": int, "etag": str, "kept": bool}
_NO_SERVER: Final = "name a server of this program, as https://policy.example.com"


class Listed(NamedTuple):
    """A line of a bundle's history, as the server tells it."""

    revision: str
    sequence: int
    etag: str
    kept: bool


class BundleOnServer:
    """The bundle at `url`, asked with the token that a variable holds. The calls raise BundleError.

    Raises UsageError for what is no address of a bundle.
    """

    def __init__(
        self,
        url: str,
        *,
        token_env: str | None = None,
        ca: Path | None = None,
        offline: bool = False,
        environ: Mapping[str, str],
    ) -> None:
        _check(url)
        self.url = url
        self._authorization = None if token_env is None else _token(token_env, environ, url)
        self._client = Client(ca=ca, offline=offline, environ=environ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def put(self, path: Path, *, if_match: str | None = None) -> Published:
        """Publish the bundle at `path`, with `if_match` only where this is what is active. Raises UsageError."""
        packed, published = publishable(path, self.url)
        headers = {"Content-Type": "application/gzip", "Accept": "application/json"}
        headers |= {} if if_match is None else {"If-Match": if_match}
        # The same bytes again are what the server has: a lost answer may be asked for once more.
        response = self._send(Request("PUT", self.url, _LARGEST_ANSWER, headers, packed, repeatable=True))
        return published._replace(changed=response.status == _CREATED)

    def history(self) -> list[Listed]:
        """What was published, the newest first; it is active."""
        response = self._get("/history", _LARGEST_HISTORY)
        try:
            listed = json.loads(response.body)["history"]
            found = [Listed(*(_typed(one[key], kind) for key, kind in _HISTORY.items())) for one in listed]
        except (ValueError, RecursionError, LookupError, TypeError) as error:
            raise BundleUnreachable(f"the server's history is none: {self.url}", advice=_NO_SERVER) from error
        if not found:
            raise BundleMissing(f"nothing was published: {self.url}")
        return found

    def archive(self, revision: str) -> bytes:
        """The archive of a revision."""
        return self._get(f"/revisions/{quote(revision, safe='')}", MOST_PACKED).body

    def _get(self, below: str, largest: int) -> Response:
        return self._send(Request("GET", f"{self.url}{below}", largest))

    def _send(self, request: Request) -> Response:
        try:
            response = self._client.send(replace(request, authorization=self._authorization), Deadline(SECONDS))
        except AddressRefused as error:
            raise _not_asked(self.url) from error
        except HttpFailure as failure:
            said = f"{failure.what}: {self.url}"
            raise BundleUnreachable(said, advice=failure.advice_for(_ADVICE_FOR)) from failure
        if response.status not in {_OK, _CREATED}:
            raise _refused(response, self.url)
        return response


def put_bundle(
    path: Path,
    url: str,
    *,
    token_env: str | None = None,
    ca: Path | None = None,
    offline: bool = False,
    environ: Mapping[str, str],
) -> Published:
    """Publish the bundle at `path` as `url`. Raises UsageError, BundleError."""
    with BundleOnServer(url, token_env=token_env, ca=ca, offline=offline, environ=environ) as bundle:
        return bundle.put(path)


def _typed(value: Json, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(kind)
    return value


def _check(url: str) -> None:
    """Raise UsageError for what is no address of a bundle."""
    try:
        parse_address(url)
    except AddressRefused as error:
        raise _not_asked(url) from error
    parts = urlsplit(url)
    if parts.query or not _PATH.fullmatch(parts.path):
        raise UsageError(
            f"this is no address of a bundle: {mask(url)}", advice="write https://SERVER/bundles/NAME, or oci://..."
        )


def _not_asked(url: str) -> UsageError:
    return UsageError(
        f"no bundle is sent to this address: {mask(url)}",
        advice="write https://SERVER/bundles/NAME, without credentials; http is for this machine alone",
    )


def _token(variable: str, environ: Mapping[str, str], url: str) -> str:
    token = environ.get(variable, "").strip()
    authorization = bearer(token)
    if authorization is None:
        what = "holds no token" if token else "is not set, or empty"
        raise BundleAccessDenied(f"the variable {variable} {what}: {url}", advice="put the server's token into it")
    return authorization


def _refused(response: Response, url: str) -> BundleError:
    status, reason = response.status, _reason(response.body)
    said = f"the server answered {status}{f', {reason}' if reason else ''}: {url}"
    if status in _NO_ACCESS:
        return BundleAccessDenied(said, advice=_ADVICE)
    if status == _NOT_FOUND:
        return BundleMissing(said, advice="correct the server's address or the bundle's name")
    if status in _DECLINED:
        return PushRefused(said, advice="correct what the server names, and push again")
    if status == _TOO_MANY or status >= 500:  # noqa: PLR2004  server errors
        return BundleUnreachable(said, advice="try again later, or tell the server's owner")
    return BundleUnreachable(said, advice="name the address of the server itself; no redirect is followed")


def _reason(body: bytes) -> str | None:
    """What the server says of its refusal, in `{"error": {"code": ..., "message": ...}}`."""
    try:
        error = json.loads(body)["error"]
        words = [error[key] for key in ("code", "message") if isinstance(error.get(key), str) and error[key]]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    return clipped(mask(": ".join(words)), _LONGEST_REASON) or None
