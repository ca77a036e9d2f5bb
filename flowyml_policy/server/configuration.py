"""server.yaml: how a company's server is run.

Rules:
- Everything wrong with the file is said at once, with its place. What names a path starts from the file's folder.
- Beyond this machine the server listens with TLS alone, or behind a proxy that has it and is named as such.
- Where keys are set no unsigned bundle is published; without keys this must be said (`require_signed: false`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

from pydantic import AfterValidator, Field, WithJsonSchema

from flowyml_policy.bundles.keys import Key, read_public_key
from flowyml_policy.documents.document import Document
from flowyml_policy.documents.key_path import dotted
from flowyml_policy.errors.root import UsageError
from flowyml_policy.errors.settings import SettingsInvalid, SettingsProblem
from flowyml_policy.records.record import KeyPath
from flowyml_policy.references.url import HIGHEST_PORT, BadValue, host_name, shown
from flowyml_policy.server.scopes import open_scope
from flowyml_policy.server.store import FILE
from flowyml_policy.settings.json_schema import file_json_schema
from flowyml_policy.settings.policy_section import PolicySection
from flowyml_policy.settings.problems import in_file_order
from flowyml_policy.settings.reading import read_settings_file
from flowyml_policy.settings.types import FilePath, Host, Listing, Section, Size, Text, Timeout
from flowyml_policy.settings.variables import Expansion
from flowyml_policy.system.files import is_missing

DEFAULT_PORT: Final = 8282
_PORT: Final = re.compile("[0-9]{1,5}", re.ASCII)
_CONFIG: Final[KeyPath] = ("policy", "opa", "config")
_ADVICE: Final = "correct the file; `flowyml-policy schema server` prints what may stand there"


def _listen(value: str) -> str:
    """A host and a port to listen at; the port 0 is one that is free."""
    host, _, port = value.rpartition(":")
    if host_name(host) is None or _PORT.fullmatch(port) is None or int(port) > HIGHEST_PORT:
        raise BadValue(f"is no host with a port: {shown(value)}", f"write one as 127.0.0.1:{DEFAULT_PORT}")
    return value


Listen: TypeAlias = Annotated[
    str, AfterValidator(_listen), WithJsonSchema({"type": "string", "pattern": "^.+:[0-9]{1,5}$"})
]
OpenScope: TypeAlias = Annotated[str, AfterValidator(open_scope)]


class TlsSettings(Section):
    """The server's certificate, read again when its file changes."""

    certificate: FilePath = Field(description="The certificate and its chain, a PEM file.")
    key: FilePath = Field(description="Its private key, a PEM file.")
    client_ca: FilePath | None = Field(
        default=None, description="CA certificates, a PEM file: clients must show a certificate of theirs."
    )


class KeyFile(Section):
    """A public key that signs bundles."""

    key_file: FilePath = Field(description="The public key, a PEM file.")


class BundlesSettings(Section):
    """What is published, and what it must be."""

    watch: FilePath | None = Field(
        default=None, description="A folder whose NAME.tar.gz are published when they change."
    )
    require_signed: bool = Field(default=True, description="Refuse bundles that none of `keys` signed.")
    keys: dict[Text, KeyFile] = Field(default={}, description="Public keys by the name that signatures have for them.")
    keep: int = Field(default=20, ge=1, le=1000, description="How many archives of each bundle are kept.")


class Limits(Section):
    """What one client may take."""

    body: Size = Field(
        default=64 * 2**20, description="The largest body of a request.", json_schema_extra={"default": "64MiB"}
    )
    polls: int = Field(default=20_000, ge=1, le=1_000_000, description="How many long polls wait at once.")
    wait: Timeout = Field(
        default=1800.0, description="How long a long poll is held at most.", json_schema_extra={"default": "30m"}
    )
    header_timeout: Timeout = Field(
        default=10.0, description="How long the head of a request may take.", json_schema_extra={"default": "10s"}
    )
    body_timeout: Timeout = Field(
        default=60.0, description="How long the body of a request may take.", json_schema_extra={"default": "60s"}
    )
    failures_per_minute: int = Field(
        default=20, ge=1, le=100_000, description="How many wrong tokens one address may try in a minute."
    )


class ServerFile(Section):
    """server.yaml as it is written."""

    listen: Listen = Field(default=f"127.0.0.1:{DEFAULT_PORT}", description="The address to listen at.")
    data: FilePath = Field(default="./server", description="The server's folder.")
    tls: TlsSettings | None = Field(default=None, description="The server's certificate.")
    behind_proxy: bool = Field(
        default=False, description="A proxy before the server has the TLS, and says who the client is."
    )
    bundles: BundlesSettings = Field(default=BundlesSettings.model_construct(), description="What is published.")
    anonymous: Listing[OpenScope] = Field(default=(), description="Scopes that need no token.")
    policy: PolicySection = Field(
        default=PolicySection.model_construct(), description="By what stacks are judged here, as in flowyml.yaml."
    )
    inspect_hosts: Listing[Host] = Field(
        default=(), description="Registries that are asked for the images of stacks; none by default."
    )
    limits: Limits = Field(default=Limits.model_construct(), description="What one client may take.")


