"""Reads `policy.opa.config`: OPA's own configuration, as far as this version honours it.

Rules:
- A key that would be passed over is refused: one that OPA does not know, and one whose feature comes later.
- Its bundles are the whole policy; `resource: shipped` stands for the packaged one. Without a configuration the
  packaged one is the policy.
- Where `keys` are set, or signatures are required, every bundle but the packaged one must state `signing`, and state it
  so that OPA demands a signature of every file: nothing unsigned is loaded by any path.
- Which roots a bundle may own is decided here, and checked by the library before any decision.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from flowyml_policy.errors.opa import OpaStartFailed, PolicyInvalid
from flowyml_policy.errors.settings import FeatureUnavailable
from flowyml_policy.opa.services import Service, check_known, read_services
from flowyml_policy.opa.shipped import CONFIGURED_ROOTS, SHIPPED_BUNDLE

if TYPE_CHECKING:
    from flowyml_policy.records.record import Json

SHIPPED: Final = "shipped"
PROJECT_BUNDLE: Final = "project"

PROJECT_ROOTS: Final = ("project",)
"""What the rules of a project may own."""

_HONOURED: Final = frozenset({"bundles", "keys", "labels", "services", "persistence_directory"})
_LATER: Final = frozenset(
    {
        "discovery",
        "decision_logs",
        "status",
        "plugins",
        "caching",
        "distributed_tracing",
        "metrics",
        "nd_builtin_cache",
        "server",
        "storage",
        "bundle",
        "default_decision",
        "default_authorization_decision",
    }
)
_SOURCE_HONOURED: Final = frozenset({"resource", "signing", "size_limit_bytes"})
_SIGNING_HONOURED: Final = frozenset({"keyid", "scope"})
_SIGNING_REFUSED: Final = {
    "exclude_files": "what it names could be changed by anybody",
    "allow_unsigned_delta_bundles": "a delta could change all data, signed by nobody",
}
_OF_SERVICES: Final = frozenset({"persist", "polling", "trigger"})
_REMOTE: Final = _SOURCE_HONOURED | _OF_SERVICES | {"service"}
_POLLING: Final = frozenset(
    {"min_delay_seconds", "max_delay_seconds", "long_polling_timeout_seconds", "superseded_etag_ttl_seconds"}
)
_KEY: Final = frozenset({"key", "algorithm", "scope"})
_DEFAULT_RESOURCE: Final = "bundles"
"""Below it OPA looks for a bundle that names no resource."""

_UNSAFE_NAME: Final = re.compile(r"[^A-Za-z0-9._-]", re.ASCII)
_NOTHING: Final[Mapping[str, Json]] = MappingProxyType({})


class BundleSource(NamedTuple):
    """One bundle of the policy. `place` is its file or folder; `service` gives it where it is remote, as `resource`.

    The packaged one has neither. `options` are OPA's own keys beside `resource` and `service`. One that is `copied` is
    remote, and its `place` is the kept copy that stands in for it, which was the newest at that second.
    """

    name: str
    place: Path | None
    options: Mapping[str, Json] = _NOTHING
    service: Service | None = None
    resource: str = ""
    copied: int | None = None

    @property
    def is_signed(self) -> bool:
        """Whether OPA checks a signature, which covers the files exactly as they are."""
        return "signing" in self.options

    @property
    def is_packaged(self) -> bool:
        """Whether it is the policy that ships with this program."""
        return self.place is None and self.service is None

    @property
    def is_kept(self) -> bool:
        """Whether a copy of it is kept, for when its server cannot be reached."""
        return self.options.get("persist") is True

    @property
    def origin(self) -> str:
        """Where it comes from and by whose key, as one text: what its sequences are remembered by."""
        signing = self.options.get("signing")
        keyid = signing.get("keyid") if isinstance(signing, Mapping) else None
        url = self.service.url.rstrip("/") if self.service else ""
        return f"{url} {self.resource} {keyid or ''}".rstrip()


class Configuration(NamedTuple):
    """The bundles of the policy, and the rest of OPA's configuration."""

    sources: tuple[BundleSource, ...]
    rest: Mapping[str, Json] = _NOTHING

    @property
    def remote(self) -> tuple[BundleSource, ...]:
        """The bundles that a server gives."""
        return tuple(source for source in self.sources if source.service is not None)


