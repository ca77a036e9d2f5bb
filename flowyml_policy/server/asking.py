"""A server asked for its status, from another machine. The token goes to it alone, and no redirect is followed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from flowyml_policy.errors.root import UsageError
from flowyml_policy.errors.server import ServerUnreachable
from flowyml_policy.mask.text import mask
from flowyml_policy.network.address import AddressRefused
from flowyml_policy.network.bearer import bearer
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.failures import FailureReason, HttpFailure
from flowyml_policy.network.http import Client
from flowyml_policy.network.messages import Request
from flowyml_policy.records.clients import ServerStatus
from flowyml_policy.server.overview import PATH

_SECONDS: Final = 30.0
_LARGEST: Final = 64 << 20
_OK: Final = 200
_NO_ACCESS: Final = frozenset({401, 403})
_ADVICE_FOR: Final[Mapping[FailureReason, str]] = {
    "untrusted": "name the server's CA certificates with --ca",
    "certificates": "name a readable PEM file with --ca",
}


def ask_status(
    url: str, *, token_env: str | None, ca: Path | None, offline: bool, environ: Mapping[str, str]
) -> ServerStatus:
    """The status of the server at `url`. Raises UsageError, ServerUnreachable."""
    authorization = None if token_env is None else bearer(environ.get(token_env, "").strip())
    if token_env is not None and authorization is None:
        raise UsageError(f"the variable {token_env} holds no token", advice="put a token of the scope operator into it")
    address = f"{url.rstrip('/')}{PATH}"
    client = Client(ca=ca, offline=offline, environ=environ)
    try:
        response = client.send(Request("GET", address, _LARGEST, authorization=authorization), Deadline(_SECONDS))
    except AddressRefused as error:
        raise UsageError(
            f"this is no address of a server: {mask(url)}",
            advice="write https://SERVER, without credentials; http is for this machine alone",
        ) from error
    except HttpFailure as failure:
        raise ServerUnreachable(f"{failure.what}: {mask(url)}", advice=failure.advice_for(_ADVICE_FOR)) from failure
    finally:
        client.close()
    if response.status in _NO_ACCESS:
        advice = "name the variable that holds a token of the scope operator with --token-env"
        raise ServerUnreachable(f"the server answered {response.status}: {mask(url)}", advice=advice)
    try:
        if response.status == _OK:
            return ServerStatus.model_validate_json(response.body)
    except ValidationError as error:
        raise ServerUnreachable(f"the server's answer is no status: {mask(url)}") from error
    raise ServerUnreachable(f"the server answered {response.status}: {mask(url)}")
