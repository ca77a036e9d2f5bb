"""Signatures of images by public keys: which keys must have signed, and what was signed by whom.

Rules:
- Every entry of `policy.images.cosign_keys` that matches an image must be satisfied; keys are told apart by what they
  are, not by their files.
- A signature counts if one of these keys made it over these very bytes, and these name the judged digest and say that
  they are a signature of an image. An attestation by the same key is none, whatever `cosign verify` says of it.
- What a bundle or a registry says of the key (a hint, a certificate) is never believed.
- Whatever bytes are examined, the answer is a fact with a reason; only settings and key files raise.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal

from flowyml_policy.errors.images import SigningKeyUnusable
from flowyml_policy.errors.settings import SettingsInvalid, SettingsProblem
from flowyml_policy.errors.sources import SourceUnreadable
from flowyml_policy.images.envelopes import (
    SIGNATURE,
    Bundle,
    Problem,
    Statement,
    Unusable,
    read_base64,
    read_bundle,
    read_simple_signing,
    read_statement,
)
from flowyml_policy.mask.quoted import shown
from flowyml_policy.records.policy_input import SignatureFacts, SigningDemand, SigningKey
from flowyml_policy.records.record import KeyPath, Location
from flowyml_policy.references.image import ImageReference, matches
from flowyml_policy.settings.policy_section import SigningKeys
from flowyml_policy.settings.settings import Settings
from flowyml_policy.system.files import display_path, read_file

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
except ModuleNotFoundError as error:  # an extra, which only who names keys needs: the module is loaded late
    raise SigningKeyUnusable(
        "policy.images.cosign_keys names keys, and the package that checks signatures is missing: cryptography",
        advice="pip install 'flowyml-policy[signatures]'",
    ) from error

COSIGN_KEYS: Final[KeyPath] = ("policy", "images", "cosign_keys")
_LARGEST_FILE: Final = 1 << 16
_SMALLEST_RSA: Final = 2048
_PEM: Final = re.compile(r"^-----BEGIN ([A-Z0-9 ]+)-----", re.MULTILINE)
_HASHES: Final[dict[str, tuple[HashAlgorithm, ...]]] = {
    "secp256r1": (SHA256(),),
    "secp384r1": (SHA384(), SHA256()),
    "secp521r1": (SHA512(), SHA256()),
}
"""By curve. cosign takes the curve's own since version 3, and took SHA-256 for each before."""
_BY_NONE: Final = "none of the keys that may sign this image made it"
_PREHASHED: Final = "; cosign signs with Ed25519 keys in a form (Ed25519ph) that is not read, use ECDSA with it"
_ED25519_SIGNATURE: Final = 64

_Verify = Callable[[bytes, bytes], bool]


