"""Reads `policy.opa.config`: OPA's own configuration, as far as this version honours it.

Rules:
- A key that would be passed over is refused: one that OPA does not know, and one whose feature comes later.
- Its bundles are the whole policy; `resource: shipped` stands for the packaged one. Without a configuration the
  packaged one is the policy.
- Which roots a bundle may own is decided here, and checked by the library before any decision.
- A discovery bundle names more bundles, and nothing else: whom OPA asks and whom it believes is said in the settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from flowyml_policy.errors.opa import OpaStartFailed, PolicyInvalid
from flowyml_policy.errors.settings import FeatureUnavailable
from flowyml_policy.opa.services import Service, check_known, read_services
from flowyml_policy.opa.shipped import CONFIGURED_ROOTS, SHIPPED_BUNDLE
from flowyml_policy.opa.trust import SIGNING_REFUSED, check_keys, check_signing, check_trusted

if TYPE_CHECKING:
    from flowyml_policy.records.record import Json, KeyPath

SHIPPED: Final = "shipped"
PROJECT_BUNDLE: Final = "project"

PROJECT_ROOTS: Final = ("project",)
"""What the rules of a project may own."""

DISCOVERY: Final = "discovery"
"""The section of OPA's configuration, the name of the bundle that it brings, and the root that this one owns."""

DISCOVERED_ROOTS: Final = ("org", "system/log")
"""What a bundle may own that a discovery bundle names: rules of a company, never those that ship."""

_REFUSED_CONFIGURATION: Final = ("services", "keys", DISCOVERY)
_PASSED_OVER: Final = frozenset({"decision_logs", "status", "labels"})
"""What a discovery bundle may say to OPA servers of how they report, which no decision depends on."""

