"""Why a registry gave no answer that counts. Each caller makes its own errors of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from flowyml_policy.network.address import AddressRefused
from flowyml_policy.network.failures import FailureReason, HttpFailure
from flowyml_policy.network.messages import Response

RegistryReason: TypeAlias = Literal[
    "missing",  # it answered, and has no such thing
    "denied",  # it wants other credentials, or gives these no access
    "limited",  # it takes no more requests for now
    "server",  # it failed, or answered what it should not
    "invalid",  # what it sent cannot be read
    "mismatch",  # what it sent is not what its digest says
    "too_large",
    "offline",  # this program was told to ask no server
    "unreachable",  # it, or the way to it
    "credentials",  # the login that there is for it cannot be used
]

_LONGEST_WAIT: Final = 86_400
_REASONS: Final[Mapping[FailureReason, RegistryReason]] = {
    "offline": "offline",
    "too_large": "too_large",
    "encoded": "invalid",
    "plain_token": "credentials",
}
"""What is not named here is `unreachable`."""
_ADVICE_FOR: Final[Mapping[FailureReason, str]] = {
    "untrusted": "name the registry's CA certificates in policy.images.ca",
    "not_tls": "if it speaks plain http, name it under policy.images.insecure",
    "certificates": "name readable PEM files in policy.images.ca and policy.images.client_certificates",
    "plain_token": "have the registry speak TLS; a login is not sent over plain http",
}
_STATUSES: Final[Mapping[int, tuple[RegistryReason, str]]] = {
    401: ("denied", "the registry wants other credentials"),
    403: ("denied", "the registry gives no access"),
    404: ("missing", "the registry has no such image"),
    410: ("missing", "the registry has no such image any longer"),
    429: ("limited", "the registry takes no more requests for now"),
}
_SERVER_ERRORS: Final = range(500, 600)


class RegistryFailure(Exception):
    """A registry gave no answer that counts, for `reason`.

    `what` says so without the address, and holds no credentials. `advice` is None where it depends on who asks.
    `status` is that of the answer, where there was one.
    """

    def __init__(self, reason: RegistryReason, what: str, advice: str | None = None, status: int | None = None) -> None:
        super().__init__(what)
        self.reason: RegistryReason = reason
        self.what = what
        self.advice = advice
        self.status = status


def failure_of_http(error: HttpFailure | AddressRefused) -> RegistryFailure:
    """The failure of a request that got no answer."""
    if isinstance(error, AddressRefused):
        return RegistryFailure("unreachable", f"the registry leads to an address that is not asked ({error.reason})")
    return RegistryFailure(_REASONS.get(error.reason, "unreachable"), error.what, error.advice_for(_ADVICE_FOR))


def failure_of_status(response: Response, subject: str = "the registry") -> RegistryFailure:
    """The failure that an answer's status and, where it can be read, its error code stand for."""
    status = response.status
    code = error_code(response.body)
    reason, what = _STATUSES.get(status, ("server", "the registry gave an answer that it should not"))
    if status in _SERVER_ERRORS:
        what = "the registry failed"
    what = what.replace("the registry", subject, 1)
    advice = None
    if reason == "limited" and response.retry_after is not None and response.retry_after <= _LONGEST_WAIT:
        advice = f"log in for a larger quota, or try again in {response.retry_after:.0f} s"
    said = f"{status}" if code is None else f"{status}, {code}"
    return RegistryFailure(reason, f"{what} ({said})", advice, status)


def error_code(body: bytes) -> str | None:
    """The code in a registry's error document, which is a few capital letters by the specification."""
    try:
        found: Any = json.loads(body)
        code = found["errors"][0]["code"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return None
    is_code = isinstance(code, str) and len(code) <= 40 and code.replace("_", "").isalpha() and code.isascii()  # noqa: PLR2004
    return code if is_code else None
