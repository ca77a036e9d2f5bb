"""Keys that bundles are signed by: PEM in a file or an environment variable.

Rules:
- The algorithm is read from the key itself, so that no option can contradict it.
- A file with a private key that others may read is refused, as ssh refuses it.
- Keys are made by `cryptography`, of the extra `signatures`; to sign and to verify needs neither.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from flowyml_policy.errors.bundles import SigningFailed
from flowyml_policy.errors.root import UsageError
from flowyml_policy.system.files import is_missing, read_regular

ES256: Final = "ES256"
RS256: Final = "RS256"
EDDSA: Final = "EdDSA"
ALGORITHMS: Final = (ES256, RS256, EDDSA)
RSA_BITS: Final = 3072
LARGEST: Final = 64 << 10

PRIVATE: Final = frozenset({"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"})
PUBLIC: Final = frozenset({"PUBLIC KEY"})

_PEM: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\s*(.*?)\s*-----END \1-----", re.DOTALL)
_KEYID: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?", re.ASCII)
_EC_PARAMETERS: Final = re.compile(r"-----BEGIN EC PARAMETERS-----.*?-----END EC PARAMETERS-----\s*", re.DOTALL)
_OIDS: Final = (
    (bytes.fromhex("06092a864886f70d010101"), RS256),
    (bytes.fromhex("06082a8648ce3d030107"), ES256),
    (bytes.fromhex("06052b81040022"), "ES384"),
    (bytes.fromhex("06052b81040023"), "ES512"),
    (bytes.fromhex("06032b6570"), EDDSA),
)
"""Object identifiers of keys as DER writes them (RFC 8017, 5480, 8410), with the algorithm that goes with each."""

EDDSA_ADVICE: Final = "make another with --algorithm ES256"


class Key(NamedTuple):
    """A key: what it is called in signatures, its algorithm as JSON Web Tokens call it, and its PEM text."""

    keyid: str
    algorithm: str
    pem: str

    def __repr__(self) -> str:
        return f"Key({self.keyid!r}, {self.algorithm!r})"


class KeyPair(NamedTuple):
    """The files of a pair that was made."""

    private: Path
    public: Path
    keyid: str
    algorithm: str


def read_private_key(path: Path, *, keyid: str | None = None) -> Key:
    """The private key in a file. Raises UsageError where there is none, SigningFailed."""
    text = _read(path)
    mode = path.stat().st_mode
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SigningFailed(
            f"the private key may be read by others (mode {stat.S_IMODE(mode):04o}): {path}",
            advice=f"run chmod 600 {path}, and make a new key if others may have read it",
        )
    return _key(text, keyid or path.stem, PRIVATE, str(path))


def read_public_key(path: Path, *, keyid: str | None = None) -> Key:
    """The public key in a file. Raises UsageError where there is none, SigningFailed."""
    return _key(_read(path), keyid or path.stem, PUBLIC, str(path))


def public_key_of(private: Key) -> Key:
    """The public half of a private key. Raises SigningFailed."""
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise SigningFailed(
            "to find the public half of a key needs the package cryptography",
            advice="pip install 'flowyml-policy[signatures]', or name the public key",
        ) from error
    try:
        loaded = serialization.load_pem_private_key(private.pem.encode(), password=None)
    except ValueError as error:
        raise SigningFailed(f"the key {private.keyid!r} cannot be used: {error}") from error
    text = loaded.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private._replace(pem=text.decode())


def key_from_environment(variable: str, environ: Mapping[str, str], *, keyid: str | None, private: bool) -> Key:
    """The key that an environment variable holds, which needs a `keyid`. Raises UsageError, SigningFailed."""
    if keyid is None:
        raise UsageError("a key from a variable has no name", advice="say with --keyid what signatures call it")
    text = environ.get(variable)
    if not text:
        raise SigningFailed(f"the variable {variable} is not set, or empty", advice="put the key's PEM text into it")
    return _key(text.replace("\\n", "\n"), keyid, PRIVATE if private else PUBLIC, f"${variable}")


def check_keyid(keyid: str) -> None:
    """Refuse a name that no signature should carry. Raises UsageError."""
    if _KEYID.fullmatch(keyid) is None:
        raise UsageError(
            f"{keyid!r} is no name of a key",
            advice="use letters, digits, `.`, `_` and `-`; --keyid gives a key another name than its file's",
        )


def make_keys(name: Path, algorithm: str) -> KeyPair:
    """Make a pair of keys, `NAME.key` for its owner alone and `NAME.pub`. Raises UsageError, SigningFailed."""
    check_keyid(name.name)
    pair = KeyPair(name.with_name(f"{name.name}.key"), name.with_name(f"{name.name}.pub"), name.name, algorithm)
    _refuse_unverifiable(algorithm, "a new key")
    for file in (pair.private, pair.public):
        if not is_missing(file):
            raise UsageError(f"the file exists: {file}", advice="name the new key otherwise; none is overwritten")
    private, public = _generated(algorithm)
    try:
        _write(pair.private, private, 0o600)
        _write(pair.public, public, 0o644)
    except OSError as error:
        raise SigningFailed(f"the key cannot be written: {error.filename}: {error.strerror}") from error
    return pair


def _generated(algorithm: str) -> tuple[bytes, bytes]:
    """The PEM texts of a new private key and its public one."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, rsa
    except ImportError as error:
        raise SigningFailed(
            "to make keys needs the package cryptography", advice="pip install 'flowyml-policy[signatures]'"
        ) from error
    made: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if algorithm == ES256:
        made = ec.generate_private_key(ec.SECP256R1())
    else:
        made = rsa.generate_private_key(public_exponent=65_537, key_size=RSA_BITS)
    private = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = made.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, public