@dataclass(frozen=True)
class PublicKey:
    """A key that signatures are checked by. `id` is the SHA-256 of its DER SubjectPublicKeyInfo, in hex digits."""

    id: str
    name: str
    is_ed25519: bool
    _verify: _Verify = field(repr=False, compare=False)

    def made(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` is this key's over `data`."""
        return self._verify(signature, data)


@dataclass(frozen=True)
class Evidence:
    """What one document shows. `statement` is an attestation of the digest that one of the keys made."""

    facts: tuple[SignatureFacts, ...]
    statement: Statement | None = None


class SigningPolicy:
    """What `policy.images.cosign_keys` demands. Each key file is read once, when an image first needs it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys: dict[str, PublicKey] = {}
        self._demands: dict[str, SigningDemand] = {}

    def read_all(self) -> None:
        """Read every key that is named. Raises as `demands`."""
        for entry in self._settings.policy.images.cosign_keys:
            self._demand(entry)

    def demands(self, reference: ImageReference) -> tuple[SigningDemand, ...]:
        """What must have signed the image, one demand for each entry that matches; none where none does.

        Raises SigningKeyUnusable for a file that is no public key, SettingsInvalid for a `need` that cannot be met.
        """
        entries = self._settings.policy.images.cosign_keys
        return tuple(self._demand(entry) for entry in entries if matches(entry, reference))

    def keys(self, demands: Iterable[SigningDemand]) -> tuple[PublicKey, ...]:
        """The keys of `demands`, which this policy made, each once."""
        return tuple(self._keys[key] for key in dict.fromkeys(key.id for demand in demands for key in demand.keys))

    def _demand(self, entry: str) -> SigningDemand:
        if entry not in self._demands:
            self._demands[entry] = self._read_demand(entry)
        return self._demands[entry]

    def _read_demand(self, entry: str) -> SigningDemand:
        named = self._settings.policy.images.cosign_keys[entry]
        files, need = (named.keys, named.need) if isinstance(named, SigningKeys) else (named, 1)
        keys: dict[str, SigningKey] = {}
        for file in (files,) if isinstance(files, str) else files:
            # The whole of cosign_keys is set by one file; an entry's own place may be spelled in another way there.
            key = load_key(self._settings.resolved(COSIGN_KEYS, file), file)
            self._keys[key.id] = key
            keys.setdefault(key.id, SigningKey(id=key.id, name=file))
        if need > len(keys):
            raise SettingsInvalid.found([self._too_many(entry, need, len(keys))])
        return SigningDemand(entry=entry, need=need, keys=tuple(keys.values()))

    def _too_many(self, entry: str, need: int, number: int) -> SettingsProblem:
        settings = self._settings
        where = settings.location((*COSIGN_KEYS, entry)) or settings.location(COSIGN_KEYS)
        return SettingsProblem(
            f"`policy.images.cosign_keys` of {entry} needs {need} keys to have signed, and names {number} that differ",
            location=where or Location(file=str(settings.file or settings.root), line=1, column=1),
            fix="name as many different keys, or lower `need`",
        )


def demands(settings: Settings, reference: ImageReference) -> tuple[SigningDemand, ...]:
    """What `settings` demand of the image's signatures, as SigningPolicy says. Raises what it raises."""
    return SigningPolicy(settings).demands(reference)


def load_key(path: Path, name: str) -> PublicKey:
    """The public key that a PEM file holds; `name` is what people call the file. Raises SigningKeyUnusable."""
    try:
        data = read_file(path, most=_LARGEST_FILE)
    except SourceUnreadable as error:
        raise SigningKeyUnusable(f"policy.images.cosign_keys: {error.message}") from error
    labels = _PEM.findall(data.decode("latin-1"))
    what, advice = _what_else(labels, len(data))
    if what is not None:
        raise _unusable(path, what, advice)
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unusable(path, "it holds a public key that cannot be read") from error
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    identity = hashlib.sha256(der).hexdigest()
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _HASHES:
        return PublicKey(identity, name, is_ed25519=False, _verify=_by_ecdsa(key))
    if isinstance(key, ed25519.Ed25519PublicKey):
        return PublicKey(identity, name, is_ed25519=True, _verify=_by_ed25519(key))
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _SMALLEST_RSA:
            raise _unusable(path, f"its RSA key has {key.key_size} bits, fewer than {_SMALLEST_RSA}")
        return PublicKey(identity, name, is_ed25519=False, _verify=_by_rsa(key))
    raise _unusable(path, "its key is none of ECDSA on P-256, P-384 or P-521, RSA and Ed25519")


def examine_bundle(data: bytes, digest: str, keys: Collection[PublicKey]) -> Evidence:
    """What a Sigstore bundle shows about the image or platform of `digest`, by `keys`. Raises nothing."""
    signers: tuple[PublicKey, ...] = ()
    try:
        bundle = read_bundle(data)
        signers = tuple(key for key in keys if any(key.made(one, bundle.signed) for one in bundle.signatures))
        if not signers:
            raise _unsigned(bundle, keys)
        statement = read_statement(bundle.payload)
        if digest not in statement.subjects:
            raise Unusable("it signs another digest than the image's")  # noqa: TRY301  one place makes facts of it
        if not statement.is_signature:
            refused = _not("bundle", digest, attestation(statement.predicate_type), key=signers[0].id)
            return Evidence((refused,), statement)
        if not statement.is_current:
            raise Unusable("it is a statement of version 0.1, which no signature is")  # noqa: TRY301
    except Unusable as error:
        return Evidence((_not("bundle", digest, error, key=signers[0].id if signers else None),))
    return Evidence(tuple(_good(key, "bundle", digest) for key in signers))


def examine_payload(
    payload: bytes, signature: str | None, digest: str, keys: Collection[PublicKey], *, by_certificate: bool = False
) -> tuple[SignatureFacts, ...]:
    """What a signature of cosign's older layout, in base64, shows about `digest`, by `keys`. Raises nothing."""
    signer: PublicKey | None = None
    try:
        made = read_base64(signature, "the signature")
        signer = next((key for key in keys if key.made(made, payload)), None)
        if signer is None:
            raise _keyless() if by_certificate else _by_none((made,), keys)
        if read_simple_signing(payload) != digest:
            raise Unusable("it signs another digest than the image's")  # noqa: TRY301  one place makes facts of it
    except Unusable as error:
        return (_not("tag", digest, error, key=signer.id if signer else None),)
    return (_good(signer, "tag", digest),)


def attestation(predicate_type: str) -> Unusable:
    """Why a statement of another predicate type is no signature."""
    return Unusable(f"it is an attestation ({shown(predicate_type, 100)}), not a signature ({SIGNATURE})")


def _unsigned(bundle: Bundle, keys: Collection[PublicKey]) -> Unusable:
    """Why a bundle that none of the keys made does not count; what it says of itself only words the reason."""
    try:
        claimed = read_statement(bundle.payload)
    except Unusable:
        claimed = None
    if claimed is not None and not claimed.is_signature:
        return attestation(claimed.predicate_type)
    return _keyless() if bundle.by_certificate else _by_none(bundle.signatures, keys)


def _keyless() -> Unusable:
    what = "it was made without a lasting key (keyless, by a certificate), which is not accepted"
    return Unusable(what, "keyless")


def _by_none(signatures: Iterable[bytes], keys: Iterable[PublicKey]) -> Unusable:
    may_be_prehashed = any(key.is_ed25519 for key in keys) and any(len(one) == _ED25519_SIGNATURE for one in signatures)
    return Unusable(_BY_NONE + (_PREHASHED if may_be_prehashed else ""))


def _good(key: PublicKey, form: Literal["bundle", "tag"], digest: str) -> SignatureFacts:
    return SignatureFacts(key=key.id, form=form, digest=digest, ok=True)


def _not(form: Literal["bundle", "tag"], digest: str, why: Unusable, *, key: str | None) -> SignatureFacts:
    problem: Problem = why.problem
    return SignatureFacts(key=key, form=form, digest=digest, ok=False, reason=why.reason, problem=problem)


def _what_else(labels: list[str], size: int) -> tuple[str | None, str | None]:
    """What a PEM file with blocks of `labels` holds in place of one public key, and what to do."""
    if size > _LARGEST_FILE or not labels:
        return "it is no PEM file", None
    if any("PRIVATE KEY" in label for label in labels):
        return "it holds a private key", "name the public key, and keep the private one where only its owner reads it"
    if any("CERTIFICATE" in label for label in labels):
        return "it holds a certificate", "name its public key: `openssl x509 -pubkey -noout -in FILE`"
    if len(labels) > 1:
        return "it holds several keys", "write each key into a file of its own"
    return (None, None) if labels[0] in {"PUBLIC KEY", "RSA PUBLIC KEY"} else ("it holds no public key", None)


def _unusable(path: Path, what: str, advice: str | None = None) -> SigningKeyUnusable:
    return SigningKeyUnusable(
        f"policy.images.cosign_keys: {display_path(path)} is no key to check by: {what}", advice=advice
    )


def _by_ecdsa(key: ec.EllipticCurvePublicKey) -> _Verify:
    def verify(signature: bytes, data: bytes) -> bool:
        return any(
            _holds(partial(key.verify, signature, data, ec.ECDSA(algorithm))) for algorithm in _HASHES[key.curve.name]
        )

    return verify


def _by_ed25519(key: ed25519.Ed25519PublicKey) -> _Verify:
    return lambda signature, data: _holds(partial(key.verify, signature, data))


def _by_rsa(key: rsa.RSAPublicKey) -> _Verify:
    return lambda signature, data: _holds(partial(key.verify, signature, data, padding.PKCS1v15(), SHA256()))


def _holds(verify: Callable[[], None]) -> bool:
    try:
        verify()
    except InvalidSignature:
        return False
    return True