def read_configuration(config: Mapping[str, Json] | None, root: Path, *, require_signed: bool = False) -> Configuration:
    """Read the configuration; relative resources start at `root`. Raises OpaError or FeatureUnavailable."""
    if config is None:
        return Configuration((BundleSource(SHIPPED_BUNDLE, None),))
    _check_keys("policy.opa.config", config, _HONOURED, _LATER)
    bundles = config.get("bundles")
    if not isinstance(bundles, Mapping) or not bundles:
        raise PolicyInvalid(
            "policy.opa.config names no bundles, and its bundles are the whole policy",
            advice=f"add `bundles: {{{SHIPPED_BUNDLE}: {{resource: {SHIPPED}}}}}`, or take policy.opa.config out",
        )
    services = read_services(config.get("services"), root)
    _check_keys_of(config.get("keys"))
    sources = tuple(_source(str(name), source, services, root) for name, source in bundles.items())
    _check_signing(config, sources, require_signed=require_signed)
    _check_trusted(sources)
    rest = {key: value for key, value in config.items() if key not in {"bundles", "services", "persistence_directory"}}
    if services:
        rest["services"] = {name: dict(service.options) for name, service in services.items()}
    if (kept := _persistence_directory(config, root)) is not None:
        rest["persistence_directory"] = str(kept)
    return Configuration(sources, rest)


def check_roots(name: str, roots: Sequence[str]) -> None:
    """Refuse a bundle that would own what it may not, before its policy is read. Raises PolicyInvalid."""
    allowed = ", ".join(CONFIGURED_ROOTS)
    if not roots or "" in roots:
        raise PolicyInvalid(f"bundle {name!r} owns every root, because its manifest names none; it may own {allowed}")
    for root in roots:
        if root not in CONFIGURED_ROOTS:
            why = ", which would erase the record of what is loaded" if root == "system" else ""
            raise PolicyInvalid(f"bundle {name!r} owns the root {root!r}{why}; it may own {allowed}")


def _check_signing(config: Mapping[str, Json], sources: Sequence[BundleSource], *, require_signed: bool) -> None:
    """Refuse a configuration by which OPA would load what nobody signed. Raises PolicyInvalid."""
    keys = config.get("keys") or {}
    if keys and not any(source.is_signed for source in sources):
        raise PolicyInvalid(
            "policy.opa.config has keys, but no bundle states `signing`, so no signature would be demanded",
            advice="add `signing: {}` to the bundles that must be signed, or take the keys out",
        )
    for source in sources:
        place = f"policy.opa.config.bundles.{source.name}"
        if source.is_signed:
            _check_signing_of(source, place, keys)
        elif not source.is_packaged and (keys or require_signed):
            why = "policy.opa.require_signed is set" if require_signed else "policy.opa.config has keys"
            raise PolicyInvalid(
                f"{why}, so nothing unsigned is loaded, and the bundle does not state `signing`: {place}",
                advice="add `signing: {}` to it, and sign it with `flowyml-policy bundle sign`",
            )


def _check_signing_of(source: BundleSource, place: str, keys: Json) -> None:
    signing = source.options["signing"]
    if not isinstance(signing, Mapping):  # OPA takes null for none
        raise PolicyInvalid(
            f"`signing` is no mapping, so that no signature would be demanded: {place}.signing",
            advice="write `signing: {}`, and the signature says which of the keys it is by",
        )
    for key in signing:
        if key in _SIGNING_REFUSED:
            raise PolicyInvalid(f"{_SIGNING_REFUSED[key]}: {place}.signing.{key}", advice="take it out")
    check_known(f"{place}.signing", signing, _SIGNING_HONOURED)
    if source.is_packaged:
        raise PolicyInvalid(f"the packaged bundle is part of this program, and has no signature: {place}.signing")
    keyid = signing.get("keyid")
    if not isinstance(keys, Mapping) or not keys or (keyid and keyid not in keys):
        what = f"the key {keyid!r}" if keyid else "a key"
        raise PolicyInvalid(
            f"the bundle must be signed, and policy.opa.config.keys lacks {what}: {place}.signing",
            advice="add the public key: `keys: {NAME: {algorithm: ES256, key: ...}}`",
        )


def _check_trusted(sources: Sequence[BundleSource]) -> None:
    """Refuse what anybody between here and its server could have written. Raises PolicyInvalid."""
    for source in sources:
        if source.service is not None and not source.service.is_trusted and not source.is_signed:
            raise PolicyInvalid(
                f"its service {source.service.name} is spoken to without TLS, or without a look at its certificate, so"
                f" the bundle must be signed: policy.opa.config.bundles.{source.name}",
                advice="add `signing: {}` and sign the bundle, or give the service an https address",
            )


