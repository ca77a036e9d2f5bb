"""Publishes a bundle to a server, by `PUT https://SERVER/bundles/NAME`: the archive as it is.

Rules:
- The server decides whether the bundle is signed well and goes forward. Its reasons are repeated, masked and short.
- The token goes to the server that was named, over https, or http on this machine. No redirect is followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

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
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.failures import FailureReason, HttpFailure
from flowyml_policy.network.http import Client, Request, Response

_LARGEST_ANSWER: Final = 1 << 18
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/bundles/[A-Za-z0-9._-]+", re.ASCII)
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)
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
    _check(url)
    packed, published = publishable(path, url)
    token = None if token_env is None else _token(token_env, environ, url)
    headers = {"Content-Type": "application/gzip", "Accept": "application/json"}
    client = Client(ca=ca, offline=offline, environ=environ)
    # The same bytes again are what the server has: a lost answer may be asked for once more.
    request = Request("PUT", url, _LARGEST_ANSWER, headers, packed, authorization=token, repeatable=True)
    try:
        response = client.send(request, Deadline(SECONDS))
    except AddressRefused as error:
        raise _not_asked(url) from error
    except HttpFailure as failure:
        raise BundleUnreachable(f"{failure.what}: {url}", advice=failure.advice_for(_ADVICE_FOR)) from failure
    finally:
        client.close()
    if response.status not in {_OK, _CREATED}:
        raise _refused(response, url)
    return published._replace(changed=response.status == _CREATED)


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
    if _TOKEN.fullmatch(token) is None:
        what = "holds no token" if token else "is not set, or empty"
        raise BundleAccessDenied(f"the variable {variable} {what}: {url}", advice="put the server's token into it")
    return f"Bearer {token}"


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
