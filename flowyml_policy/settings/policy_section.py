"""The section `policy`: the settings of this program itself, the same in flowyml.yaml and the platform's file."""

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from flowyml_policy.records.record import Json
from flowyml_policy.references.url import BadValue
from flowyml_policy.settings.types import (
    AllowedRegistry,
    AuditFile,
    ByRegistry,
    Duration,
    FilePath,
    Host,
    ImageGlob,
    Listing,
    Memory,
    NamedHost,
    OrUrl,
    Section,
    ServerUrl,
    Size,
    Text,
    Timeout,
    Url,
    VariableName,
    WhenSet,
)

DEFAULT_AUDIT_FILE: Final = ".flowyml/policy.db"
DAY: Final = 86400.0

Enforce: TypeAlias = Literal["block", "observe", "none"]
UnbuiltBackend: TypeAlias = Literal["kubernetes", "ray", "databricks", "custom"]
"""Backends that definitions name and FlowyML has no stack for."""
InspectMode: TypeAlias = Literal["auto", "daemon", "registry", "off"]


class SidecarSettings(Section):
    """The OPA server to ask where `mode` is sidecar."""

    url: ServerUrl = Field(
        default="https://localhost:8181",
        description="Its scheme, host and port, nothing more; https, or http on this machine.",
    )
    token_env: VariableName | None = Field(default=None, description="Environment variable that holds its token.")
    ca: FilePath | None = Field(default=None, description="CA certificates, a PEM file.")


class OpaSettings(Section):
    """How OPA is run, and what it must prove of itself."""

    mode: Literal["embedded", "sidecar"] = Field(default="embedded", description="OPA in this process, or a server.")
    config: Annotated[dict[str, Json] | None, WhenSet] = Field(
        default=None,
        repr=False,
        description="OPA's own configuration, whose bundles are then the whole policy. `${NAME}` stands for an "
        "environment variable, `$${` for `${` itself; `resource: shipped` for the packaged policy. With `discovery` a "
        "bundle of the company names further ones.",
    )
    sidecar: SidecarSettings = Field(
        default=SidecarSettings.model_construct(), description="The server to ask in mode sidecar."
    )
    start_timeout: Timeout = Field(
        default=10.0, description="How long the first decision waits for OPA.", json_schema_extra={"default": "10s"}
    )
    deadline: Timeout = Field(
        default=2.0, description="How long one decision may take.", json_schema_extra={"default": "2s"}
    )
    max_age: Timeout = Field(
        default=7 * DAY,
        description="How old a kept copy of a remote bundle may be.",
        json_schema_extra={"default": "7d"},
    )
    require_signed: bool = Field(default=False, description="Refuse bundles that are not signed.")
    require_revision: dict[Text, Text] | None = Field(
        default=None, description="The one revision that may decide, by the name of its bundle."
    )
    allow_hosts: Listing[Host] = Field(default=(), description="Hosts that rules may reach; none by default.")
    isolation: Literal["auto", "process"] = Field(
        default="auto",
        description="Where OPA judges: `process`, in a process of its own that is ended where a rule does not end; "
        "`auto`, there only if the project brings policy of its own.",
    )
    memory: Memory = Field(
        default=4 * 2**30,
        description="How much memory that process may take (Linux); at least 1.5GiB.",
        json_schema_extra={"default": "4GiB"},
    )


