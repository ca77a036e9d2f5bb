"""Whom the sidecar's evaluator asks, and what it shows of itself: checked before anything is sent."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from flowyml_policy.errors.opa import OpaStartFailed, OpaUnavailable

DEFAULT_PORTS: Final[Mapping[str, int]] = {"https": 443, "http": 80}

_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)
_ADDRESS_ADVICE: Final = "write scheme, host and port, as https://localhost:8181"


def server_address(url: str) -> str:
    """Scheme, host and port of `url`. Raises OpaStartFailed where there is more to it, or less."""
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        raise OpaStartFailed("the address of the OPA server is none", advice=_ADDRESS_ADVICE)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise OpaStartFailed(
            f"the address of the OPA server goes on after its port: {parts.netloc}", advice=_ADDRESS_ADVICE
        )
    return f"{parts.scheme}://{parts.netloc}"


def certificates(ca: Path | None, url: str) -> Path | None:
    """`ca`, once it is known to hold certificates; None for the client's own. Raises OpaUnavailable."""
    if ca is None or not url.startswith("https:"):
        return None
    try:
        ssl.create_default_context(cafile=ca)
    except OSError as error:
        reason = "it holds no certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise OpaUnavailable(
            f"the CA certificates of {url} cannot be read: {ca}: {reason}",
            advice="name a readable PEM file in policy.opa.sidecar.ca, or put it there",
        ) from error
    return ca


def bearer_token(name: str | None, environ: Mapping[str, str]) -> str | None:
    """The token in the variable `name`. Raises OpaUnavailable, and no message ever holds it."""
    if name is None:
        return None
    token = environ.get(name, "")
    if not token:
        raise OpaUnavailable(
            f"the variable {name}, which policy.opa.sidecar.token_env names, is not set",
            advice=f"set {name} to the server's token",
        )
    if _TOKEN.fullmatch(token) is None:
        raise OpaUnavailable(
            f"what the variable {name} holds is no bearer token",
            advice="take blanks, line breaks and other characters out that no header can hold",
        )
    return token