def _key(text: str, keyid: str, wanted: frozenset[str], place: str) -> Key:
    found = _PEM.search(_EC_PARAMETERS.sub("", text))
    if found is None:
        raise SigningFailed(f"the key is no PEM text: {place}")
    kind, body = found[1], found[2]
    if kind not in wanted:
        what = "a public key" if wanted is PUBLIC else "a private key without a passphrase"
        raise SigningFailed(f"{what} is wanted, and this is {_named(kind)}: {place}")
    if " " in body:
        raise SigningFailed(
            f"the line breaks of the key became blanks: {place}", advice=r"keep them, or write each as \n"
        )
    try:
        der = base64.b64decode("".join(body.split()), validate=True)
    except binascii.Error as error:
        raise SigningFailed(f"the key is no PEM text, its body is no base64: {place}") from error
    algorithm = RS256 if kind == "RSA PRIVATE KEY" else next((name for oid, name in _OIDS if oid in der), None)
    if algorithm is None:
        raise SigningFailed(f"the key is of no kind that OPA signs bundles with: {place}", advice="use P-256 or RSA")
    _refuse_unverifiable(algorithm, place)
    return Key(keyid, algorithm, f"{found[0]}\n")


def _named(kind: str) -> str:
    article = "an" if kind[0] in "AEIOU" else "a"
    return f"{article} {kind}" if kind in PRIVATE | PUBLIC else f"{article} {kind.lower()}"


def _refuse_unverifiable(algorithm: str, place: str) -> None:
    if algorithm == EDDSA:
        raise SigningFailed(
            f"OPA signs with EdDSA, but its configuration takes no such key, so that nobody could verify: {place}",
            advice=EDDSA_ADVICE,
        )


def _read(path: Path) -> str:
    if is_missing(path):
        raise UsageError(f"there is no such file: {path}", advice="name a key, a PEM file")
    try:
        data = read_regular(path, most=LARGEST)
    except (OSError, ValueError) as error:
        raise SigningFailed(f"the key cannot be read: {path}: {error}") from error
    if data is None or len(data) > LARGEST:
        raise SigningFailed(f"the file is no key: {path}")
    return data.decode("ascii", errors="replace")


def _write(path: Path, data: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
