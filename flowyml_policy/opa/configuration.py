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

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from flowyml_policy.errors.opa import OpaStartFailed, PolicyInvalid
from flowyml_policy.errors.settings import FeatureUnavailable
from flowyml_policy.opa.shipped import CONFIGURED_ROOTS, SHIPPED_BUNDLE

if TYPE_CHECKING:
    from flowyml_policy.records.record import Json

SHIPPED: Final = "shipped"
PROJECT_BUNDLE: Final = "project"

PROJECT_ROOTS: Final = ("project",)
"""What the rules of a project may own."""

_HONOURED: Final = frozenset({"bundles", "keys", "labels"})
_LATER: Final = frozenset(
    {
        "services",
        "persistence_directory",
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
_SOURCE_LATER: Final = frozenset({"service", "persist", "polling", "trigger"})

_NOTHING: Final[Mapping[str, Json]] = MappingProxyType({})


class BundleSource(NamedTuple):
    """One bundle of the policy. `place` is its file or folder, None for the packaged one.

    `options` are OPA's own keys beside `resource`.
    """

    name: str
    place: Path | None
    options: Mapping[str, Json] = _NOTHING

    @property
    def is_signed(self) -> bool:
        """Whether OPA checks a signature, which covers the files exactly as they are."""
        return "signing" in self.options


class Configuration(NamedTuple):
    """The bundles of the policy, and the rest of OPA's configuration."""

    sources: tuple[BundleSource, ...]
    rest: Mapping[str, Json] = _NOTHING


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
    sources = tuple(_source(str(name), source, root) for name, source in bundles.items())
    _check_signing(config, sources, require_signed=require_signed)
    return Configuration(sources, {key: value for key, value in config.items() if key != "bundles"})


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
        elif source.place is not None and (keys or require_signed):
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
        if key not in _SIGNING_HONOURED:
            raise OpaStartFailed(f"OPA has no such setting: {place}.signing.{key}")
    if source.place is None:
        raise PolicyInvalid(f"the packaged bundle is part of this program, and has no signature: {place}.signing")
    keyid = signing.get("keyid")
    if not isinstance(keys, Mapping) or not keys or (keyid and keyid not in keys):
        what = f"the key {keyid!r}" if keyid else "a key"
        raise PolicyInvalid(
            f"the bundle must be signed, and policy.opa.config.keys lacks {what}: {place}.signing",
            advice="add the public key: `keys: {NAME: {algorithm: ES256, key: ...}}`",
        )


def _source(name: str, source: Json, root: Path) -> BundleSource:
    place = f"policy.opa.config.bundles.{name}"
    if name == PROJECT_BUNDLE:
        raise PolicyInvalid(
            f"the name `{name}` is kept for the project's own rules: {place}", advice="give the bundle another name"
        )
    if not isinstance(source, Mapping):
        raise OpaStartFailed(f"a bundle is a mapping with `resource`: {place}")
    _check_keys(place, source, _SOURCE_HONOURED, _SOURCE_LATER)
    resource = source.get("resource")
    if not isinstance(resource, str) or not resource:
        raise OpaStartFailed(f"a bundle needs `resource`, a file, a folder or `{SHIPPED}`: {place}")
    options = {key: value for key, value in source.items() if key != "resource"}
    return BundleSource(name, None if resource == SHIPPED else _local(place, resource, root), options)


def _local(place: str, resource: str, root: Path) -> Path:
    """The path that a resource names: a `file:` address, or a path of its own."""
    address = urlsplit(resource)
    if address.scheme not in {"", "file"}:
        raise FeatureUnavailable(
            f"bundles from {address.scheme} addresses are not available yet: {place}.resource",
            advice="name a local folder or .tar.gz file",
        )
    path = unquote(f"{address.netloc}{address.path}") if address.scheme else resource
    return root / path


def _check_keys(place: str, value: Mapping[str, Json], honoured: frozenset[str], later: frozenset[str]) -> None:
    for key in value:
        if key in later:
            raise FeatureUnavailable(f"this version does not support it: {place}.{key}")
        if key not in honoured:
            raise OpaStartFailed(f"OPA has no such setting: {place}.{key}")
