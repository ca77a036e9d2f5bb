"""What signatures come in: Sigstore bundles, DSSE envelopes, in-toto statements, and cosign's older payloads.

Rules:
- Nothing is verified here, and nothing that is read here counts before its signature was (`images.signatures`).
- A version or form that is not known is refused by its name, never read as if it were another.

Sources: github.com/sigstore/cosign specs/BUNDLE_SPEC.md and SIGNATURE_SPEC.md; github.com/secure-systems-lab/dsse;
github.com/in-toto/attestation; github.com/sigstore/protobuf-specs sigstore_bundle.proto.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from flowyml_policy.images.json_text import NotJson, read_json
from flowyml_policy.mask.quoted import shown
from flowyml_policy.records.record import Json

BUNDLE_FAMILY: Final = "application/vnd.dev.sigstore.bundle"
"""What the media type of a bundle of any version begins with."""
IN_TOTO: Final = "application/vnd.in-toto+json"
SIGNATURE: Final = "https://sigstore.dev/cosign/sign/v1"
"""The predicate type that makes a statement a signature; with any other it is an attestation."""
SIMPLE_SIGNING: Final = "application/vnd.dev.cosign.simplesigning.v1+json"

_BUNDLES: Final = frozenset({f"{BUNDLE_FAMILY}.v0.3+json", f"{BUNDLE_FAMILY}+json;version=0.3"})
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_STATEMENT_OLD: Final = "https://in-toto.io/Statement/v0.1"
_SIMPLE_TYPE: Final = "cosign container image signature"
_MOST_SIGNATURES: Final = 16
_HEX: Final = re.compile("[0-9a-f]{64}")
_SHOWN: Final = 100

Problem = Literal["invalid", "keyless"]


class Unusable(Exception):
    """Something that may have been meant as a signature and is none that counts. Its text is the reason."""

    def __init__(self, reason: str, problem: Problem = "invalid") -> None:
        super().__init__(reason)
        self.reason = reason
        self.problem: Problem = problem


@dataclass(frozen=True)
class Bundle:
    """A DSSE envelope and how it says that it was signed. `by_certificate`: without a lasting key (keyless)."""

    payload_type: str
    payload: bytes
    signatures: tuple[bytes, ...]
    by_certificate: bool = False

    @property
    def signed(self) -> bytes:
        """The bytes that were signed (DSSE's PAE): type and payload, each with its length."""
        kind = self.payload_type.encode()
        return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(self.payload), self.payload)


@dataclass(frozen=True)
class Statement:
    """An in-toto statement. `subjects` are what it speaks of, as `sha256:` and hex digits."""

    predicate_type: str
    subjects: frozenset[str]
    predicate: Mapping[str, Json]
    is_current: bool = True

    @property
    def is_signature(self) -> bool:
        """Whether cosign means it as an image's signature, and not as a claim of something else about it."""
        return self.predicate_type == SIGNATURE


def read_bundle(data: bytes) -> Bundle:
    """The envelope of a Sigstore bundle of version 0.3. Raises Unusable."""
    value = _object(data, "the bundle")
    kind = value.get("mediaType")
    if not isinstance(kind, str) or kind not in _BUNDLES:
        named = shown(kind, _SHOWN) if isinstance(kind, str) else "without a media type"
        raise Unusable(f"the bundle is of a version that is not read, {named}; version 0.3 is")
    if "messageSignature" in value:
        raise Unusable("the bundle holds a message's signature, which does not say what was signed")
    envelope = value.get("dsseEnvelope")
    if not isinstance(envelope, dict):
        raise Unusable("the bundle holds no DSSE envelope")
    payload_type = envelope.get("payloadType")
    if payload_type != IN_TOTO:
        named = shown(payload_type, _SHOWN) if isinstance(payload_type, str) else "missing"
        raise Unusable(f"the envelope's payloadType is {named}, not {IN_TOTO}")
    return Bundle(
        payload_type,
        read_base64(envelope.get("payload"), "the envelope's payload"),
        _signatures(envelope.get("signatures")),
        _has_certificate(value.get("verificationMaterial")),
    )


def read_statement(payload: bytes) -> Statement:
    """The in-toto statement that an envelope holds. Raises Unusable."""
    value = _object(payload, "the payload")
    kind, predicate_type = value.get("_type"), value.get("predicateType")
    if kind not in [_STATEMENT, _STATEMENT_OLD]:  # a list, since any JSON may stand there
        named = shown(kind, _SHOWN) if isinstance(kind, str) else "missing"
        raise Unusable(f"the payload is no in-toto statement: its _type is {named}")
    subjects, predicate = value.get("subject"), value.get("predicate")
    if not isinstance(predicate_type, str) or not isinstance(subjects, list):
        raise Unusable("the payload is no in-toto statement: it has no predicateType or no subject")
    digests = frozenset(found for subject in subjects if (found := sha256_of(subject)) is not None)
    return Statement(
        predicate_type, digests, predicate if isinstance(predicate, dict) else {}, is_current=kind == _STATEMENT
    )


def read_simple_signing(payload: bytes) -> str:
    """The digest that a payload of cosign's older layout says was signed. Raises Unusable."""
    value = _object(payload, "the payload")
    critical = value.get("critical")
    if not isinstance(critical, dict) or critical.get("type") != _SIMPLE_TYPE:
        raise Unusable(f"the payload's critical.type is not {_SIMPLE_TYPE!r}")
    image = critical.get("image")
    digest = image.get("docker-manifest-digest") if isinstance(image, dict) else None
    if not isinstance(digest, str):
        raise Unusable("the payload names no docker-manifest-digest")
    return digest


def sha256_of(value: Json) -> str | None:
    """The SHA-256 that an in-toto resource descriptor (a subject, a dependency) has; None where it has none."""
    digests = value.get("digest") if isinstance(value, dict) else None
    found = digests.get("sha256") if isinstance(digests, dict) else None
    return f"sha256:{found}" if isinstance(found, str) and _HEX.fullmatch(found) else None


def read_base64(value: Json, what: str) -> bytes:
    """The bytes that `value` stands for. Raises Unusable."""
    if not isinstance(value, str) or not value:
        raise Unusable(f"{what} is missing")
    try:
        return base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error) as error:
        raise Unusable(f"{what} is no base64") from error


def _signatures(value: Json) -> tuple[bytes, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= _MOST_SIGNATURES:
        raise Unusable(f"the envelope has not between 1 and {_MOST_SIGNATURES} signatures")
    found = [signature.get("sig") if isinstance(signature, dict) else None for signature in value]
    return tuple(read_base64(signature, "the envelope's signature") for signature in found)


def _has_certificate(material: Json) -> bool:
    return isinstance(material, dict) and not {"certificate", "x509CertificateChain"}.isdisjoint(material)


def _object(data: bytes, what: str) -> dict[str, Json]:
    try:
        value = read_json(data)
    except NotJson as error:
        raise Unusable(f"{what} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise Unusable(f"{what} is no JSON object")
    return value
