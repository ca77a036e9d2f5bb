"""Whom OPA believes: the keys, and which bundles must be signed by one of them.

Rules:
- Where `keys` are set, or signatures are required, every bundle but the packaged one must state `signing`, and state it
  so that OPA demands a signature of every file: nothing unsigned is loaded by any path.
- What comes from a server that anybody could pose as must be signed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from flowyml_policy.errors.opa import OpaStartFailed, PolicyInvalid
from flowyml_policy.opa.services import check_known

if TYPE_CHECKING:
    from flowyml_policy.opa.configuration import BundleSource
    from flowyml_policy.records.record import Json

_SIGNING_HONOURED: Final = frozenset({"keyid", "scope"})
SIGNING_REFUSED: Final[Mapping[str, str]] = {
    "exclude_files": "what it names could be changed by anybody",
    "allow_unsigned_delta_bundles": "a delta could change all data, signed by nobody",
}
"""What would let in what nobody signed, and how."""

_KEY: Final = frozenset({"key", "algorithm", "scope"})


def check_keys(keys: Json) -> None:
    """Refuse keys that are none. Raises PolicyInvalid, OpaStartFailed."""
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


def check_signing(keys: Json, sources: Sequence[BundleSource], *, require_signed: bool) -> None:
    """Refuse bundles that OPA would load though nobody signed them. Raises PolicyInvalid."""
    for source in sources:
        place = source.setting
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
        if key in SIGNING_REFUSED:
            raise PolicyInvalid(f"{SIGNING_REFUSED[key]}: {place}.signing.{key}", advice="take it out")
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


def check_trusted(sources: Sequence[BundleSource]) -> None:
    """Refuse what anybody between here and its server could have written. Raises PolicyInvalid."""
    for source in sources:
        if source.service is not None and not source.service.is_trusted and not source.is_signed:
            raise PolicyInvalid(
                f"its service {source.service.name} is spoken to without TLS, or without a look at its certificate, so"
                f" the bundle must be signed: {source.setting}",
                advice="add `signing: {}` and sign the bundle, or give the service an https address",
            )