def _check_keys_of(keys: Json) -> None:
    place = "policy.opa.config.keys"
    if keys is not None and not isinstance(keys, Mapping):
        raise OpaStartFailed(f"keys are a mapping of names to keys: {place}")
    for name, key in (keys or {}).items():
        if not isinstance(key, Mapping):
            raise OpaStartFailed(f"a key is a mapping with `key` and `algorithm`: {place}.{name}")
        if "private_key" in key:
            raise PolicyInvalid(
                f"who checks signatures needs no private key: {place}.{name}.private_key", advice="take it out"
            )
        check_known(f"{place}.{name}", key, _KEY)


def _persistence_directory(config: Mapping[str, Json], root: Path) -> Path | None:
    named = config.get("persistence_directory")
    if named is None:
        return None
    if not isinstance(named, str) or not named:
        raise OpaStartFailed("a folder is a text: policy.opa.config.persistence_directory")
    return root / named


def _source(name: str, source: Json, services: Mapping[str, Service], root: Path) -> BundleSource:
    place = f"policy.opa.config.bundles.{name}"
    if name == PROJECT_BUNDLE:
        raise PolicyInvalid(
            f"the name `{name}` is kept for the project's own rules: {place}", advice="give the bundle another name"
        )
    if not isinstance(source, Mapping):
        raise OpaStartFailed(f"a bundle is a mapping with `resource`: {place}")
    if "service" in source:
        return _remote(name, place, source, services)
    for key in _OF_SERVICES & source.keys():
        raise OpaStartFailed(
            f"this is for bundles that a server gives: {place}.{key}", advice="add `service`, or take it out"
        )
    _check_keys(place, source, _SOURCE_HONOURED, frozenset())
    resource = source.get("resource")
    if not isinstance(resource, str) or not resource:
        raise OpaStartFailed(f"a bundle needs `resource`, a file, a folder or `{SHIPPED}`: {place}")
    if services and resource != SHIPPED and not resource.startswith("file:"):  # OPA would ask its first service
        raise PolicyInvalid(
            f"there are services, and the bundle does not say whether it is one of theirs: {place}.resource",
            advice=f"add `service: {next(iter(services))}`, or write a file as file:PATH",
        )
    options = {key: value for key, value in source.items() if key != "resource"}
    return BundleSource(name, None if resource == SHIPPED else _local(place, resource, root), options)


def _remote(name: str, place: str, source: Mapping[str, Json], services: Mapping[str, Service]) -> BundleSource:
    """A bundle that a server gives."""
    _check_keys(place, source, _REMOTE, frozenset())
    if _UNSAFE_NAME.search(name) or name in {".", ".."}:  # it becomes the name of a folder
        raise OpaStartFailed(
            f"the name of a remote bundle is of letters, digits, `-`, `_` and `.`: {place}", advice="give it another"
        )
    service = services.get(str(source["service"]))
    if service is None:
        known = ", ".join(services) or "none"
        raise OpaStartFailed(
            f"there is no such service in policy.opa.config.services: {place}.service", advice=f"these exist: {known}"
        )
    resource = source.get("resource", f"{_DEFAULT_RESOURCE}/{name}")
    if not isinstance(resource, str) or not resource or "://" in resource or resource == SHIPPED:
        raise OpaStartFailed(
            f"the resource of a remote bundle is its path below the address of its service: {place}.resource",
            advice=f"write a path such as {_DEFAULT_RESOURCE}/{name}, or take `service` out",
        )
    if source.get("trigger", "periodic") != "periodic":
        raise PolicyInvalid(f"a bundle that is never asked for is never there: {place}.trigger", advice="take it out")
    if not isinstance(source.get("persist", False), bool):
        raise OpaStartFailed(f"this is true or false: {place}.persist")
    polling = source.get("polling", {})
    if not isinstance(polling, Mapping):
        raise OpaStartFailed(f"this is a mapping: {place}.polling")
    check_known(f"{place}.polling", polling, _POLLING)
    options = {key: value for key, value in source.items() if key not in {"resource", "service"}}
    return BundleSource(name, None, options, service, resource)


def _local(place: str, resource: str, root: Path) -> Path:
    """The path that a resource names: a `file:` address, or a path of its own."""
    address = urlsplit(resource)
    if address.scheme not in {"", "file"}:
        raise OpaStartFailed(
            f"a bundle from an address of {address.scheme} needs a service: {place}.resource",
            advice="write the server into `services`, its name into `service`, and the path alone into `resource`",
        )
    path = unquote(f"{address.netloc}{address.path}") if address.scheme else resource
    return root / path


def _check_keys(place: str, value: Mapping[str, Json], honoured: frozenset[str], later: frozenset[str]) -> None:
    for key in value:
        if key in later:
            raise FeatureUnavailable(f"this version does not support it: {place}.{key}")
    check_known(place, value, honoured)