class Configuration(NamedTuple):
    """How the server is run: its file, where values stand in it, and what it says, paths being absolute."""

    path: Path
    document: Document
    values: ServerFile

    @property
    def listen(self) -> tuple[str, int]:
        """The host, without brackets, and the port."""
        host, _, port = self.values.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def data(self) -> Path:
        """The server's folder."""
        return self.place(self.values.data)

    @property
    def database(self) -> Path:
        """The server's one SQLite file."""
        return self.data / FILE

    def bundle_keys(self) -> tuple[Key, ...]:
        """The keys of which one must have signed a bundle. Raises UsageError, SigningFailed for one of no use."""
        keys = self.values.bundles.keys
        return tuple(read_public_key(self.place(key.key_file), keyid=name) for name, key in keys.items())

    def place(self, named: str) -> Path:
        """A path of the file, seen from its folder."""
        return self.path.parent / named


def read_configuration(path: Path, environ: Mapping[str, str]) -> Configuration:
    """server.yaml at `path`. Raises UsageError where there is none, SettingsInvalid with all that is wrong with it."""
    if is_missing(path):
        raise UsageError(f"there is no such file: {path}", advice="name the server's settings, server.yaml")
    try:
        read = read_settings_file(path, str(path), ServerFile)
        values, problems = _expanded(read.values, read.document, environ)
        problems += _problems(values, read.document, path.parent)
        if problems:
            raise SettingsInvalid.found(in_file_order(problems))
    except SettingsInvalid as error:
        advice = _ADVICE if error.advice == SettingsInvalid.default_advice else error.advice
        raise SettingsInvalid(
            error.message, advice=advice.replace("schema settings", "schema server"), problems=error.problems
        ) from error
    return Configuration(path.absolute(), read.document, values)


def server_json_schema() -> dict[str, Any]:
    """The JSON Schema of server.yaml."""
    return file_json_schema(ServerFile, "server.yaml", "How a company's flowyml-policy server is run.")


def _expanded(
    values: ServerFile, document: Document, environ: Mapping[str, str]
) -> tuple[ServerFile, list[SettingsProblem]]:
    """The file with the variables of OPA's configuration replaced, and what is wrong with those."""
    config = values.policy.opa.config
    if config is None:
        return values, []
    expansion = Expansion(environ, document)
    opa = values.policy.opa.model_copy(update={"config": expansion.expanded(config, _CONFIG)})
    policy = values.policy.model_copy(update={"opa": opa})
    return values.model_copy(update={"policy": policy}), expansion.problems


def _problems(values: ServerFile, document: Document, folder: Path) -> Iterator[SettingsProblem]:
    """What is wrong with a file whose values are each well-formed."""
    problem = partial(_problem, document)
    host = values.listen.rpartition(":")[0]
    if not _is_this_machine(host) and values.tls is None and not values.behind_proxy:
        what = f"is reached from other machines, without TLS: {values.listen}"
        yield problem(("listen",), what, "add `tls`, or `behind_proxy: true` where a proxy before it has the TLS")
    if values.bundles.require_signed and not values.bundles.keys:
        fix = "add `bundles: {keys: {NAME: {key_file: ...}}}`, or `require_signed: false`"
        yield problem(("bundles", "keys"), "names no key, and bundles must be signed", fix)
    for path, what, fix in _not_for_a_server(values.policy):
        yield problem(path, what, fix)
    for path, named in _files(values):
        if is_missing(folder / named):
            yield problem(path, f"names nothing that exists: {shown(named)}", "correct the path; it starts here")


def _files(values: ServerFile) -> Iterator[tuple[KeyPath, str]]:
    """Every file or folder that must be there, and where it is named."""
    if values.tls is not None:
        for key in ("certificate", "key", "client_ca"):
            named = getattr(values.tls, key)
            if named is not None:
                yield ("tls", key), named
    for name, public in values.bundles.keys.items():
        yield ("bundles", "keys", name, "key_file"), public.key_file
    if values.bundles.watch is not None:
        yield ("bundles", "watch"), values.bundles.watch
    for number, folder in enumerate(values.policy.rules):
        yield ("policy", "rules", number), folder


def _not_for_a_server(policy: PolicySection) -> Iterator[tuple[KeyPath, str, str]]:
    """What the section `policy` may say in a project, and not where stacks of others are judged."""
    own = "take it out: the server registers and records in its own file"
    for section, keys in (("registry", policy.registry.model_fields_set), ("audit", policy.audit.model_fields_set)):
        for key in sorted(keys):
            yield ("policy", section, key), "is not the server's to set", own
    if policy.opa.mode == "sidecar":
        yield ("policy", "opa", "mode"), "is not for the server, which judges itself", "take it out, or write embedded"
    if policy.images.inspect == "daemon":
        what = "is not for the server, where no daemon has what others build"
        yield ("policy", "images", "inspect"), what, "write registry, and name registries in `inspect_hosts`"


def _problem(document: Document, path: KeyPath, what: str, fix: str) -> SettingsProblem:
    return SettingsProblem(f"`{dotted(path)}` {what}", location=document.key_location(path), fix=fix)


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