_HONOURED: Final = frozenset({"bundles", "keys", "labels", "services", "persistence_directory", DISCOVERY})
_LATER: Final = frozenset(
    {
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
_OF_SERVICES: Final = frozenset({"persist", "polling", "trigger"})
_REMOTE: Final = _SOURCE_HONOURED | _OF_SERVICES | {"service"}
_DISCOVERY_HONOURED: Final = _OF_SERVICES | {"service", "resource", "signing", "decision"}
_DISCOVERY_LATER: Final = frozenset({"name", "prefix"})
_POLLING: Final = frozenset(
    {"min_delay_seconds", "max_delay_seconds", "long_polling_timeout_seconds", "superseded_etag_ttl_seconds"}
)
_DEFAULT_RESOURCE: Final = "bundles"
"""Below it OPA looks for a bundle that names no resource."""

_BUNDLES_PLACE: Final = "policy.opa.config.bundles"
_DISCOVERY_PLACE: Final = f"policy.opa.config.{DISCOVERY}"
_UNSAFE_NAME: Final = re.compile(r"[^A-Za-z0-9._-]", re.ASCII)
_NOTHING: Final[Mapping[str, Json]] = MappingProxyType({})


class BundleSource(NamedTuple):
    """One bundle of the policy. `place` is its file or folder; `service` gives it where it is remote, as `resource`.

    The packaged one has neither. `options` are OPA's own keys beside `resource` and `service`. One that is `copied` is
    remote, and its `place` is the kept copy that stands in for it, which was the newest at that second. `roots` are
    all that it may own.
    """

    name: str
    place: Path | None
    options: Mapping[str, Json] = _NOTHING
    service: Service | None = None
    resource: str = ""
    copied: int | None = None
    roots: tuple[str, ...] = CONFIGURED_ROOTS

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
    def setting(self) -> str:
        """Where it is named."""
        if self.roots == DISCOVERED_ROOTS:
            return f"bundles.{self.name} of the discovery bundle"
        return _DISCOVERY_PLACE if self.roots == (DISCOVERY,) else f"{_BUNDLES_PLACE}.{self.name}"

    @property
    def origin(self) -> str:
        """Where it comes from and by whose key, as one text: what its sequences are remembered by."""
        signing = self.options.get("signing")
        keyid = signing.get("keyid") if isinstance(signing, Mapping) else None
        url = self.service.url.rstrip("/") if self.service else ""
        return f"{url} {self.resource} {keyid or ''}".rstrip()


class Configuration(NamedTuple):
    """The bundles of the policy, and the rest of OPA's configuration.

    `services` are those that bundles may be asked for. `discovery` is the path below data where a discovery bundle,
    then one of `sources`, names further bundles; None without one.
    """

    sources: tuple[BundleSource, ...]
    rest: Mapping[str, Json] = _NOTHING
    services: Mapping[str, Service] = MappingProxyType({})
    discovery: str | None = None

    @property
    def is_discovered(self) -> bool:
        """Whether what a discovery bundle names is among its bundles."""
        return any(source.roots == DISCOVERED_ROOTS for source in self.sources)

    @property
    def alone(self) -> Configuration:
        """The discovery bundle, without the policy."""
        return self._replace(sources=tuple(source for source in self.sources if source.roots == (DISCOVERY,)))

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
    check_keys(config.get("keys"))
    keys = config.get("keys") or {}
    sources = tuple(_source(str(name), source, services, root) for name, source in bundles.items())
    decision = None
    if config.get(DISCOVERY) is not None:
        source, decision = _discovery(config[DISCOVERY], bundles, services)
        sources = (*sources, source)
    if keys and not any(source.is_signed for source in sources):
        raise PolicyInvalid(
            "policy.opa.config has keys, but no bundle states `signing`, so no signature would be demanded",
            advice="add `signing: {}` to the bundles that must be signed, or take the keys out",
        )
    check_signing(keys, sources, require_signed=require_signed)
    check_trusted(sources)
    elsewhere = {"bundles", "services", "persistence_directory", DISCOVERY}
    rest = {key: value for key, value in config.items() if key not in elsewhere}
    if services:
        rest["services"] = {name: dict(service.options) for name, service in services.items()}
    if (kept := _persistence_directory(config, root)) is not None:
        rest["persistence_directory"] = str(kept)
    return Configuration(sources, rest, services, decision)


def refused_configuration(document: Mapping[str, Json]) -> Iterator[tuple[KeyPath, str, str]]:
    """What a discovery bundle may never bring: where it stands, what is wrong, what to do. The one check of it."""
    for key in _REFUSED_CONFIGURATION:
        if key in document:
            what = f"`{key}` cannot be brought by a discovery bundle"
            yield (key,), what, "take it out; it stands in the configuration that OPA is started with"
    bundles = document.get("bundles")
    if not isinstance(bundles, Mapping):
        yield ("bundles",), "`bundles` is missing, or no mapping", "name the bundles to load"
        return
    if not bundles:
        yield ("bundles",), "`bundles` names none", "name the bundles to load"
    for name, source in bundles.items():
        signing = source.get("signing") if isinstance(source, Mapping) else None
        for key in SIGNING_REFUSED.keys() & (signing if isinstance(signing, Mapping) else {}):
            path = ("bundles", str(name), "signing", key)
            yield path, f"{SIGNING_REFUSED[key]}: `{'.'.join(path)}`", "take it out"


def as_discovered(document: Json) -> Json:
    """What a discovery bundle says, without how OPA servers report: that is none of this program's."""
    if not isinstance(document, Mapping):
        return document
    return {key: value for key, value in document.items() if key not in _PASSED_OVER}


def discovered(read: Configuration, document: Json, *, require_signed: bool) -> Configuration:
    """`read`, with the bundles that its discovery bundle names: `document`, `as_discovered`. Raises OpaError.

    They come from the services of the settings, are signed where those must be, and own what a company may.
    """
    if not isinstance(document, Mapping):
        raise PolicyInvalid(
            f"the discovery bundle names no bundles: data.{str(read.discovery).replace('/', '.')} is no mapping",
            advice="build it from a recipe of `kind: discovery`",
        )
    for _, what, fix in refused_configuration(document):
        raise PolicyInvalid(f"the discovery bundle is refused: {what}", advice=fix)
    for key in document.keys() - {"bundles"}:
        raise PolicyInvalid(
            f"this version takes `bundles` alone from a discovery bundle, and this one brings `{key}`",
            advice=f"take it out, or set it in {_DISCOVERY_PLACE.rpartition('.')[0]}",
        )
    taken = {source.name for source in read.sources}
    named = []
    for name, source in document["bundles"].items():
        place = f"bundles.{name} of the discovery bundle"
        if name in taken:
            raise PolicyInvalid(f"the settings name a bundle of this name already: {place}", advice="give it another")
        if not isinstance(source, Mapping) or "service" not in source:
            raise PolicyInvalid(
                f"a bundle that is discovered needs `service`, a service of policy.opa.config: {place}",
                advice=f"these exist: {', '.join(read.services)}",
            )
        named.append(_source(name, source, read.services, Path(), place)._replace(roots=DISCOVERED_ROOTS))
    check_signing(read.rest.get("keys") or {}, named, require_signed=require_signed)
    check_trusted(named)
    return read._replace(sources=(*read.sources, *named))


def check_roots(name: str, roots: Sequence[str]) -> None:
    """Refuse a bundle that would own what it may not, before its policy is read. Raises PolicyInvalid."""
    allowed = ", ".join(CONFIGURED_ROOTS)
    if not roots or "" in roots:
        raise PolicyInvalid(f"bundle {name!r} owns every root, because its manifest names none; it may own {allowed}")
    for root in roots:
        if root not in CONFIGURED_ROOTS:
            why = ", which would erase the record of what is loaded" if root == "system" else ""
            raise PolicyInvalid(f"bundle {name!r} owns the root {root!r}{why}; it may own {allowed}")


def _persistence_directory(config: Mapping[str, Json], root: Path) -> Path | None:
    named = config.get("persistence_directory")
    if named is None:
        return None
    if not isinstance(named, str) or not named:
        raise OpaStartFailed("a folder is a text: policy.opa.config.persistence_directory")
    return root / named


def _discovery(section: Json, bundles: Mapping[str, Json], services: Mapping[str, Service]) -> tuple[BundleSource, str]:
    """The discovery bundle, and where in it the configuration stands."""
    place = _DISCOVERY_PLACE
    if not isinstance(section, Mapping):
        raise OpaStartFailed(f"this is a mapping with `service` and `resource`: {place}")
    _check_keys(place, section, _DISCOVERY_HONOURED, _DISCOVERY_LATER)
    if DISCOVERY in bundles:
        raise PolicyInvalid(
            f"the name `{DISCOVERY}` is kept for the discovery bundle: {_BUNDLES_PLACE}.{DISCOVERY}",
            advice="give the bundle another name",
        )
    for key in ("service", "resource"):
        if key not in section:
            raise OpaStartFailed(f"the discovery bundle needs `{key}`: {place}", advice="add it")
    decision = section.get("decision", DISCOVERY)
    path = decision.strip("/") if isinstance(decision, str) else ""
    if path.split("/")[0] != DISCOVERY or "" in path.split("/"):
        raise PolicyInvalid(
            f"a discovery bundle owns `{DISCOVERY}` alone, so that its configuration stands there: {place}.decision",
            advice=f"write `decision: {DISCOVERY}`",
        )
    options = {key: value for key, value in section.items() if key != "decision"}
    return _remote(DISCOVERY, place, options, services)._replace(roots=(DISCOVERY,)), path


def _source(
    name: str, source: Json, services: Mapping[str, Service], root: Path, place: str | None = None
) -> BundleSource:
    place = place or f"{_BUNDLES_PLACE}.{name}"
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