class RegistryCredential(Section):
    """How to log in to one registry; secrets are named by variable, never written down."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["username", "password_env"], "not": {"required": ["token_env"]}},
                {"required": ["token_env"], "properties": {"username": False, "password_env": False}},
            ]
        }
    )

    username: Annotated[Text | None, WhenSet] = Field(default=None, description="User name, with `password_env`.")
    password_env: Annotated[VariableName | None, WhenSet] = Field(
        default=None, description="Environment variable that holds the password."
    )
    token_env: Annotated[VariableName | None, WhenSet] = Field(
        default=None, description="Environment variable that holds a bearer token, in place of the two."
    )

    @model_validator(mode="after")
    def _says_how(self) -> Self:
        by_password = self.username is not None and self.password_env is not None
        by_half = (self.username is None) != (self.password_env is None)
        if by_half or by_password == (self.token_env is not None):
            raise BadValue("does not say how to log in", "write `username` and `password_env`, or `token_env` alone")
        return self


class ClientCertificate(Section):
    """What this program shows of itself to a server that asks for it (mutual TLS)."""

    certificate: FilePath = Field(description="The certificate and its chain, a PEM file.")
    key: FilePath = Field(description="Its private key, a PEM file.")


class SigningKeys(Section):
    """Several public keys, of which some must have signed."""

    keys: Annotated[Listing[FilePath], Field(min_length=1)] = Field(description="Public keys, PEM files.")
    need: int = Field(default=1, ge=1, le=16, description="How many of them must have signed.")


class ImagesSettings(Section):
    """How images are inspected."""

    inspect: InspectMode = Field(default="auto", description="Ask the local daemon, the registry, both, or nobody.")
    insecure: Listing[Host] = Field(default=(), description="Registries that are spoken to without TLS.")
    allow_local: Listing[ImageGlob] = Field(
        default=(), description="Globs of images that may exist in the daemon alone."
    )
    credentials: dict[Host, RegistryCredential] = Field(default={}, description="Logins by registry host.")
    mirrors: dict[Host, Listing[AllowedRegistry]] = Field(default={}, description="Mirrors by registry host, in order.")
    ca: FilePath | dict[Host, FilePath] | None = Field(
        default=None, description="CA certificates, a PEM file, or one for each registry host."
    )
    client_certificates: dict[Host, ClientCertificate] = Field(
        default={}, description="Certificates to show to registries, by host."
    )
    cosign_keys: ByRegistry[FilePath | Listing[FilePath] | SigningKeys] = Field(
        default={},
        description="Public keys, PEM files, that must have signed the images of a registry: one of them, or `need` of "
        "`keys`.",
    )
    concurrency: int = Field(default=8, ge=1, le=64, description="How many images are looked at at once.")
    per_registry: int = Field(default=6, ge=1, le=64, description="How many of them at one registry.")
    timeout: Timeout = Field(
        default=30.0,
        description="How long one image may take, all requests together.",
        json_schema_extra={"default": "30s"},
    )
    tag_ttl: Duration = Field(
        default=300.0, description="How long a tag's digest is remembered.", json_schema_extra={"default": "5m"}
    )
    max_cache: Size = Field(
        default=512 * 2**20,
        description="How much is kept of what registries said of images.",
        json_schema_extra={"default": "512MiB"},
    )


class StackRegistrySettings(Section):
    """The company's stack registry; absent, it is the project's own file."""

    url: Url | None = Field(default=None, description="Its address; https, or http on this machine.")
    token_env: VariableName | None = Field(default=None, description="Environment variable that holds its token.")
    ca: FilePath | None = Field(default=None, description="CA certificates, a PEM file.")


class SourcesSettings(Section):
    """What may be asked for the stacks of others."""

    plain_http: Listing[NamedHost] = Field(
        default=(),
        description="Hosts, as files.example.com or files.example.com:8080, that http sources may be read from "
        "without TLS; none by default, but for this machine.",
    )


class ReportSettings(Section):
    """The server that is sent every decision, and what it is sent with. A bare address means no token."""

    IS_ONE_VALUE = True

    url: Url = Field(description="Its address, before `/logs` and `/status`; https, or http on this machine.")
    token_env: VariableName | None = Field(default=None, description="Environment variable that holds its token.")
    ca: FilePath | None = Field(default=None, description="CA certificates, a PEM file.")


class AuditSettings(Section):
    """Where decisions are recorded."""

    path: AuditFile = Field(
        default=DEFAULT_AUDIT_FILE, description="The audit file, relative to the folder of the file that names it."
    )
    report_to: Annotated[ReportSettings | None, OrUrl] = Field(
        default=None, description="A server that is sent every decision, as OPA sends its decision log."
    )


class PolicySection(Section):
    """`policy`: the settings of this program itself."""

    enforce: Enforce = Field(
        default="block", description="Of runs: block a denied one, observe (record it and let go), or none."
    )
    run_locally: Listing[UnbuiltBackend] = Field(
        default=(),
        description="Backends whose stacks FlowyML may run in the process that starts the pipeline, since it cannot "
        "reach them; none by default.",
    )
    rules: Listing[FilePath] = Field(default=(), description="Folders with Rego rules of the project's own.")
    waivers: FilePath = Field(default="waivers.yaml", description="The project's waivers.")
    opa: OpaSettings = Field(default=OpaSettings.model_construct(), description="How OPA is run.")
    images: ImagesSettings = Field(default=ImagesSettings.model_construct(), description="How images are inspected.")
    registry: StackRegistrySettings = Field(
        default=StackRegistrySettings.model_construct(), description="The stack registry."
    )
    sources: SourcesSettings = Field(
        default=SourcesSettings.model_construct(), description="What may be asked for the stacks of others."
    )
    audit: AuditSettings = Field(default=AuditSettings.model_construct(), description="Where decisions are recorded.")
