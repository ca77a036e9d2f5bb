"""Reads `services` of `policy.opa.config`: the servers that OPA asks for bundles.

Rules:
- OPA's own keys, handed on as they are; one that OPA does not know is refused with its place, since OPA would pass it
  over, and send no token, or trust whom it should not.
- What OPA reads from files stands relative to the settings that name it, not to the working directory.
- Who is spoken to without TLS, or without a look at its certificate, gives signed bundles only: anybody could give
  others. This machine is an exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from flowyml_policy.errors.opa import OpaStartFailed, PolicyInvalid

if TYPE_CHECKING:
    from flowyml_policy.records.record import Json, KeyPath

OCI: Final = "oci"

_PLACE: Final = "policy.opa.config.services"
_SERVICE: Final = frozenset(
    {
        "name",
        "url",
        "headers",
        "allow_insecure_tls",
        "response_header_timeout_seconds",
        "tls",
        "credentials",
        "type",
    }
)
_TLS: Final = frozenset({"ca_cert", "system_ca_required"})
_AZURE_IDENTITY: Final = frozenset(
    {"endpoint", "api_version", "resource", "object_id", "client_id", "mi_res_id", "use_app_service_msi"}
)
_ASSUME_ROLE: Final = frozenset({"aws_region", "iam_role_arn", "session_name", "aws_domain", "aws_signing"})
_AWS: Final[Mapping[str, frozenset[str]]] = {
    "environment_credentials": frozenset(),
    "metadata_credentials": frozenset({"iam_role", "aws_region"}),
    "assume_role_credentials": _ASSUME_ROLE,
    "web_identity_credentials": frozenset(
        {"iam_role_arn", "web_identity_token_file", "aws_region", "session_name", "aws_domain"}
    ),
    "profile_credentials": frozenset({"path", "profile", "aws_region"}),
    "sso_credentials": frozenset({"path", "cache_path", "profile", "aws_region"}),
}
CREDENTIALS: Final[Mapping[str, frozenset[str]]] = {
    "bearer": frozenset({"token", "token_path", "scheme"}),
    "client_tls": frozenset(
        {
            "cert",
            "private_key",
            "private_key_passphrase",
            "ca_cert",
            "system_ca_required",
            "cert_reread_interval_seconds",
        }
    ),
    "oauth2": frozenset(
        {
            "grant_type",
            "token_url",
            "client_id",
            "client_secret",
            "signing_key",
            "thumbprint",
            "additional_claims",
            "include_jti_claim",
            "scopes",
            "additional_headers",
            "additional_parameters",
            "aws_kms",
            "aws_signing",
            "azure_keyvault",
            "azure_signing",
            "client_assertion_type",
            "client_assertion",
            "client_assertion_path",
        }
    ),
    "s3_signing": frozenset({*_AWS, "service", "signature_version"}),
    "gcp_metadata": frozenset({"access_token_path", "audience", "endpoint", "identity_token_path", "scopes"}),
    "azure_managed_identity": _AZURE_IDENTITY,
}
"""The ways to show oneself to a service, and their keys."""

_BELOW: Final[Mapping[str, frozenset[str]]] = {
    **CREDENTIALS,
    **_AWS,
    "aws_signing": CREDENTIALS["s3_signing"],
    "aws_kms": frozenset({"name", "algorithm"}),
    "azure_signing": frozenset({"azure_managed_identity", "service"}),
    "azure_keyvault": frozenset({"key", "key_version", "key_algorithm", "vault", "api_version"}),
}
"""The keys of every section below `credentials`, by the name of the section."""

_FILES: Final = frozenset(
    {
        "ca_cert",
        "token_path",
        "cert",
        "private_key",
        "client_assertion_path",
        "web_identity_token_file",
        "path",
        "cache_path",
    }
)
"""Keys whose value is a file that OPA reads."""


class Service(NamedTuple):
    """A server that OPA asks. `options` are OPA's own keys."""

    name: str
    url: str
    kind: str
    options: Mapping[str, Json]

    @property
    def is_trusted(self) -> bool:
        """Whether it is known who answers: by its certificate, or because it is this machine."""
        address = urlsplit(self.url)
        if address.scheme == "https" and self.options.get("allow_insecure_tls") is not True:
            return True
        return _is_here(address.hostname or "")


def read_services(services: Json, root: Path) -> dict[str, Service]:
    """Every service by its name; files that OPA reads start at `root`. Raises OpaStartFailed or PolicyInvalid."""
    if services is None:
        return {}
    if not isinstance(services, Mapping):
        raise OpaStartFailed(f"services are a mapping of names to servers: {_PLACE}")
    return {str(name): _service(str(name), service, root) for name, service in services.items()}


class UnknownSetting(OpaStartFailed):
    """A key that OPA does not know, at `path` of the settings. Others tell it from what else is wrong by its path."""

    def __init__(self, message: str, *, advice: str | None = None, path: KeyPath = ()) -> None:
        self.path = path
        super().__init__(message, advice=advice)


def check_known(place: str, value: Mapping[str, Json], known: frozenset[str]) -> None:
    """Refuse a key that OPA would pass over. Raises UnknownSetting."""
    for key in value:
        if key not in known:
            raise UnknownSetting(
                f"OPA has no such setting: {place}.{key}",
                advice=f"write one of {', '.join(sorted(known))}" if known else "take it out",
                path=(*place.split("."), key),
            )


def _service(name: str, service: Json, root: Path) -> Service:
    place = f"{_PLACE}.{name}"
    if not isinstance(service, Mapping):
        raise OpaStartFailed(f"a service is a mapping with `url`: {place}")
    check_known(place, service, _SERVICE)
    url = service.get("url")
    address = urlsplit(url) if isinstance(url, str) else None
    if address is None or address.scheme not in {"http", "https"} or not address.hostname:
        raise OpaStartFailed(f"a service needs `url`, an http or https address: {place}.url")
    if "@" in address.netloc:
        raise OpaStartFailed(
            f"the address of a service holds no credentials: {place}.url", advice="write them into `credentials`"
        )
    kind = service.get("type") or ""
    if kind not in {"", OCI}:
        raise OpaStartFailed(f"OPA knows no service of type {kind!r}: {place}.type", advice="write oci, or take it out")
    headers = service.get("headers", {})
    if not isinstance(headers, Mapping) or not all(isinstance(value, str) for value in headers.values()):
        raise OpaStartFailed(f"headers are a mapping of names to texts: {place}.headers")
    options = dict(service)
    for key, known in (("tls", _TLS), ("credentials", frozenset(CREDENTIALS))):
        section = service.get(key)
        if section is not None:
            options[key] = _section(f"{place}.{key}", section, known, root)
    return Service(name, str(url), str(kind), options)


def _section(place: str, section: Json, known: frozenset[str], root: Path) -> dict[str, Json]:
    """A part of a service, its files found from `root`."""
    if not isinstance(section, Mapping):
        raise OpaStartFailed(f"this is a mapping: {place}")
    if "plugin" in section and known == frozenset(CREDENTIALS):
        raise PolicyInvalid(
            f"no plugin for credentials is part of this program: {place}.plugin",
            advice=f"write one of {', '.join(sorted(known))}",
        )
    check_known(place, section, known)
    read: dict[str, Json] = {}
    for key, value in section.items():
        below = _BELOW.get(key)
        if below is not None and value is not None:
            read[key] = _section(f"{place}.{key}", value, below, root)
        elif key in _FILES and isinstance(value, str) and value:
            read[key] = str(root / value)
        else:
            read[key] = value
    return read


def _is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
