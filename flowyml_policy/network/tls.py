"""How a server is trusted and what it is shown, read from files once, and what stands for that trust."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from flowyml_policy.network.address import Address
from flowyml_policy.network.failures import HttpFailure

if TYPE_CHECKING:
    import ssl

Certificate: TypeAlias = tuple[Path, Path]
"""The file of a client certificate, and that of its key."""

_File = TypeVar("_File", Path, Certificate)

_LARGEST_FILE: Final = 4 << 20


@dataclass(frozen=True)
class Tls:
    """A context (None for plain http), and digests of the CA's and the client certificate's bytes in it."""

    context: ssl.SSLContext | None
    ca: str
    certificate: str | None = None


PLAIN: Final = Tls(None, "none")


def load_tls(ca: Path | None, certificate: Certificate | None) -> Tls:
    """Trust the certificates in `ca` alone (None: the system's), and show a client certificate (its file, its key's).

    Raises HttpFailure.
    """
    import ssl

    # The context is made of the bytes that are hashed: the file may be another one a moment later.
    given = None if ca is None else _read(ca, "CA certificates")
    try:
        context = ssl.create_default_context(cadata=None if given is None else given.decode("ascii", "ignore"))
    except (OSError, ValueError) as error:
        raise _unusable(ca, "CA certificates", "it holds no certificates") from error
    if certificate is not None:
        try:
            context.load_cert_chain(*certificate, password="")  # else OpenSSL asks the terminal for one
        except (OSError, ValueError) as error:
            raise _unusable(certificate[0], "client certificate", "it does not fit its key") from error
    return Tls(context, _system() if given is None else _digest(given), _shown(certificate))


def describe_tls(ca: Path | None, certificate: Certificate | None) -> Tls:
    """The same without its context, which takes long to make: what is trusted and shown. Raises HttpFailure."""
    return Tls(None, _system() if ca is None else _digest(_read(ca, "CA certificates")), _shown(certificate))


def file_of(files: Mapping[str, _File], address: Address) -> _File | None:
    """What is named for a host, or for a host and port."""
    return files.get(address.place, files.get(address.place.rpartition(":")[0]))


def _shown(certificate: Certificate | None) -> str | None:
    return None if certificate is None else _digest(_read(certificate[0], "client certificate"))


def _system() -> str:
    """What stands for the system's certificates, which OpenSSL takes from elsewhere where a variable says so."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    said = [None if file is None else _digest(_read(Path(file), "CA certificates of SSL_CERT_FILE"))]
    try:
        for place in (folder or "").split(os.pathsep) if folder is not None else ():
            with os.scandir(place) as found:
                said += [place, *sorted(f"{one.name} {one.stat().st_mtime_ns} {one.stat().st_size}" for one in found)]
    except OSError:
        said.append(secrets.token_hex())  # nothing is known of it, so that nothing is believed for its sake
    return "system" if said == [None] else _digest(json.dumps(said).encode())


def trust(address: Address, tls: Tls, authorization: str | None, mirror: str | None) -> str:
    """What stands for all that decides whether an answer is believed."""
    login = None if authorization is None else _digest(authorization.encode())
    return _digest(json.dumps([*address.origin, tls.ca, tls.certificate, login, mirror]).encode())


def _read(path: Path, what: str) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise _unusable(path, what, "it is no file")
        with path.open("rb") as file:
            found = file.read(_LARGEST_FILE)
    except OSError as error:
        raise _unusable(path, what, error.strerror or type(error).__name__) from error
    if b"-----BEGIN " not in found:  # given nothing, the library takes the system's certificates
        raise _unusable(path, what, "it holds no certificates")
    return found


def _unusable(path: Path | None, what: str, why: str) -> HttpFailure:
    return HttpFailure("certificates", f"the {what} cannot be read: {path}: {why}", "name a readable PEM file")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
